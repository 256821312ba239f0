"""Who asks, and what they have seen so far: viewers, and titles by the order of their first appearance."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec
import numpy as np

from recray.errors import ConfigError
from recray.schema import ProfileKey
from recray.simulation.delivery import REGIONS
from recray.stores.lake import Lake

_MOST_SEEN: Final = 20_000
_MOST_PROFILES: Final = 20_000


@dataclass(frozen=True, slots=True)
class Viewer:
    """Who asks, and from where; without a region the server knows it."""

    key: ProfileKey
    region: str | None


def invented(n: int, seed: int) -> list[Viewer]:
    """Viewers that no data set knows, spread over the regions of the simulation."""
    keys = [ProfileKey(f"load-{number}", "main") for number in range(n)]
    return placed(keys, [None] * n, seed)


def profiles_of(lake: Lake, data: str, seed: int) -> list[tuple[ProfileKey, str | None]]:
    """Profiles of a data set with their countries, drawn in an order that the seed gives; at most 20,000.

    Raises:
        DataError: the lake has no such set.
    """
    table = lake.table(data, "profiles")
    columns = (table[name].to_pylist() for name in ("user_id", "profile_id", "country"))
    found = [(ProfileKey(user_id, profile_id), country) for user_id, profile_id, country in zip(*columns, strict=True)]
    order = np.random.default_rng(seed).permutation(len(found))[:_MOST_PROFILES]
    return [found[place] for place in order]


def placed(keys: Sequence[ProfileKey], countries: Sequence[str | None], seed: int) -> list[Viewer]:
    """Viewers with a region drawn for each without a country; a country is the server's to know.

    Raises:
        ConfigError: nobody.
    """
    if not keys:
        raise ConfigError("there are no viewers; give a data set with profiles, or a number of users of at least 1")
    shares = np.array([region.share for region in REGIONS])
    drawn = np.random.default_rng([seed, 1]).choice(len(REGIONS), len(keys), p=shares / shares.sum())
    return [
        Viewer(key, None if country else REGIONS[place].name)
        for key, country, place in zip(keys, countries, drawn, strict=True)
    ]


class Item(msgspec.Struct):
    """A title as an answer lists it."""

    content_id: str
    name: str = ""
    genres: list[str] = []


@dataclass(slots=True)
class Seen:
    """Titles and genres that answers listed, in the order of their first appearance: that order is their rank."""

    titles: list[Item] = field(default_factory=list)
    genres: list[str] = field(default_factory=list)
    _known: set[str] = field(default_factory=set)

    def add(self, items: Sequence[Item]) -> None:
        """Take note of titles; at most 20,000 are kept."""
        for item in items:
            if item.content_id in self._known or len(self.titles) >= _MOST_SEEN:
                continue
            self._known.add(item.content_id)
            self.titles.append(item)
            self.genres += [genre for genre in item.genres if genre not in self.genres]


def zipf_rank(n: int, exponent: float, u: float) -> int:
    """A place in [0, n) with weight about (place + 1) ** -exponent, for a uniform u in [0, 1): the bounded Pareto law."""
    if abs(exponent - 1.0) < 1e-9:
        drawn = (n + 1) ** u
    else:
        rest = 1.0 - exponent
        drawn = (u * ((n + 1) ** rest - 1.0) + 1.0) ** (1.0 / rest)
    return min(int(drawn) - 1, n - 1)
