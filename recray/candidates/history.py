"""What viewers watched, as candidate sources read it: newest first to serve, sparse matrices to be fitted on."""

from typing import TypeAlias

import numpy as np
from scipy import sparse

from recray.candidates.source import Ask
from recray.features.interactions import Interactions
from recray.schema import NO_ITEM, Bools, Floats, Ints, Longs, Page

Sparse: TypeAlias = "sparse.csr_array[np.float32, tuple[int, int]]"


def newest(ask: Ask, limit: int, n_titles: int) -> Ints:
    """Titles started [B, limit] int32, newest first, NO_ITEM where there is none or it is beyond the first `n_titles`."""
    history = ask.profiles.history[:, :limit]
    return np.where(history < n_titles, history, NO_ITEM).astype(np.int32)


def evidence(ask: Ask, limit: int, n_titles: int) -> Ints:
    """As `newest`, but where a request follows a title (post-watch) that title alone, in position 0."""
    seed = ask.requests.seed_item
    follows = (ask.requests.page == Page.POST_WATCH) & (seed >= 0)
    history = newest(ask, limit, n_titles)
    if follows.any() and history.shape[1]:
        history[follows] = NO_ITEM
        history[follows, 0] = np.where(seed < n_titles, seed, NO_ITEM)[follows]
    return history


def recency(history: Ints, half_life: float) -> Floats:
    """Weight of each position [B, H] float32: 1 for the newest title, half after `half_life` positions, 0 where absent."""
    decay = np.exp2(-np.arange(history.shape[1]) / half_life).astype(np.float32)
    return np.where(history >= 0, decay, np.float32(0))


def last_of_each(interactions: Interactions) -> Bools:
    """Rows that are the newest of their profile and title."""
    return last_of(_pairs(interactions))


def first_of_each(interactions: Interactions) -> Bools:
    """Rows that are the oldest of their profile and title."""
    kept = np.zeros(len(interactions), np.bool_)
    kept[np.unique(_pairs(interactions), return_index=True)[1]] = True
    return kept


def last_of(keys: Longs) -> Bools:
    """Rows that are the last of their key."""
    kept = np.zeros(keys.size, np.bool_)
    kept[keys.size - 1 - np.unique(keys[::-1], return_index=True)[1]] = True
    return kept


def _pairs(interactions: Interactions) -> Longs:
    return interactions.profile.astype(np.int64) * interactions.n_items + interactions.item


def watched(interactions: Interactions, n_titles: int, values: Floats | None = None) -> Sparse:
    """Profiles by titles, CSR float32: `values` of the newest watch of each pair, or 1."""
    kept = last_of_each(interactions)
    data = np.ones(np.count_nonzero(kept), np.float32) if values is None else values[kept]
    at = (interactions.profile[kept], interactions.item[kept])
    return sparse.coo_array((data, at), shape=(interactions.n_profiles, n_titles)).tocsr()
