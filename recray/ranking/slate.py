"""The last step of a list: business weights make one score of several probabilities, and scores become a slate.

Exploration lives here and nowhere else; what it did is stated as propensities. How diversity chooses is `rerank`'s.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from recray.errors import ConfigError
from recray.features.compiled import compiled
from recray.features.items import Items
from recray.ranking.rerank import rerank
from recray.schema import Floats, Ints, Longs, Objective
from recray.settings import SlateSettings

_AFTER_START: Final = tuple(objective for objective in Objective if objective != Objective.START)
_LEAST_PRIORITY: Final = np.float32(1e-3)


@dataclass(slots=True)
class Slates:
    """What B requests show, best first.

    `positions` [B, n] int32: places of the chosen among the request's candidates, padded with -1. `propensity` [B, n] float32
    in (0, 1]: the probability with which this policy puts that title at that position for that request (see `slate`); 1 on
    padding.
    """

    positions: Ints
    propensity: Floats


def objective_weights(settings: SlateSettings) -> Floats:
    """Business weight of each objective [n_objectives] float32, in the order of `schema.Objective`; 0 where none is set.

    Raises:
        ConfigError: a weight names no objective.
    """
    names = [objective.name.lower() for objective in Objective]
    unknown = sorted(set(settings.weights) - set(names))
    if unknown:
        raise ConfigError(f"slate.weights names {', '.join(unknown)}; expected some of {', '.join(names)}")
    return np.array([settings.weights.get(name, 0.0) for name in names], np.float32)


def amount(values: Floats, objective: Objective, items: Items, numbers: Ints) -> Floats:
    """What a weight counts of an objective's values for titles, all of one shape: hours of watch time, else the values."""
    return values * items.hours[numbers] if objective == Objective.WATCH_TIME else values


def weigh(p: Floats, items: Items, candidates_items: Ints, settings: SlateSettings) -> Floats:
    """One score per candidate [B, K] float32 from p [B, K, n_objectives]: what showing it is worth, then the title's priority.

    Worth is expected: P(start) times the weight of a start and the weights of what may follow one, each by its probability
    given a start, and of watch time by the hours that are expected. A positive worth is multiplied by the priority and a
    negative one divided by it, so that more priority is never worse. Padding is -inf.

    Raises:
        ConfigError: as `objective_weights`.
    """
    weights = objective_weights(settings)
    worth = np.full(p.shape[:2], weights[Objective.START], np.float32)
    # Summed column by column: a matrix product's last bit depends on how many requests share the batch.
    numbers = np.maximum(candidates_items, 0)
    for after in (objective for objective in _AFTER_START if weights[objective]):
        worth += amount(p[:, :, after], after, items, numbers) * weights[after]
    worth *= p[:, :, Objective.START]
    priority = np.maximum(items.priority[numbers], _LEAST_PRIORITY)
    scores = np.where(worth >= 0, worth * priority, worth / priority)
    return np.where(candidates_items >= 0, scores, -np.inf).astype(np.float32)


def slate(  # noqa: PLR0913  # facts of one batch; the mix is named by its callers
    scores: Floats,
    item_numbers: Ints,
    items: Items,
    n: Ints,
    settings: SlateSettings,
    rng_keys: Sequence[str],
    *,
    mix: Floats | None = None,
) -> Slates:
    """The slates of B requests: n[b] titles each (fewer when there are fewer candidates), as wide as the largest.

    Order: by score, ties by lower title number; with `diversity` > 0 chosen greedily by `diversity_by` (see `rerank`), of
    which calibration goes by the viewer's own `mix` of genres [B, n_genres] (see `own_mix`). Exploration: going down the
    slate, each position swaps with probability epsilon with a later candidate drawn uniformly, anywhere down to the last
    candidate. The draws come from a digest of the request's key, so an answer can be made again.

    `propensity` is exact and marginal: P(this title at this position | request) over all draws, as inverse propensity
    scoring by position needs. With m candidates, the title of rank t (from 0) before exploration, e(i) = epsilon/(m-1-i) and
    A(i) the product of 1 - e(s) over s < i, it is e(i) A(i) above its rank (i < t), (1 - epsilon) A(t) at it, and
    epsilon A(t)/(m-1-t) below it; at the very last place A(t).
    """
    order = best_first(scores, item_numbers)
    n_valid = (scores > -np.inf).sum(axis=1)
    n_shown = np.minimum(n, n_valid)
    width = int(n.max(initial=0))
    if settings.diversity > 0 and width > 1:
        own = np.zeros((len(order), items.genres.shape[1]), np.float32) if mix is None else mix
        order = _chosen_first(order, rerank(order, scores, item_numbers, n_shown, own, (items, settings)), n_shown)
    kept = np.arange(width) < n_shown[:, None]
    propensity: Any = np.float32(1)
    if settings.exploration > 0 and order.shape[1]:
        ranks = np.broadcast_to(np.arange(order.shape[1]), order.shape).copy()
        for row, key in enumerate(rng_keys):
            _explore(ranks[row], int(n_shown[row]), int(n_valid[row]), settings.exploration, _draws(key))
        propensity = _wide(_propensity(ranks[:, :width], n_valid, settings.exploration), width)
        order = np.take_along_axis(order, ranks, axis=1)
    shown = _wide(order[:, :width], width)
    return Slates(np.where(kept, shown, -1).astype(np.int32), np.where(kept, propensity, 1).astype(np.float32))


