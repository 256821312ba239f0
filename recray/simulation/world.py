"""A synthetic world with a planted truth: titles, households and what they watched, for machines that have no data set.

Tastes are clusters that collaborative filtering can recover, franchises are sequences that a sequence model can; everything
follows from `WorldSettings`, its seed included. No figure of quality may come from it.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Final

import numpy as np
import polars as pl
import pyarrow as pa
import yaml
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from recray.data.raw import RawTables, complete, conform, event_ids
from recray.errors import ConfigError
from recray.schema import AGE_GROUPS, TABLES, Action, Bools, Device, Floats, Ints, ProfileKey, word
from recray.settings import Count, Knobs, Share
from recray.simulation.delivery import CHILD_LIMIT, REGIONS
from recray.simulation.titles import CHILDREN_TASTES, DAY_S, N_TASTES, Catalogue, invent
from recray.simulation.viewing import (
    SHOWN,
    Log,
    Sessions,
    Viewers,
    affinities,
    is_among,
    next_parts,
    p_start,
    schedule,
    watch,
)

_HOUSEHOLD_SHARES: Final = (0.45, 0.3, 0.15, 0.1)
"""Accounts with one to four profiles."""
_EVENTS_PER_SESSION: Final = SHOWN + 2.5
_NO_LIMIT: Final = 99
_PROFILE_NAMES: Final = np.array(["main", "second", "third", "fourth"])
_PAD_YEARS: Final = 10


class WorldSettings(Knobs):
    """How large the world is and when it happens; a YAML file under `datasets/worlds` holds differences only."""

    n_titles: Count = 1_000
    n_profiles: Count = 2_000
    n_events: Count = 100_000
    days: Count = 120
    start_s: Annotated[int, Field(ge=0)] = 1_735_689_600
    n_regions: Annotated[int, Field(ge=1, le=len(REGIONS))] = len(REGIONS)
    unlicensed: Share = 0.08
    follows_per_profile: Annotated[float, Field(ge=0.0, le=50.0)] = 2.0
    seed: int = 20261122

    @property
    def window_s(self) -> tuple[int, int]:
        """When sessions begin: [start, end) in seconds since 1970."""
        return self.start_s, self.start_s + self.days * DAY_S


def load(path: Path) -> WorldSettings:
    """Settings from a YAML file of differences.

    Raises:
        ConfigError: the file cannot be read, or names what does not exist or is out of bounds.
    """
    try:
        return WorldSettings.model_validate(yaml.safe_load(path.read_text()) or {})
    except (OSError, yaml.YAMLError, ValidationError) as problem:
        raise ConfigError(f"world {path} cannot be used: {problem}; expected a YAML mapping of WorldSettings") from problem


def build(settings: WorldSettings) -> RawTables:
    """The world's tables, all of them simulated; events fall short of `n_events` by less than one session's.

    Impressions carry the answer they belong to (`recommendation_id`), row 0 and position.
    """
    generator = np.random.default_rng(settings.seed)
    catalogue, accounts, viewers, age = _inhabited(settings, generator)
    licensed = _licences(settings, generator)
    n_sessions = int(settings.n_events / _EVENTS_PER_SESSION * 1.25) + 1
    sessions = schedule(viewers, n_sessions, settings.window_s, generator)
    log = watch(catalogue, viewers, sessions, licensed, generator)
    keys = _keys(accounts)
    tables = {
        "titles": conform("titles", catalogue.frame),
        "availability": conform("availability", _availability(catalogue, licensed)),
        "profiles": conform("profiles", _profiles(keys, viewers, age)),
        "events": conform("events", _events(log, sessions, keys, catalogue, settings.n_events)),
        "follows": conform("follows", _follows(settings, keys, viewers, generator)),
    }
    return RawTables(
        tables=complete(tables),
        source=f"synthetic world {settings.model_dump_json()}",
        licence="none needed: generated",
        citation="",
        sha256="",
        simulated=tuple(f"{table}.{column}" for table, schema in TABLES.items() for column in schema.names),
    )


@dataclass(frozen=True, slots=True)
class Truth:
    """What the events of a world only hint at: its titles, its viewers, and who they are (row by profile)."""

    catalogue: Catalogue
    viewers: Viewers
    row_of: dict[ProfileKey, int]

    def p_start(self, who: Ints, items: Ints, last: Ints) -> Floats:
        """Chance [m, k] that viewers [m] start titles [m, k] that they look at; `last` [m, FOLLOWED] they watched last.

        Titles are rows of the catalogue; NO_ITEM has chance 0.
        """
        follows = is_among(items, next_parts(self.catalogue, last))
        chance = p_start(self.viewers, who, affinities(self.catalogue, self.viewers, who, items), follows)
        return np.where(items >= 0, chance, 0.0).astype(np.float32)


def truth(settings: WorldSettings) -> Truth:
    """What was planted in the world that `build` makes of the same settings."""
    catalogue, accounts, viewers, _ = _inhabited(settings, np.random.default_rng(settings.seed))
    keys = _keys(accounts).rows()
    return Truth(catalogue, viewers, {ProfileKey(*key): row for row, key in enumerate(keys)})


def _inhabited(
    settings: WorldSettings, generator: np.random.Generator
) -> tuple[Catalogue, NDArray[np.int64], Viewers, NDArray[np.str_]]:
    """Titles, account numbers of the profiles, viewers and their age groups."""
    catalogue = invent(settings.n_titles, settings.window_s, generator)
    accounts = _accounts(settings.n_profiles, generator)
    return catalogue, accounts, *_viewers(settings, catalogue, accounts, generator)


def pad(titles: pa.Table, n_titles: int, seed: int) -> pa.Table:
    """The titles and as many invented ones (ids `pad0000000`...) as bring the catalogue to `n_titles`.

    A catalogue that is already as large comes back as it is. Nobody has watched the invented titles.
    """
    missing = n_titles - titles.num_rows
    if missing <= 0:
        return titles
    end_s = WorldSettings().start_s
    invented = invent(missing, (end_s - _PAD_YEARS * 365 * DAY_S, end_s), np.random.default_rng(seed), prefix="pad")
    return pa.concat_tables([titles, conform("titles", invented.frame)])


def padded(raw: RawTables, n_titles: int, seed: int) -> RawTables:
    """A data set with its catalogue brought to `n_titles`, and a source that says so: for measuring at scale."""
    titles = pad(raw.tables["titles"], n_titles, seed)
    invented = len(titles) - len(raw.tables["titles"])
    return replace(raw, tables={**raw.tables, "titles": titles}, source=f"{raw.source}, and {invented} invented titles")


def _accounts(n_profiles: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """Account number [n_profiles] of each profile, ascending."""
    sizes = generator.choice(np.arange(1, 5), n_profiles, p=_HOUSEHOLD_SHARES)
    return np.repeat(np.arange(n_profiles), sizes)[:n_profiles]


def _seat(accounts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Which profile of its account each is, from 0."""
    return np.arange(len(accounts)) - np.searchsorted(accounts, accounts)


