"""State, title and moment as float32 matrices in declared order. The only code that does it, in training and in serving."""

from dataclasses import dataclass

import numpy as np

from recray.features.items import Items
from recray.features.profiles import Profiles
from recray.features.views import Entity, of
from recray.schema import NO_ITEM, Candidates, Floats, Ints, Longs, Requests


@dataclass(slots=True, repr=False)
class RankerInput:
    """What rankers read for a batch of B requests of up to K candidates.

    `user` [B, n_user + n_context], `match` [B, K, n_match], `items` [B, K] title numbers padded with NO_ITEM, `history`
    [B, H] titles started, newest first, padded. Item features are not sent: rankers hold them by title number.
    """

    user: Floats
    match: Floats
    items: Ints
    history: Ints

    def take(self, rows: Longs) -> "RankerInput":
        """Select requests by position, in the order given."""
        return RankerInput(self.user[rows], self.match[rows], self.items[rows], self.history[rows])

    def at(self, places: Ints) -> "RankerInput":
        """Only the candidates at these places [B, W], which are padded with -1."""
        row = np.arange(len(places))[:, None]
        padding = places < 0
        match = np.where(padding[..., None], np.float32(0), self.match[row, places])
        return RankerInput(self.user, match, np.where(padding, NO_ITEM, self.items[row, places]), self.history)


def _join(entity: Entity, *about: object) -> Floats:
    blocks = []
    for view in of(entity):
        block = view.compute(*about)
        if block.shape[-1] != view.width:
            raise AssertionError(f"view {view.name} gave {block.shape[-1]} columns; declared {view.width}")
        blocks.append(block)
    joined = np.concatenate(blocks, axis=-1, dtype=np.float32)
    return joined if np.isfinite(joined).all() else _with_defaults(joined, entity)


def _with_defaults(joined: Floats, entity: Entity) -> Floats:
    defaults = np.concatenate([np.full(view.width, view.default, np.float32) for view in of(entity)])
    return np.where(np.isfinite(joined), joined, defaults)


def user_matrix(requests: Requests, profiles: Profiles, items: Items) -> Floats:
    """User, then context columns [B, n_user + n_context] float32, as of each request's moment."""
    return np.concatenate((_join("user", profiles, items, requests.now_s), _join("context", requests)), axis=1)


def item_matrix(items: Items) -> Floats:
    """Item columns [n, n_item] float32, as of the bundle's moment."""
    return _join("item", items)


def match_matrix(requests: Requests, profiles: Profiles, items: Items, candidates: Candidates) -> Floats:
    """Match columns [B, K, n_match] float32; rows of padding are zero."""
    matrix = _join("match", requests, profiles, items, candidates)
    matrix[candidates.items < 0] = 0
    return matrix


def ranker_input(requests: Requests, profiles: Profiles, items: Items, candidates: Candidates, n_history: int) -> RankerInput:
    """Everything a ranker reads for a batch."""
    return RankerInput(
        user_matrix(requests, profiles, items),
        match_matrix(requests, profiles, items, candidates),
        candidates.items,
        profiles.history[:, :n_history],
    )
