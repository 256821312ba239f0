"""Context feature values: (requests) -> [B, width] float32. Declared in `views`."""

import numpy as np

from recray.features.user import DAY_S, signs
from recray.schema import Device, Floats, Page, Requests


def hour(requests: Requests) -> Floats:
    """Sine and cosine of the UTC hour."""
    angle = 2 * np.pi * (requests.now_s % DAY_S) / DAY_S
    return np.stack((np.sin(angle), np.cos(angle)), axis=1).astype(np.float32)


def weekend(requests: Requests) -> Floats:
    """Whether the UTC day is Saturday or Sunday."""
    day = (requests.now_s // int(DAY_S) + 3) % 7  # 1970-01-01 was a Thursday
    return (day >= 5).astype(np.float32)[:, None]


def device(requests: Requests) -> Floats:
    """Whether a television, a mobile, a desktop; another device is none of them."""
    known = np.array([Device.TV, Device.MOBILE, Device.DESKTOP])
    return (requests.device[:, None] == known).astype(np.float32)


def page(requests: Requests) -> Floats:
    """Whether after watching, and whether a search or category page; neither is the homepage."""
    listed = (requests.page == Page.SEARCH) | (requests.page == Page.CATEGORY)
    return np.stack((requests.page == Page.POST_WATCH, listed), axis=1).astype(np.float32)


def region(requests: Requests) -> Floats:
    """Two signs of the region asked from; zeros when it is not known."""
    return signs(requests.region, 2)
