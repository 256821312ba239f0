"""Lists in the viewer's own mix of genres [Steck2018]: what it is, which candidates stay for it, what is chosen.

A title counts for its genres in equal shares that sum to 1; a list is `n` titles, and what it shows of a genre is a sum of
shares.
"""

from typing import Any, Final, TypeAlias

import numpy as np

from recray.features.compiled import compiled, held
from recray.features.items import Items
from recray.features.profiles import Profiles
from recray.features.user import PICKED_TITLES, picked_genres
from recray.schema import Floats, Ints, Longs
from recray.settings import SlateSettings

_SMOOTHING: Final = np.float32(0.01)
"""Share of the watched distribution mixed into the shown one, so that what is not shown costs a finite amount [Steck2018]."""
_OFFERED: Final = np.float32(2)
"""Titles of a genre that are there to be chosen from, for each that a list of the viewer's own mix would show."""
_LEAST: Final = np.float32(1e-5)
"""An exchange has to gain more: float32 tells no smaller difference of two sums."""

Genres: TypeAlias = tuple[Floats, Floats]
"""Shares of titles [n_items, n_genres]; of each viewer [B, n_genres], how many titles of each genre are wanted."""


def own_mix(profiles: Profiles, items: Items, settings: SlateSettings) -> Floats | None:
    """Distribution over genres [B, n_genres] float32 of each viewer's history and picked genres; zeros without either.

    None where no list is calibrated.
    """
    if settings.diversity_by != "calibration" or settings.diversity == 0:
        return None
    share = PICKED_TITLES * picked_genres(profiles, items)
    _sum_shares(held(profiles.history, np.int32), held(items.genre_shares, np.float32), share)
    return held(share / np.maximum(share.sum(axis=1, keepdims=True), np.float32(1e-9)), np.float32)


@compiled
def _sum_shares(history: Ints, shares: Floats, sums: Floats) -> None:
    for row in range(len(history)):
        for title in history[row]:
            if 0 <= title < len(shares):
                sums[row] += shares[title]


def wanted_genres(mix: Floats | None, items: Items, n: Ints) -> Genres | None:
    """What lists of n[b] titles in a mix of genres [B, n_genres] want to choose from; None without a mix."""
    if mix is None:
        return None
    wanted = mix * (_OFFERED * n.astype(np.float32))[:, None]
    return held(items.genre_shares, np.float32), held(wanted, np.float32)


@compiled
def n_most(n_best: Longs, wanted: Floats) -> Longs:
    """How many titles `keep` leaves at most [B]: the best, and as many more as are wanted of all genres together."""
    most = n_best.copy()
    for row in range(len(most)):
        most[row] += np.int64(np.ceil(wanted[row].sum() - np.float32(1e-3)))  # a sum of shares may be off by rounding
    return most


@compiled
def keep(titles: Ints, shares: Floats, wanted: Floats, n_best: int, places: Longs) -> int:
    """Fill `places` with places among `titles`, which stand best first: the first n_best, then what they lack of genres.

    Returns how many there are. What is wanted of a genre is taken where it comes first, until it is there or `places` is
    full; a title counts for all its genres.
    """
    left = wanted.copy()
    size, n_wanted = 0, np.count_nonzero(left > 0)
    for place in range(len(titles)):
        if size == len(places) or (place >= n_best and n_wanted == 0):
            break
        own = shares[titles[place]]
        stays = place < n_best
        for genre in range(len(left)):
            stays |= own[genre] > 0 and left[genre] > 0
        if stays:
            places[size] = place
            size += 1
            for genre in range(len(left)):
                n_wanted -= left[genre] > 0 and left[genre] <= own[genre]
                left[genre] -= own[genre]
    return size