def _wide(columns: Any, width: int) -> Any:
    """Columns [B, m] with zeros up to [B, width]."""
    return columns if columns.shape[1] == width else np.pad(columns, ((0, 0), (0, width - columns.shape[1])))


def _draws(key: str) -> np.random.Generator:
    return np.random.default_rng(int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "little"))


def best_first(scores: Floats, item_numbers: Ints) -> Longs:
    """Places [B, K] by score, best first; ties by lower title number, padding (NO_ITEM) last among its own."""
    # As integers the bits of floats sort as the floats do, once those of negative ones are turned round.
    bits = (scores + np.float32(0)).view(np.int32).astype(np.int64)
    rising = np.where(bits < 0, -(bits & 0x7FFFFFFF), bits)
    return np.argsort((-rising << 32) | (item_numbers.astype(np.int64) & 0xFFFFFFFF), axis=1, kind="stable")


@compiled
def _chosen_first(order: Longs, chosen: Longs, n_shown: Longs) -> Longs:
    """Put the first n_shown[b] of `chosen` (places in `order`) in front; the rest keeps its order."""
    put = np.empty_like(order)
    for row in range(len(order)):
        taken = np.zeros(order.shape[1], np.bool_)
        size = n_shown[row]
        for at in range(size):
            put[row, at] = order[row, chosen[row, at]]
            taken[chosen[row, at]] = True
        for place in range(order.shape[1]):
            if not taken[place]:
                put[row, size] = order[row, place]
                size += 1
    return put


def _explore(ranks: Longs, n_shown: int, n_valid: int, epsilon: float, draws: np.random.Generator) -> None:
    """Swap positions of one request in place."""
    swaps, places = draws.random(n_shown) < epsilon, draws.random(n_shown)
    for position in np.flatnonzero(swaps[: max(n_valid - 1, 0)]):
        other = position + 1 + int(places[position] * (n_valid - 1 - position))
        ranks[position], ranks[other] = ranks[other], ranks[position]


def _propensity(ranks: Longs, n_valid: Longs, epsilon: float) -> NDArray[np.float64]:
    """P(title of rank r at its position) [B, n]; see `slate` for the formula."""
    position = np.arange(ranks.shape[1])
    later = np.maximum(n_valid[:, None] - 1 - np.arange(max(int(n_valid.max(initial=0)), ranks.shape[1])), 0)
    drawn = np.where(later > 0, epsilon / np.maximum(later, 1), 0.0)
    undrawn = np.cumprod(np.concatenate((np.ones((len(ranks), 1)), 1 - drawn), axis=1), axis=1)
    above = drawn[:, : len(position)] * undrawn[:, : len(position)]
    kept = np.take_along_axis(undrawn, ranks, axis=1)
    n_later = np.take_along_axis(later, ranks, axis=1)
    at_rank = np.where(n_later > 0, 1 - epsilon, 1.0) * kept
    below = epsilon * kept / np.maximum(n_later, 1)
    return np.where(position < ranks, above, np.where(position == ranks, at_rank, below))
