from pathlib import Path

import pytest

from recray.data import sources
from recray.errors import DataError

INTERACTIONS = (
    "user_id,item_id,last_watch_dt,total_dur,watched_pct\n"
    "176549,9506,2021-05-11,4250,72.0\n699317,1659,2021-05-29,8317,100.0\n5,9506,2021-03-13,10,\n"
)
USERS = "user_id,age,income,sex,kids_flg\n176549,age_25_34,income_60_90,М,1\n699317,age_65_inf,income_20_40,Ж,0\n7,,,,0\n"
ITEMS = (
    "item_id,content_type,title,title_orig,release_year,genres,countries,"
    "for_kids,age_rating,studios,directors,actors,description,keywords\n"
    '9506,film,Холодное сердце,Frozen,2013.0,"мультфильм, фэнтези",'
    'США,,0.0,,Крис Бак,"Кристен Белл, Идина Мензел","Сказка, в которой зима",снег\n'
    "1659,series,Три девятых,,,драмы,,,18.0,,,,,\n"
)


def folder_of(path: Path, **files: str) -> Path:
    for name, text in files.items():
        (path / f"{name}.csv").write_text(text)
    return path


def test_the_original_files_become_canonical_tables(tmp_path: Path) -> None:
    raw = sources.read("kion", folder_of(tmp_path, interactions=INTERACTIONS, users=USERS, items=ITEMS), tmp_path)
    film, series = raw.tables["titles"].to_pylist()
    assert (film["name"], film["kind"], film["genres"], film["maturity"]) == (
        "Холодное сердце",
        "movie",
        ["мультфильм", "фэнтези"],
        0,
    )
    assert (str(film["release_date"]), film["countries"], film["cast"]) == (
        "2013-01-01",
        ["США"],
        ["Кристен Белл", "Идина Мензел"],
    )
    assert (series["kind"], series["maturity"], series["release_date"]) == ("series", 18, None)
    assert raw.tables["profiles"]["age_group"].to_pylist() == ["25-34", "56-plus", None]
    first = raw.tables["events"].to_pylist()[0]
    assert (first["action"], first["watch_s"], round(first["progress"], 4)) == ("progress", 4250, 0.72)
    assert first["event_at"].isoformat() == "2021-05-11T00:00:00+00:00"
    assert raw.tables["events"]["progress"].to_pylist()[2] is None


def test_a_file_without_a_needed_column_is_refused(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, interactions=INTERACTIONS.replace("watched_pct", "pct"), users=USERS, items=ITEMS)
    with pytest.raises(DataError, match=r"interactions.csv in .* lacks watched_pct"):
        sources.read("kion", folder, tmp_path)
