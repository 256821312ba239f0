"""Reads the MovieLens archives (100K, 1M, and the CSV family) and RecBole's copy of 100K into canonical tables.

A rating becomes an event `rate` whose value is the stars, in the raw file's order; an account has the profile `main`. MovieLens
says nothing of delivery (regions, devices, maturity, progress, when a title was added): those columns stay null.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import polars as pl
import pyarrow as pa

from recray.data.archive import Archive, columns, parsed
from recray.data.raw import MAIN_PROFILE, complete, conform, event_ids
from recray.errors import DataError
from recray.schema import AGE_GROUPS, Kind, word

_RATINGS: Final = ["user", "item", "stars", "at"]
_AGE_CODES: Final = (1, 18, 25, 35, 45, 50, 56)
"""Lowest age of each of `AGE_GROUPS`; ML-1M publishes exactly these codes."""
_CERTIFICATES: Final = {"G": 0, "PG": 7, "PG-13": 13, "R": 17, "NC-17": 18}
_YEAR: Final = r"\((\d{4})(?:[-–]\d{0,4})?\)\s*(?:\((?:TV|V)\))?\s*$"
_ARTICLES: Final = "The|An|A|Le|La|Les|Il|Lo|El|Los|Las|Das|Der|Die|Un|Une|De|Det|Den"
_NO_GENRE: Final = ("", "unknown", "(no genres listed)")


def read_100k(archive: Archive) -> dict[str, pa.Table]:
    """ML-100K: u.data, u.item (Latin-1), u.user, u.genre; release dates are to the day."""
    genre_names = [line.split("|")[0] for line in _text(archive, "u.genre", "latin-1").splitlines() if line.strip()]
    items = _headless(archive, "u.item", "|", ["item", "title", "released", "video", "url", *genre_names], "latin-1")
    users = _headless(archive, "u.user", "|", ["user", "age", "gender", "occupation", "zip"])
    flags = [pl.when(pl.col(genre) == "1").then(pl.lit(genre)) for genre in genre_names]
    titles = items.with_columns(
        genres=pl.concat_list(flags).list.drop_nulls(),
        released=pl.col("released").str.to_date("%d-%b-%Y", strict=False),
    )
    return _tables(_headless(archive, "u.data", "\t", _RATINGS), titles, _by_age(users))


def read_recbole_100k(archive: Archive) -> dict[str, pa.Table]:
    """ML-100K as RecBole's wheel carries it: the same ratings in the same order, and less about titles.

    Its item file has the year alone, so release dates are January 1st; names are as RecBole spells them.
    """
    ratings = columns(archive, "ml-100k.inter", ["user_id", "item_id", "rating", "timestamp"], "\t")
    items = columns(archive, "ml-100k.item", ["item_id", "movie_title", "release_year", "class"], "\t")
    users = columns(archive, "ml-100k.user", ["user_id", "age"], "\t")
    titles = items.select(
        item=pl.col("item_id"),
        title=pl.col("movie_title"),
        genres=pl.col("class").str.split(" "),
        released=pl.col("release_year").str.to_date("%Y", strict=False),
    )
    ratings = ratings.rename(dict(zip(ratings.columns, _RATINGS, strict=True)))
    return _tables(ratings, titles, _by_age(users.rename({"user_id": "user"})))


def read_1m(archive: Archive) -> dict[str, pa.Table]:
    """ML-1M: ratings.dat, movies.dat (Latin-1), users.dat, fields parted by `::`; release dates from the name's year."""
    titles = _headless(archive, "movies.dat", "::", ["item", "title", "genres"], "latin-1")
    users = _headless(archive, "users.dat", "::", ["user", "gender", "age", "occupation", "zip"])
    ratings = _headless(archive, "ratings.dat", "::", _RATINGS)
    return _tables(ratings, titles.with_columns(pl.col("genres").str.split("|")), _by_age(users))


def read_csv_family(archive: Archive) -> dict[str, pa.Table]:
    """ml-latest-small, ml-20m, ml-25m, ml-32m: ratings.csv and movies.csv; profiles are the users who rated."""
    ratings = columns(archive, "ratings.csv", ["userId", "movieId", "rating", "timestamp"])
    ratings = ratings.rename(dict(zip(ratings.columns, _RATINGS, strict=True)))
    titles = columns(archive, "movies.csv", ["movieId", "title", "genres"]).rename({"movieId": "item"})
    users = ratings.select("user").unique(maintain_order=True).with_columns(age_group=pl.lit(None, pl.String))
    return _tables(ratings, titles.with_columns(pl.col("genres").str.split("|")), users)