def _keys(accounts: NDArray[np.int64]) -> pl.DataFrame:
    numbered = pl.DataFrame({"account": accounts, "profile_id": _PROFILE_NAMES[_seat(accounts)]})
    return numbered.select(user_id=pl.format("u{}", pl.col("account").cast(pl.String).str.zfill(7)), profile_id="profile_id")


def _viewers(
    settings: WorldSettings, catalogue: Catalogue, accounts: NDArray[np.int64], generator: np.random.Generator
) -> tuple[Viewers, NDArray[np.str_]]:
    """Viewers and their age groups; the last profile of most households of three or more is a child's."""
    n = len(accounts)
    size = np.bincount(accounts)[accounts]
    child = (size >= 3) & (_seat(accounts) == size - 1) & (generator.random(n) < 0.7)
    tastes = generator.integers(0, N_TASTES, (n, 3))
    tastes[child] = generator.choice(CHILDREN_TASTES, (int(child.sum()), 3))
    mixed = np.einsum("nt,ntd->nd", generator.dirichlet([6.0, 1.5, 0.5], n), catalogue.taste_vector[tastes])
    vector = mixed + 0.05 * generator.normal(size=mixed.shape)
    shares = np.array([region.share for region in REGIONS[: settings.n_regions]])
    start_s, end_s = settings.window_s
    early = generator.random(n) < 0.7
    joined_s = np.where(
        early, start_s - generator.integers(1, 900, n) * DAY_S, generator.integers(start_s, end_s - DAY_S // 2, n)
    )
    adult_age = generator.choice(AGE_GROUPS[1:], n, p=[0.16, 0.27, 0.22, 0.12, 0.1, 0.13])
    viewers = Viewers(
        vector=(vector / np.linalg.norm(vector, axis=1, keepdims=True)).astype(np.float32),
        tastes=tastes.astype(np.int32),
        region=generator.choice(len(shares), int(accounts[-1]) + 1, p=shares / shares.sum())[accounts].astype(np.int32),
        maturity_limit=np.where(child, CHILD_LIMIT, _NO_LIMIT).astype(np.int32),
        joined_s=joined_s,
        eagerness=generator.normal(0, 0.4, n).astype(np.float32),
    )
    return viewers, np.where(child, AGE_GROUPS[0], adult_age)


def _licences(settings: WorldSettings, generator: np.random.Generator) -> Bools:
    """What may be shown where [n_regions, n_titles] bool; every title somewhere."""
    luck = generator.random((settings.n_regions, settings.n_titles))
    licensed = luck >= settings.unlicensed
    licensed[luck.argmax(axis=0), np.arange(settings.n_titles)] = True
    return licensed


def _availability(catalogue: Catalogue, licensed: Bools) -> pl.DataFrame:
    title, region = np.nonzero(licensed.T)
    return pl.DataFrame(
        {
            "content_id": catalogue.frame["content_id"].gather(title),
            "region": np.array([r.name for r in REGIONS])[region],
            "start_at": catalogue.frame["added_at"].gather(title),
        }
    )


def _profiles(keys: pl.DataFrame, viewers: Viewers, age: NDArray[np.str_]) -> pl.DataFrame:
    return keys.with_columns(
        country=pl.Series(np.array([r.name for r in REGIONS])[viewers.region]),
        language=pl.Series(np.array([r.language for r in REGIONS])[viewers.region]),
        age_group=pl.Series(age),
        maturity_limit=pl.Series(
            [None if limit == _NO_LIMIT else limit for limit in viewers.maturity_limit.tolist()], dtype=pl.Int16
        ),
        created_at=pl.Series(viewers.joined_s * 1000).cast(pl.Datetime("ms", "UTC")),
        consent=pl.lit(value=True),
    )


def _events(log: Log, sessions: Sessions, keys: pl.DataFrame, catalogue: Catalogue, n_events: int) -> pl.DataFrame:
    """Whole sessions, drawn evenly over profiles and time, up to `n_events`, sorted by time."""
    columns = log.columns()
    # Sessions are numbered by (profile, time): a multiplicative hash takes them in an order that favours neither.
    turn = np.argsort(sessions.number.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15), kind="stable")
    kept = turn[np.cumsum(np.bincount(columns["session"], minlength=len(turn))[turn]) <= n_events]
    frame = (
        pl.DataFrame(columns).filter(pl.Series(np.isin(columns["session"], kept))).sort("at_s", "session", "action", "position")
    )
    profile, item = frame["profile"].to_numpy(), frame["item"].to_numpy()
    progress = pl.col("progress").fill_nan(None)
    minutes = pl.Series(catalogue.duration_min[item])
    return frame.select(
        event_ids(frame["at_s"].to_numpy(), profile, item, frame["action"].to_numpy()),
        keys["user_id"].gather(profile),
        keys["profile_id"].gather(profile),
        catalogue.frame["content_id"].gather(item),
        action=pl.col("action").replace_strict({int(a): word(a) for a in Action}),
        event_at=(pl.col("at_s") * 1000).cast(pl.Datetime("ms", "UTC")),
        value=pl.col("value").fill_nan(None),
        watch_s=progress * minutes * 60,
        progress=progress,
        device=pl.col("device").replace_strict({int(d): word(d) for d in Device}),
        recommendation_id=pl.format("world-{}", "session"),
        row=pl.lit(0, pl.Int16),
        position=pl.col("position").cast(pl.Int16),
    )