@compiled
def calibrated(
    order: Longs, scores: Floats, about: tuple[Ints, Floats, Floats], n_shown: Longs, how: tuple[Any, int], chosen: Longs
) -> None:
    """Scores less the divergence of the genres of the list from those watched [Steck2018], greedily, then by exchanges.

    Departs from the paper in that a list is measured at its final length from the first title on; that one title is
    exchanged for another while that gains; that a score is worth its share of the best one to the power of 1.5, which is
    nearer to how chances to be the next title fall than the score itself; and that what was chosen is shown by score: the
    genres of a list do not depend on its order, and its first places are worth most.
    """
    numbers, shares, taste = about
    weight, per_place = how
    all_wanted = taste * (_OFFERED * n_shown.astype(np.float32)).reshape(-1, 1)
    n_best = per_place * n_shown
    most = n_most(n_best, all_wanted)
    size = most.max() if len(most) else 0
    worth, nearer, places = np.empty(size, np.float32), np.empty(size, np.float32), np.empty(size, np.int64)
    for row in range(len(order)):
        among = places[: most[row]]
        size = _pool((order[row], scores[row]), numbers[row], (shares, all_wanted[row]), n_best[row], among, worth)
        title = numbers[row][order[row][places[:size]]]
        worth[:size] *= np.float32(1) - weight
        nearer[:size] = np.inf
        taken, shown = np.zeros(size, np.bool_), np.zeros(shares.shape[1], np.float32)
        n = min(n_shown[row], size)
        for _ in range(n):
            best, gain = -1, np.float32(-np.inf)
            for place in range(size):
                # What a title adds only falls as others are taken: what it added last is a bound that spares most of the work.
                if not taken[place] and worth[place] + weight * nearer[place] > gain:
                    nearer[place] = _nearer(taste[row], shown, shares[title[place]], np.float32(n))
                    if worth[place] + weight * nearer[place] > gain:
                        best, gain = place, worth[place] + weight * nearer[place]
            taken[best] = True
            shown += shares[title[best]]
        _exchange((worth, nearer), title, (shares, taste[row]), (weight, n), shown, taken)
        at = 0
        for place in range(size):
            if taken[place]:
                chosen[row, at] = places[place]
                at += 1


@compiled
def _pool(scored: tuple[Any, Any], numbers: Any, genres: tuple[Floats, Any], n_best: int, places: Any, worth: Any) -> int:
    """Fill `places` with places in the order of one request to choose among, and `worth` with what each is worth, 0..1."""
    order, scores = scored
    size = 0
    while size < len(order) and scores[order[size]] > -np.inf:
        size += 1
    if size == 0:
        return size
    high, low = scores[order[0]], min(scores[order[size - 1]], np.float32(0))
    size = keep(numbers[order[:size]], genres[0], genres[1], n_best, places)
    for at in range(size):
        part = (scores[order[places[at]]] - low) / max(high - low, np.float32(1e-12))
        worth[at] = part * np.sqrt(part)
    return size


@compiled
def _exchange(
    worths: tuple[Floats, Floats], title: Ints, genres: Genres, how: tuple[Any, int], shown: Floats, taken: Any
) -> None:
    """Take the exchange of one title that gains most while one gains; at most as many as there are places in the list."""
    worth, gain = worths
    shares, taste = genres
    weight, n_taken = how
    n = np.float32(n_taken)
    for _ in range(n_taken):
        for place in range(len(title)):
            if not taken[place]:
                gain[place] = worth[place] + weight * _nearer(taste, shown, shares[title[place]], n)
        leaves, comes, most = -1, -1, _LEAST
        for out in range(len(title)):
            if not taken[out]:
                continue
            mine = shares[title[out]]
            without = np.maximum(shown - mine, np.float32(0))
            lost = worth[out] + weight * _nearer(taste, without, mine, n)
            # Without it a title adds at most this much more, as if it were whole of each genre: spares much of the work.
            whole = np.ceil(mine)
            more = weight * (_nearer(taste, without, whole, n) - _nearer(taste, shown, whole, n))
            for place in range(len(title)):
                if not taken[place] and gain[place] + more > lost + most:
                    own = worth[place] + weight * _nearer(taste, without, shares[title[place]], n)
                    if own - lost > most:
                        leaves, comes, most = out, place, own - lost
        if leaves < 0:
            break
        taken[leaves], taken[comes] = False, True
        shown += shares[title[comes]] - shares[title[leaves]]


@compiled
def _nearer(taste: Any, shown: Any, own: Any, n: Any) -> Any:
    """How much of its divergence from the taste a list of n titles loses by one title's own genres; 0 without a taste."""
    total = np.float32(0)
    for genre in range(len(taste)):
        if taste[genre] > 0 and own[genre] > 0:
            floor = _SMOOTHING * taste[genre] * n / (np.float32(1) - _SMOOTHING)
            total += taste[genre] * np.log((shown[genre] + own[genre] + floor) / (shown[genre] + floor))
    return total
