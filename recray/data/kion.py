"""Reads the original files of MTS Kion (interactions.csv, users.csv, items.csv) into canonical tables [Petrov2022].

One row of interactions is all that a user watched of a title, dated by the day of the last watch: it becomes one event
`progress` at midnight UTC, in file order, with the share and the seconds watched. Texts stay in the original Russian.
"""

from typing import Final

import polars as pl
import pyarrow as pa

from recray.data.archive import Archive, columns
from recray.data.raw import MAIN_PROFILE, complete, conform, event_ids
from recray.schema import Action, Kind, word

_AGES: Final = {
    "age_18_24": "18-24",
    "age_25_34": "25-34",
    "age_35_44": "35-44",
    "age_45_54": "45-49",
    "age_55_64": "56-plus",
    "age_65_inf": "56-plus",
}
"""Kion's bands; 45-54 and 55-64 straddle ours and take the one that holds their first years or most of them."""
_KINDS: Final = {"film": word(Kind.MOVIE), "series": word(Kind.SERIES), "multipart_film": word(Kind.SERIES)}
_INTERACTIONS: Final = ("user_id", "item_id", "last_watch_dt", "total_dur", "watched_pct")
_USERS: Final = ("user_id", "age")
_ITEMS: Final = (
    *("item_id", "content_type", "title", "release_year", "genres", "countries", "age_rating", "directors", "actors"),
    "description",
)


def read(archive: Archive) -> dict[str, pa.Table]:
    """Kion's tables; users without demographics in users.csv are left to `ingest`, which creates their profiles."""
    interactions = columns(archive, "interactions.csv", _INTERACTIONS)
    users = columns(archive, "users*.csv", _USERS)
    profiles = users.select(
        "user_id",
        profile_id=pl.lit(MAIN_PROFILE),
        age_group=pl.col("age").replace_strict(_AGES, default=None, return_dtype=pl.String),
    )
    titles = _titles(columns(archive, "items*.csv", _ITEMS))
    return complete(
        {
            "titles": conform("titles", titles),
            "profiles": conform("profiles", profiles),
            "events": conform("events", _events(interactions)),
        }
    )


def _events(interactions: pl.DataFrame) -> pl.DataFrame:
    keys = interactions.select(pl.col("user_id", "item_id", "total_dur").cast(pl.Int64, strict=False).fill_null(0))
    return interactions.select(
        event_ids(*(keys[name].to_numpy() for name in keys.columns)),
        pl.col("user_id"),
        profile_id=pl.lit(MAIN_PROFILE),
        content_id=pl.col("item_id"),
        action=pl.lit(word(Action.PROGRESS)),
        event_at=pl.col("last_watch_dt").str.to_datetime("%Y-%m-%d", time_unit="ms", time_zone="UTC", strict=False),
        watch_s=pl.col("total_dur").cast(pl.Float32, strict=False),
        progress=pl.col("watched_pct").cast(pl.Float32, strict=False).clip(0, 100) / 100,
    )


def _titles(items: pl.DataFrame) -> pl.DataFrame:
    lists = {name: pl.col(name).str.split(", ") for name in ("genres", "countries", "directors")}
    return items.select(
        content_id=pl.col("item_id"),
        name=pl.col("title"),
        kind=pl.col("content_type").replace_strict(_KINDS, default=word(Kind.SPECIAL)),
        genres=lists["genres"].fill_null([]),
        release_date=pl.col("release_year").str.replace(r"\.0$", "").str.to_date("%Y", strict=False),
        synopsis=pl.col("description"),
        cast=pl.col("actors").str.split(", "),
        directors=lists["directors"],
        countries=lists["countries"],
        maturity=pl.col("age_rating").cast(pl.Float32, strict=False).cast(pl.Int16),
    )
