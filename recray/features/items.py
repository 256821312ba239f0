"""The catalogue as arrays indexed by title number, which every stage shares instead of sending title data around."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

import numpy as np

from recray.errors import UnknownTitleError
from recray.schema import Bools, Bytes, Floats, Ints, Kind, Longs

N_GENRES: Final = 12
"""Genres that have a column of their own; the others are in the content vector."""
UNKNOWN_REGION = -1
FOREVER = np.iinfo(np.int64).max
LONG_AGO = np.iinfo(np.int64).min
_HOUR_S: Final = 3_600


@dataclass(repr=False)
class Items:
    """Item-side data of one bundle; row i is title number i, n rows.

    Per item: `kind` uint8, `genres` [n, n_genres] bool in `genre_names` order, `release_at_s`/`added_at_s` int64
    (LONG_AGO when unknown), `maturity` int16 minimum age, `language` code into `language_names` (-1 unknown),
    `n_languages`, `priority` float32, `duration_s` float32 (NaN unknown), `content` [n, dim] float32 unit rows.
    Statistics as of `as_of_s`: `plays` [n, 3] float32 (last 7 days, 30 days, all), `completion` and `rating` means
    shrunk to the catalogue's mean. Licences: `available_from_s`/`available_until_s` [n_regions, n]; no regions: everywhere.
    `regional_plays` [n_regions, n] float32, decayed.
    """

    content_ids: Sequence[str]
    names: Sequence[str]
    kind: Bytes
    genre_names: Sequence[str]
    genres: Bools
    release_at_s: Longs
    added_at_s: Longs
    maturity: Ints
    language_names: Sequence[str]
    language: Ints
    n_languages: Ints
    priority: Floats
    duration_s: Floats
    content: Floats
    plays: Floats
    completion: Floats
    rating: Floats
    as_of_s: int
    region_names: Sequence[str] = ()
    available_from_s: Longs = field(default_factory=lambda: np.empty((0, 0), np.int64))
    available_until_s: Longs = field(default_factory=lambda: np.empty((0, 0), np.int64))
    regional_plays: Floats = field(default_factory=lambda: np.empty((0, 0), np.float32))

    @property
    def n(self) -> int:
        return len(self.content_ids)

    @cached_property
    def number_of(self) -> dict[str, int]:
        """Title number by content id."""
        return {content_id: number for number, content_id in enumerate(self.content_ids)}

    @cached_property
    def genre_of(self) -> dict[str, int]:
        """Place in `genre_names` by the casefolded name."""
        return {name.casefold(): number for number, name in enumerate(self.genre_names)}

    @cached_property
    def genre_sizes(self) -> dict[str, int]:
        """How many titles each genre has, most first, ties by name."""
        sizes = dict(zip(self.genre_names, self.genres.sum(axis=0).tolist(), strict=True))
        return dict(sorted(sizes.items(), key=lambda entry: (-entry[1], entry[0])))

    @cached_property
    def _region_of(self) -> dict[str, int]:
        return {name: number for number, name in enumerate(self.region_names)}

    @cached_property
    def common_genres(self) -> Longs:
        """The up to N_GENRES most frequent genres, most frequent first."""
        return np.argsort(-self.genres.sum(axis=0), kind="stable")[:N_GENRES]

    @cached_property
    def genre_table(self) -> Floats:
        """Genre indicators [n, N_GENRES] float32, most frequent genres first, rows scaled to sum 1 at most."""
        table = np.zeros((self.n, N_GENRES), np.float32)
        table[:, : self.common_genres.size] = self.genres[:, self.common_genres]
        return (table / np.maximum(self.genres.sum(axis=1, keepdims=True), 1)).astype(np.float32)

    @cached_property
    def genre_shares(self) -> Floats:
        """Every genre in `genre_names` order [n, n_genres] float32, a title's rows summing to 1; zeros without genres."""
        return (self.genres / np.maximum(self.genres.sum(axis=1, keepdims=True), 1)).astype(np.float32)

    @cached_property
    def hours(self) -> Floats:
        """Running time in hours [n] float32; where it is unknown, the median of those known, and one hour where none is."""
        known = np.isfinite(self.duration_s)
        median = np.median(self.duration_s[known]) if known.any() else _HOUR_S
        return (np.where(known, self.duration_s, median) / _HOUR_S).astype(np.float32)

    @cached_property
    def rarity(self) -> Floats:
        """1 - popularity percentile over all plays [n] float32; ties by title number."""
        order = np.argsort(np.argsort(self.plays[:, 2], kind="stable"), kind="stable")
        return (1 - order / max(self.n - 1, 1)).astype(np.float32)

    @cached_property
    def log_popularity(self) -> Floats:
        """Log plays of all time over the catalogue's largest [n] float32; zeros before the first play."""
        logs = np.log1p(self.plays[:, 2])
        return (logs / max(float(logs.max(initial=0)), 1e-6)).astype(np.float32)

    def number(self, content_id: str) -> int:
        """Title number of a content id.

        Raises:
            UnknownTitleError: the catalogue has no such title.
        """
        try:
            return self.number_of[content_id]
        except KeyError:
            raise UnknownTitleError(
                f"content_id {content_id!r} is not in the catalogue of {self.n} titles; import it and train, or check the id"
            ) from None

    def region(self, name: str | None) -> int:
        """Region number, or UNKNOWN_REGION."""
        return self._region_of.get(name or "", UNKNOWN_REGION)

    def licensed(self, region: str | None, now_s: int) -> Bools:
        """Titles [n] bool that may be shown in a region at a moment.

        Fails closed: where licences exist, a region that no licence names gets only what every region may show.
        """
        if not self.region_names:
            return np.ones(self.n, np.bool_)
        number = self.region(region)
        known = self._licensed.get(number)
        if known is None or now_s not in known[0]:
            known = self._licensed[number] = self._licences(number, now_s)
        return known[1]

    def _licences(self, number: int, now_s: int) -> tuple[range, Bools]:
        """The moments around one within which nothing begins or ends in a region, and what is licensed meanwhile, read-only."""
        own = slice(None) if number == UNKNOWN_REGION else slice(number, number + 1)
        from_s, until_s = self.available_from_s[own], self.available_until_s[own]
        edges = np.concatenate((from_s.ravel(), until_s.ravel()))
        begin_s = int(edges.max(initial=LONG_AGO, where=edges <= now_s))
        end_s = int(edges.min(initial=FOREVER, where=edges > now_s))
        mask = np.all((from_s <= now_s) & (now_s < until_s), axis=0)
        mask.setflags(write=False)
        return range(begin_s, end_s), mask

    @cached_property
    def _licensed(self) -> dict[int, tuple[range, Bools]]:
        """By region number: `_licences` as last asked for, so that no request compares a million titles with a clock."""
        return {}

    @cached_property
    def of_genre(self) -> Bools:
        """`genres` by genre [n_genres, n]: the titles of one lie side by side."""
        return np.ascontiguousarray(self.genres.T)

    @cached_property
    def of_kind(self) -> Bools:
        """Titles of each kind [n_kinds, n]."""
        return np.stack([self.kind == kind for kind in Kind])
