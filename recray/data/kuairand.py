"""Reads the original files of KuaiRand (standard logs, basic video features, user features) into canonical tables [Gao2022].

Each log row is a short video shown to a user. It becomes an `impression` and, where its flags say so, at the same moment a
`play` (with seconds and share watched), a `like` and a `hide`, in that order and in file order. The log of random exposures is
left out: it is for off-policy work, not a history.
"""

from pathlib import PurePosixPath
from typing import Final

import polars as pl
import pyarrow as pa

from recray.data.archive import Archive, columns
from recray.data.raw import MAIN_PROFILE, complete, conform, event_ids
from recray.errors import DataError
from recray.schema import Action, Kind, word

_ACTIONS: Final = {Action.IMPRESSION: None, Action.PLAY: "is_click", Action.LIKE: "is_like", Action.HIDE: "is_hate"}
"""The event that each flag of a log row makes."""
_LOG: Final = ("user_id", "video_id", "time_ms", "is_click", "is_like", "is_hate", "play_time_ms", "duration_ms")
_VIDEOS: Final = ("video_id", "upload_dt", "video_duration", "tag")


def read(archive: Archive) -> dict[str, pa.Table]:
    """KuaiRand's tables; titles are the videos of the feature file, their genres its tags.

    Raises:
        DataError: a file is missing or lacks a column.
    """
    logs = archive.find("log_standard*.csv")
    if not logs:
        raise DataError(f"{archive.path} holds no log_standard*.csv; give the KuaiRand archive or its `data` directory")
    log = pl.concat([columns(archive, PurePosixPath(name).name, _LOG) for name in logs])
    users = columns(archive, "user_features*.csv", ("user_id",))
    return complete(
        {
            "titles": conform("titles", _titles(columns(archive, "video_features_basic*.csv", _VIDEOS))),
            "profiles": conform("profiles", users.with_columns(profile_id=pl.lit(MAIN_PROFILE))),
            "events": conform("events", _events(log)),
        }
    )


def _titles(videos: pl.DataFrame) -> pl.DataFrame:
    uploaded = pl.col("upload_dt").str.to_date("%Y-%m-%d", strict=False)
    return videos.select(
        content_id=pl.col("video_id"),
        name=pl.lit("video ") + pl.col("video_id"),
        kind=pl.lit(word(Kind.SPECIAL)),
        genres=pl.concat_str(pl.lit("tag "), pl.col("tag")).str.replace_all(",", ",tag ").str.split(",").fill_null([]),
        release_date=uploaded,
        duration_min=pl.col("video_duration").cast(pl.Float32, strict=False) / 60_000,
        added_at=uploaded.cast(pl.Datetime("ms", "UTC")),
    )


def _events(log: pl.DataFrame) -> pl.DataFrame:
    numbered = log.with_row_index("line")
    facts = pl.concat(
        (numbered if flag is None else numbered.filter(pl.col(flag) == "1")).with_columns(action=pl.lit(int(action)))
        for action, flag in _ACTIONS.items()
    ).sort("line", "action")
    keys = facts.select(pl.col("user_id", "video_id", "time_ms", "action").cast(pl.Int64, strict=False).fill_null(0))
    played = pl.col("action") == int(Action.PLAY)
    seen_ms, length_ms = (pl.col(name).cast(pl.Float64, strict=False) for name in ("play_time_ms", "duration_ms"))
    return facts.select(
        event_ids(*(keys[name].to_numpy() for name in keys.columns)),
        pl.col("user_id"),
        profile_id=pl.lit(MAIN_PROFILE),
        content_id=pl.col("video_id"),
        action=pl.col("action").replace_strict({int(a): word(a) for a in _ACTIONS}),
        event_at=pl.col("time_ms").cast(pl.Int64, strict=False).cast(pl.Datetime("ms", "UTC")),
        watch_s=pl.when(played).then(seen_ms / 1000),
        progress=pl.when(played & (length_ms > 0)).then((seen_ms / length_ms).clip(0, 1)),
    )
