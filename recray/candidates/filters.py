"""Which titles a request may be shown, and why the others not. Filters keep or drop; they change no order."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from recray.features.items import Items
from recray.features.profiles import Profiles
from recray.schema import KIND_OF, Bools, Ints, Kind, Requests

_NO_LIMIT: Final = np.iinfo(np.int16).max


@dataclass(frozen=True, slots=True)
class Filter:
    """One reason to drop titles; `keeps` gives [B, n_items] bool, or None where it keeps every title of every request."""

    name: str
    keeps: Callable[[Requests, Profiles, Items], Bools | None]


def _licence(requests: Requests, profiles: Profiles, items: Items) -> Bools | None:
    if not items.region_names:
        return None
    where = [(requests.region[r] or profiles.settings[r].country, int(requests.now_s[r])) for r in range(requests.n)]
    masks = {at: items.licensed(*at) for at in set(where)}
    return np.stack([masks[at] for at in where]) if where else np.ones((0, items.n), np.bool_)


def _maturity(requests: Requests, profiles: Profiles, items: Items) -> Bools | None:
    limits = [settings.maturity_limit for settings in profiles.settings]
    if all(limit is None for limit in limits):
        return None
    return items.maturity <= np.array([_NO_LIMIT if limit is None else limit for limit in limits], np.int16)[:, None]


def _kind(requests: Requests, profiles: Profiles, items: Items) -> Bools | None:
    if not requests.kinds.any():
        return None
    masks = {
        bits: items.of_kind[[kind for kind in Kind if bits >> kind & 1]].any(axis=0) for bits in set(requests.kinds) if bits
    }
    everything = np.ones(items.n, np.bool_)
    return np.stack([masks.get(bits, everything) for bits in requests.kinds])


def _category(requests: Requests, profiles: Profiles, items: Items) -> Bools | None:
    asked = [category.casefold() for category in requests.category]
    if not any(asked):
        return None
    kept = np.ones((requests.n, items.n), np.bool_)
    for row, category in enumerate(asked):
        if category in items.genre_of:
            kept[row] = items.of_genre[items.genre_of[category]]
        elif category:
            kept[row] = items.of_kind[KIND_OF[category]] if category in KIND_OF else False
    return kept


def _all_but(titles: list[Ints], n_items: int) -> Bools:
    kept = np.ones((len(titles), n_items), np.bool_)
    for row, numbers in enumerate(titles):
        kept[row, numbers[numbers < n_items]] = False
    return kept


def _hidden(requests: Requests, profiles: Profiles, items: Items) -> Bools | None:
    return _all_but([profiles.hidden(row) for row in range(requests.n)], items.n)


def _watched(requests: Requests, profiles: Profiles, items: Items) -> Bools | None:
    nothing = np.empty(0, np.int32)
    return _all_but([profiles.watched(r) if requests.exclude_watched[r] else nothing for r in range(requests.n)], items.n)


def _seed(requests: Requests, profiles: Profiles, items: Items) -> Bools | None:
    if (requests.seed_item < 0).all():
        return None
    return requests.seed_item[:, None] != np.arange(items.n)


WATCHED: Final = "watched"
FILTERS: Final = (
    Filter("licence", _licence),
    Filter("maturity", _maturity),
    Filter("kind", _kind),
    Filter("category", _category),
    Filter("hidden", _hidden),
    Filter("seed", _seed),
    Filter(WATCHED, _watched),
)
"""Every filter in the order in which a trace names it.

`licence`: not licensed in the request's region (or the profile's country) at its moment. `maturity`: above the profile's
limit; a title of unknown maturity counts as 18. `category`: not of the genre or kind asked for; an unknown one matches nothing.
`seed`: the title just watched. `watched`: only where the request excludes what was watched. Search adds `query`.
"""
_QUERY: Final = "query"


def verdicts(requests: Requests, profiles: Profiles, items: Items, matches: Bools | None) -> dict[str, Bools]:
    """What each filter that drops anything keeps [B, n_items] bool, by name; `matches` are the titles a search query finds."""
    found = {rule.name: rule.keeps(requests, profiles, items) for rule in FILTERS} | {_QUERY: matches}
    return {name: kept for name, kept in found.items() if kept is not None}


def eligibility(requests: Requests, profiles: Profiles, items: Items, matches: Bools | None) -> tuple[Bools, Bools]:
    """Titles that may be proposed [B, n_items] bool, and the same without the watched filter (for resuming)."""
    kept = verdicts(requests, profiles, items, matches)
    watched = kept.pop(WATCHED)
    resumable = np.ones((requests.n, items.n), np.bool_)
    for mask in kept.values():
        resumable &= mask
    return resumable & watched, resumable


def reasons(kept: dict[str, Bools], row: int, item: int) -> list[str]:
    """Names of the filters that drop a title of a request, in their order; empty for an eligible title."""
    return [name for name, mask in kept.items() if not mask[row, item]]
