"""A cheap first pass over many candidates: a linear function distilled from a ranker, which then sees only the best of them."""

import dataclasses
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from recray.errors import ModelError
from recray.features.compiled import compiled, held, inner_product
from recray.features.items import Items
from recray.features.vectorize import RankerInput, item_matrix
from recray.features.views import width
from recray.ranking.calibration import Genres, keep, n_most
from recray.ranking.ranker import Ranker
from recray.schema import NO_ITEM, Candidates, Floats, Ints, Longs, Objective

_AT_ONCE: Final = 64
_RIDGE: Final = 1e-3
_LEAST_P: Final = 1e-7


@dataclass(frozen=True, slots=True)
class Prerank:
    """What of a candidate's match and title features its ranker's order rests on.

    `match` [n_match] and `title` [n_item] are weights; `own` [n_items] is what each title's features add.
    """

    match: Floats
    title: Floats
    own: Floats

    @classmethod
    def of(cls, match: Floats, title: Floats, items: Items) -> Self:
        """From weights, over a catalogue."""
        return cls(held(match, np.float32), held(title, np.float32), held(item_matrix(items) @ title, np.float32))

    def places(self, batch: RankerInput, n_kept: Ints, genres: Genres | None = None) -> Ints:
        """Places [B, W] int32 of the candidates of each request that stay, in their order, padded with -1 to the longest.

        The best n_kept[b] stay, and what they lack of the genres that are wanted. Of equal candidates the earlier stay.
        """
        shares, wanted = genres or (np.zeros((len(self.own), 0), np.float32), np.zeros((len(batch.items), 0), np.float32))
        n_best = held(n_kept, np.int64)
        most = n_most(n_best, wanted)
        places = np.full((len(batch.items), min(int(most.max(initial=0)), batch.items.shape[1])), NO_ITEM, np.int32)
        given = held(batch.items, np.int32), held(batch.match, np.float32)
        _staying(given, (self.match, self.own), (shares, wanted), (n_best, most), places)
        return places[:, : int((places >= 0).sum(axis=1).max(initial=0))]

    def file(self) -> bytes:
        """The weights, to be restored over any catalogue."""
        return save({"match": self.match, "title": self.title})

    @classmethod
    def restore(cls, content: bytes, items: Items) -> Self:
        """As it was saved, over a catalogue.

        Raises:
            ModelError: it is truncated, or was made for other features.
        """
        try:
            found = load(content)
            match, title = found["match"], found["title"]
        except (KeyError, SafetensorError) as problem:
            raise ModelError(f"first pass cannot be read: {problem!r}; take the bundle anew or train again") from problem
        if (match.shape, title.shape) != ((width("match"),), (width("item"),)):
            raise ModelError(
                f"first pass was made for {match.size} match and {title.size} title features; this code has {width('match')} "
                f"and {width('item')}: train it anew"
            )
        return cls.of(match, title, items)


def distil(batch: RankerInput, ranker: Ranker, items: Items) -> Prerank:
    """The first pass whose scores are nearest to a ranker's logits of START within each request (ridge regression)."""
    n_requests, n_match = len(batch.items), batch.match.shape[2]
    about = item_matrix(items)
    n_features = n_match + about.shape[1]
    products, wanted = np.zeros((n_features, n_features)), np.zeros(n_features)
    for start in range(0, n_requests, _AT_ONCE):
        part = batch.take(np.arange(start, min(start + _AT_ONCE, n_requests)))
        p = np.clip(ranker.predict(part)[:, :, Objective.START], _LEAST_P, 1 - _LEAST_P)
        for row, numbers in enumerate(part.items):
            there = numbers >= 0
            if there.any():
                x = np.concatenate((part.match[row, there], about[numbers[there]]), axis=1, dtype=np.float64)
                y = np.log(p[row, there] / (1 - p[row, there]), dtype=np.float64)
                x -= x.mean(axis=0)
                products += x.T @ x
                wanted += x.T @ (y - y.mean())
    weights = np.linalg.solve(products + np.eye(n_features) * (_RIDGE * np.trace(products) / n_features), wanted)
    return Prerank.of(weights[:n_match], weights[n_match:], items)


def only(candidates: Candidates, places: Ints) -> Candidates:
    """The candidates at these places [B, W], which are padded with -1."""
    row, padding = np.arange(len(places))[:, None], places < 0
    return dataclasses.replace(
        candidates,
        items=np.where(padding, NO_ITEM, candidates.items[row, places]),
        seeds=np.where(padding, NO_ITEM, candidates.seeds[row, places]),
        scores=np.where(padding[..., None], np.float32(np.nan), candidates.scores[row, places]),
        ranks=np.where(padding[..., None], 0, candidates.ranks[row, places]),
    )


@compiled
def _staying(
    given: tuple[Ints, Floats], weights: tuple[Floats, Floats], genres: Genres, n: tuple[Longs, Longs], places: Ints
) -> None:
    """As `Prerank.places`; a candidate's score depends on nothing but the candidate."""
    items, match = given
    weight, own = weights
    shares, wanted = genres
    n_best, most = n
    worst, kept = np.empty(items.shape[1], np.float32), np.empty(places.shape[1], np.int64)
    for row in range(len(items)):
        for place in range(items.shape[1]):
            item = items[row, place]
            worst[place] = -(inner_product(match[row, place], weight) + own[item]) if item >= 0 else np.inf
        order = np.argsort(worst, kind="mergesort")[: np.count_nonzero(items[row] >= 0)]
        size = keep(items[row][order], shares, wanted[row], n_best[row], kept[: most[row]])
        places[row, :size] = np.sort(order[kept[:size]])