def _follows(settings: WorldSettings, keys: pl.DataFrame, viewers: Viewers, generator: np.random.Generator) -> pl.DataFrame:
    """Who follows whom: profiles of one first taste in one region, but for one follow in five; children follow nobody."""
    n = len(keys)
    follower = generator.integers(0, n, int(settings.follows_per_profile * n))
    alike = np.lexsort((generator.random(n), viewers.region, viewers.tastes[:, 0]))
    place = np.argsort(alike)
    near = alike[(place[follower] + generator.integers(1, 15, len(follower))) % n]
    followed = np.where(generator.random(len(follower)) < 0.8, near, generator.integers(0, n, len(follower)))
    adult = viewers.maturity_limit == _NO_LIMIT
    pairs = (
        pl.DataFrame({"a": follower, "b": followed})
        .filter(pl.Series((follower != followed) & adult[follower] & adult[followed]))
        .unique(maintain_order=True)
    )
    a, b = pairs["a"].to_numpy(), pairs["b"].to_numpy()
    both_s = np.maximum(viewers.joined_s[a], viewers.joined_s[b])
    at_s = both_s + (generator.random(len(a)) * (settings.window_s[1] - both_s)).astype(np.int64)
    return pl.DataFrame(
        {
            "user_id": keys["user_id"].gather(a),
            "profile_id": keys["profile_id"].gather(a),
            "followed_user_id": keys["user_id"].gather(b),
            "followed_profile_id": keys["profile_id"].gather(b),
            "followed_at": pl.Series(at_s * 1000).cast(pl.Datetime("ms", "UTC")),
        }
    )