def with_extra(tables: Mapping[str, pa.Table], path: Path) -> dict[str, pa.Table]:
    """Titles of ML-1M with plot, cast, directors and minimum age (from the US certificate) out of `items_extra.parquet`.

    Raises:
        DataError: the file is missing or lacks a column.
    """
    needed = ["item_id", "mpaa", "directors", "actors", "plot"]
    try:
        extra = pl.read_parquet(path, columns=needed)
    except (OSError, pl.exceptions.PolarsError) as problem:
        raise DataError(f"extra metadata {path} cannot be read ({problem}); expected columns {', '.join(needed)}") from problem
    known = {name: pl.when(~pl.col(name).is_in(["N/A", ""])).then(pl.col(name)) for name in needed[1:]}
    titles = tables["titles"]
    joined = (
        pl.DataFrame({"content_id": titles["content_id"].to_pylist()})
        .join(extra.with_columns(pl.col("item_id").cast(pl.String)), left_on="content_id", right_on="item_id", how="left")
        .select(
            synopsis=known["plot"],
            cast=known["actors"].str.split(", "),
            directors=known["directors"].str.replace_all(r" \([^)]*\)", "").str.split(", "),
            maturity=known["mpaa"].replace_strict(_CERTIFICATES, default=None, return_dtype=pl.Int16),
        )
    )
    filled = conform("titles", joined)
    for name in joined.columns:
        titles = titles.set_column(titles.schema.get_field_index(name), titles.schema.field(name), filled[name])
    return {**tables, "titles": titles}


def _tables(ratings: pl.DataFrame, titles: pl.DataFrame, users: pl.DataFrame) -> dict[str, pa.Table]:
    numbers = ratings.select(
        pl.col("user").cast(pl.Int64),
        pl.col("item").cast(pl.Int64),
        pl.col("stars").cast(pl.Float64),
        pl.col("at").cast(pl.Float64),
    )
    if numbers.null_count().sum_horizontal().item():
        raise DataError("a rating lacks its user, title, stars or time; the file is damaged: fetch the archive anew")
    events = numbers.select(
        event_ids(*(numbers[name].cast(pl.Int64).to_numpy() for name in ("user", "item", "at"))),
        user_id=pl.col("user").cast(pl.String),
        profile_id=pl.lit(MAIN_PROFILE),
        content_id=pl.col("item").cast(pl.String),
        action=pl.lit("rate"),
        event_at=(pl.col("at") * 1000).cast(pl.Int64).cast(pl.Datetime("ms", "UTC")),
        value=pl.col("stars"),
    )
    profiles = users.select(pl.col("user").alias("user_id"), pl.lit(MAIN_PROFILE).alias("profile_id"), "age_group")
    return complete(
        {
            "titles": conform("titles", _titles(titles)),
            "profiles": conform("profiles", profiles),
            "events": conform("events", events),
        }
    )


def _titles(titles: pl.DataFrame) -> pl.DataFrame:
    """Names without the year and with the article in front; the release date given, or January 1st of the name's year.

    ML-100K dates some films by their re-release (Taxi Driver: 1996): a date more than a year from the name's is not taken.
    """
    title = pl.col("title").str.strip_chars()
    year = title.str.extract(_YEAR).str.to_date("%Y", strict=False)
    given = pl.col("released") if "released" in titles.columns else pl.lit(None, pl.Date)
    name = (
        title.str.replace(_YEAR, "")
        .str.strip_chars()
        .str.replace(rf"^([^(]*), ({_ARTICLES})( \(.*)?$", "${2} ${1}${3}")
        .str.replace(r"^([^(]*), (L'|Gli|Os)( \(.*)?$", "${2}${1}${3}")
    )
    return titles.select(
        content_id=pl.col("item"),
        name=name,
        kind=pl.when(pl.col("genres").list.contains("Documentary"))
        .then(pl.lit(word(Kind.DOCUMENTARY)))
        .otherwise(pl.lit(word(Kind.MOVIE))),
        genres=pl.col("genres").list.filter(~pl.element().is_in(_NO_GENRE)),
        release_date=pl.when((given.dt.year() - year.dt.year()).abs() <= 1).then(given).otherwise(pl.coalesce(year, given)),
    )


def _by_age(users: pl.DataFrame) -> pl.DataFrame:
    group = pl.col("age").cast(pl.Int32).cut(_AGE_CODES[1:], labels=AGE_GROUPS, left_closed=True).cast(pl.String)
    return users.select("user", age_group=group)


def _text(archive: Archive, member: str, encoding: str = "utf-8") -> str:
    try:
        return archive.read(member).decode(encoding)
    except UnicodeDecodeError as problem:
        raise DataError(f"{member} in {archive.path} is not {encoding} ({problem}); fetch the archive anew") from problem


def _headless(archive: Archive, member: str, separator: str, names: list[str], encoding: str = "utf-8") -> pl.DataFrame:
    """A file without header, every field as text; `::` becomes one byte that no title holds."""
    text = _text(archive, member, encoding)
    if len(separator) > 1:
        text, separator = text.replace(separator, "\x1f"), "\x1f"
    frame = parsed(archive, member, text.encode(), separator, has_header=False)
    if len(frame.columns) != len(names):
        raise DataError(
            f"{member} in {archive.path} has {len(frame.columns)} fields, expected {len(names)} ({', '.join(names[:6])}): "
            "give the publisher's own archive"
        )
    return frame.rename(dict(zip(frame.columns, names, strict=True)))
