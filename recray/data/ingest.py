"""Judges the rows of a data set and writes the good ones to the lake; the others are kept aside with their reasons.

A refused row never stops an import by itself, too many of them do. What a row means to a model is not decided here.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from recray.data.raw import REJECTS, Origin, RawTables
from recray.errors import DataError
from recray.schema import ACTION_OF, AGE_GROUPS, DEVICE_OF, KIND_OF, TABLES, Action, word
from recray.stores.lake import Lake

SCHEMA_VERSION: Final = 1
"""Raised when the canonical columns change their meaning."""
_LATEST_MS: Final = 4_291_747_200_000
"""2106-01-01 UTC: profile states keep a time in 32 bits of seconds since 1970."""
_OLDEST_AGE: Final = 21
_SHOWN: Final = 5
Report = Callable[[str], None]
Rule = tuple[str, str, pl.Expr]
"""Column, reason, and when a row breaks the rule."""


@dataclass(slots=True, frozen=True)
class Ingested:
    """What an import wrote: rows per table, rows refused by `table.column: reason`, and the manifest as stored."""

    name: str
    rows: dict[str, int]
    rejects: dict[str, int]
    duplicates: int
    profiles_created: int
    manifest: dict[str, Any]


def ingest(lake: Lake, name: str, raw: RawTables, *, max_reject_share: float = 0.05, report: Report) -> Ingested:
    """Validate, then replace the set `name` of the lake.

    Refused rows go to `<lake>/<name>.rejects.parquet` (schema raw.REJECTS) even when the import stops, and the file of an
    earlier import goes away. Profiles that only events name are created without settings, unless their own row was refused:
    their events are refused too, because the row may have held a maturity limit. Repeated event ids keep the first event.

    Raises:
        DataError: no title is left, or more than `max_reject_share` of a table's rows were refused.
    """
    judged = _Judge(raw)
    titles = judged.keep("titles", _title_rules())
    known = titles.select("content_id").to_series()
    profiles = judged.keep("profiles", _profile_rules())
    refused = raw.refused | judged.refused_profiles()
    report(f"judged {len(titles)} titles and {len(profiles)} profiles")
    judged.keep("availability", _availability_rules(known))
    events = judged.keep("events", _event_rules(known, refused))
    created = judged.create_profiles(events, profiles)
    judged.keep("follows", _follow_rules(judged.frame("profiles")))
    report(f"judged {len(events)} events")
    faults = pa.concat_tables([raw.rejects, *judged.faults])
    path = lake.root / f"{name}.rejects.parquet"
    _set_aside(path, faults)
    _stop_if_too_many(faults, judged, max_reject_share, path)
    manifest = _manifest(raw, judged, faults) | {"duplicate_events": judged.duplicates, "profiles_created": created}
    lake.write(name, judged.tables, manifest)
    report(f"wrote {name} to the lake")
    return Ingested(name, manifest["rows"], manifest["rejects"], judged.duplicates, created, manifest)


class _Judge:
    """Tables as they shrink under the rules, with a record of what fell out and why."""

    def __init__(self, raw: RawTables) -> None:
        self.raw = raw
        self.tables = dict(raw.tables)
        self.faults: list[pa.Table] = []
        self.duplicates = 0
        self._refused: list[pl.Series] = []

    def frame(self, table: str) -> pl.DataFrame:
        """The table as it stands, without maps, which no rule looks into."""
        rows = self.tables[table]
        plain = [field.name for field in TABLES[table] if not pa.types.is_map(field.type)]
        return pl.DataFrame(pl.from_arrow(rows.select(plain)))

    def keep(self, table: str, rules: list[Rule]) -> pl.DataFrame:
        """The rows that break no rule; the first rule that a row breaks is its reason."""
        frame = self.frame(table)
        required = [
            (field.name, "required, but empty", pl.col(field.name).is_null()) for field in TABLES[table] if not field.nullable
        ]
        verdict = pl.lit(None, pl.UInt8)
        all_rules = required + rules
        for number, (_, _, broken) in reversed(list(enumerate(all_rules))):
            verdict = pl.when(broken.fill_null(value=False)).then(pl.lit(number, pl.UInt8)).otherwise(verdict)
        broken_rule = frame.select(verdict.alias("rule")).to_series() if len(frame) else pl.Series("rule", [], pl.UInt8)
        good = broken_rule.is_null()
        if not good.all():
            self._record(table, all_rules, broken_rule)
            if table == "profiles":
                self._refused.append(frame.filter(~good).select(_profile_key()).to_series())
        frame = frame.filter(good)
        kept = self.tables[table].filter(good.to_arrow())
        if table == "events":
            first = frame.select(pl.col("event_id").is_first_distinct()).to_series()
            self.duplicates = int((~first).sum())
            frame, kept = frame.filter(first), kept.filter(first.to_arrow())
        self.tables[table] = kept
        return frame

    def refused_profiles(self) -> frozenset[str]:
        """Keys of refused profile rows, less those that another row of the table describes."""
        again = set(self.frame("profiles").select(_profile_key()).to_series())
        return frozenset(key for keys in self._refused for key in keys.drop_nulls() if key not in again)

    def create_profiles(self, events: pl.DataFrame, profiles: pl.DataFrame) -> int:
        """Add a profile without settings for each that only events name; returns how many."""
        keys = ["user_id", "profile_id"]
        fresh = events.select(keys).unique(maintain_order=True).join(profiles, on=keys, how="anti", maintain_order="left")
        columns = [
            pa.array(fresh[field.name].to_list(), field.type) if field.name in keys else pa.nulls(len(fresh), field.type)
            for field in TABLES["profiles"]
        ]
        self.tables["profiles"] = pa.concat_tables([self.tables["profiles"], pa.table(columns, schema=TABLES["profiles"])])
        return len(fresh)

    def _record(self, table: str, rules: list[Rule], broken_rule: pl.Series) -> None:
        origin = self.raw.origins.get(table, Origin(table))
        numbers = pl.Series(origin.rows) if origin.rows is not None else pl.int_range(1, len(broken_rule) + 1, eager=True)
        bad = broken_rule.is_not_null()
        rule = broken_rule.filter(bad)
        columns, reasons = [column for column, _, _ in rules], [reason for _, reason, _ in rules]
        found = pl.DataFrame(
            {
                "file": pl.repeat(origin.file, len(rule), eager=True),
                "row": numbers.filter(bad),
                "column": pl.Series(columns)[rule.to_list()],
                "reason": pl.Series(reasons)[rule.to_list()],
            }
        )
        self.faults.append(found.to_arrow(compat_level=pl.CompatLevel.oldest()).cast(REJECTS))


def _profile_key() -> pl.Expr:
    return pl.format("{}/{}", pl.col("user_id"), pl.col("profile_id"))


def _title_rules() -> list[Rule]:
    return [
        ("content_id", "the id appears again; the first row is kept", ~pl.col("content_id").is_first_distinct()),
        ("name", "empty", pl.col("name").str.strip_chars() == ""),
        ("kind", f"not one of {', '.join(KIND_OF)}", ~pl.col("kind").is_in(list(KIND_OF))),
        ("maturity", f"not an age of 0 to {_OLDEST_AGE}", ~pl.col("maturity").is_between(0, _OLDEST_AGE)),
        ("duration_min", "not positive", pl.col("duration_min") <= 0),
        ("priority", "negative", pl.col("priority") < 0),
    ]


def _profile_rules() -> list[Rule]:
    return [
        (
            "profile_id",
            "the profile appears again; the first row is kept",
            ~pl.struct("user_id", "profile_id").is_first_distinct(),
        ),
        ("age_group", f"not one of {', '.join(AGE_GROUPS)}", ~pl.col("age_group").is_in(AGE_GROUPS)),
        ("maturity_limit", f"not an age of 0 to {_OLDEST_AGE}", ~pl.col("maturity_limit").is_between(0, _OLDEST_AGE)),
    ]


def _availability_rules(known: pl.Series) -> list[Rule]:
    return [
        ("content_id", "unknown title", ~pl.col("content_id").is_in(known.implode())),
        ("end_at", "not after start_at", pl.col("end_at") <= pl.col("start_at")),
    ]


def _event_rules(known: pl.Series, refused: frozenset[str]) -> list[Rule]:
    at_ms = pl.col("event_at").dt.timestamp("ms")
    rated = pl.col("action") == word(Action.RATE)
    rules: list[Rule] = [
        ("action", f"not one of {', '.join(ACTION_OF)}", ~pl.col("action").is_in(list(ACTION_OF))),
        ("event_at", "before 1970 or after 2105", ~at_ms.is_between(0, _LATEST_MS - 1)),
        ("content_id", "unknown title", ~pl.col("content_id").is_in(known.implode())),
        ("value", "a rating is 0 to 5 stars", rated & ~pl.col("value").is_between(0, 5).fill_null(value=False)),
        ("progress", "not a share of 0 to 1", ~pl.col("progress").is_between(0, 1)),
        ("watch_s", "negative", pl.col("watch_s") < 0),
        ("device", f"not one of {', '.join(DEVICE_OF)}", ~pl.col("device").is_in(list(DEVICE_OF))),
        ("position", "negative", pl.col("position") < 0),
    ]
    if refused:
        rules.append(("profile_id", "the profile's own row was refused", _profile_key().is_in(sorted(refused))))
    return rules


def _follow_rules(profiles: pl.DataFrame) -> list[Rule]:
    known = profiles.select(_profile_key()).to_series().implode()
    followed = pl.format("{}/{}", pl.col("followed_user_id"), pl.col("followed_profile_id"))
    return [
        ("profile_id", "unknown profile", ~_profile_key().is_in(known)),
        ("followed_profile_id", "unknown profile", ~followed.is_in(known)),
        ("followed_profile_id", "a profile follows itself", followed == _profile_key()),
    ]


def _set_aside(path: Path, faults: pa.Table) -> None:
    if not faults.num_rows:
        path.unlink(missing_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    pending = path.with_name(f".{path.name}.pending")
    pq.write_table(faults, pending, compression="zstd")
    pending.replace(path)


def _stop_if_too_many(faults: pa.Table, judged: _Judge, max_share: float, path: Path) -> None:
    by_file = pl.DataFrame(pl.from_arrow(faults)).group_by("file").len()
    refused = dict(by_file.iter_rows())
    for table, rows in judged.tables.items():
        file = judged.raw.origins.get(table, Origin(table)).file
        n_bad = refused.get(file, 0)
        n_rows = n_bad + rows.num_rows
        share = n_bad / max(n_rows, 1)
        if share > max_share:
            raise DataError(
                f"{n_bad} of {n_rows} rows of {file} were refused ({share:.1%}), expected at most {max_share:.1%}: "
                f"{_examples(faults, file)}; mend the rows listed in {path}, or allow a larger share"
            )
    if not judged.tables["titles"].num_rows:
        raise DataError("no title is left to import; expected at least one row of titles: see datasets/README.md")


def _examples(faults: pa.Table, file: str) -> str:
    counted = (
        pl.DataFrame(pl.from_arrow(faults))
        .filter(pl.col("file") == file)
        .group_by("column", "reason", maintain_order=True)
        .agg(pl.len().alias("n"), pl.col("row").first())
        .sort("n", descending=True)
        .head(_SHOWN)
    )
    return "; ".join(f"{column}: {reason} ({n} rows, first row {row})" for column, reason, n, row in counted.iter_rows())


def _manifest(raw: RawTables, judged: _Judge, faults: pa.Table) -> dict[str, Any]:
    by_reason = pl.DataFrame(pl.from_arrow(faults)).group_by("file", "column", "reason").len().sort("file", "column", "reason")
    at = judged.frame("events")["event_at"]
    return {
        "schema_version": SCHEMA_VERSION,
        "source": raw.source,
        "sha256": raw.sha256,
        "licence": raw.licence,
        "citation": raw.citation,
        "rows": {table: rows.num_rows for table, rows in judged.tables.items()},
        "rejects": {f"{file}.{column}: {reason}": n for file, column, reason, n in by_reason.iter_rows()},
        "ignored_columns": list(raw.ignored),
        "simulated": list(raw.simulated),
        "window": {"first_event_at": _iso(at.min()), "last_event_at": _iso(at.max())},
    }


def _iso(at: Any) -> str | None:
    return None if at is None else at.isoformat()
