import hashlib
import re
import shutil
import zipfile
from pathlib import Path

import pytest

from recray.data import sources
from recray.data.archive import Archive, digest
from recray.data.sources import DATASETS, read
from recray.errors import DataError

NAME = "ml-100k"


class Offline:
    """A machine that reaches nothing."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def download(self, url: str, to: Path) -> None:
        self.asked.append(url)
        raise DataError(f"{url} did not answer: no network")

    def wheel(self, requirement: str, into: Path) -> None:
        self.asked.append(requirement)
        raise DataError(f"pip download {requirement} failed: no network")


class Publisher(Offline):
    """A publisher that gives some bytes."""

    def __init__(self, content: bytes) -> None:
        super().__init__()
        self.content = content

    def download(self, url: str, to: Path) -> None:
        self.asked.append(url)
        to.write_bytes(self.content)


class Index(Offline):
    """A package index that gives the wheel."""

    def __init__(self, carried: Path) -> None:
        super().__init__()
        self.carried = carried

    def wheel(self, requirement: str, into: Path) -> None:
        self.asked.append(requirement)
        into.mkdir(exist_ok=True)
        shutil.copy(self.carried, into)


def test_a_given_path_is_the_only_place_looked_at(tmp_path: Path, small_100k: Path) -> None:
    fetch = Offline()
    with pytest.raises(DataError, match=r"nowhere.zip does not exist"):
        read(NAME, tmp_path / "nowhere.zip", small_100k.parent, fetch)
    assert not fetch.asked


def test_the_cache_is_asked_before_anything_outside(small_100k: Path) -> None:
    fetch = Offline()
    raw = read(NAME, None, small_100k.parent, fetch)
    assert raw.tables["events"].num_rows == 3
    assert raw.sha256 == hashlib.sha256(small_100k.read_bytes()).hexdigest()
    assert not fetch.asked


def test_an_unpacked_directory_reads_like_its_archive(tmp_path: Path, small_100k: Path) -> None:
    zipfile.ZipFile(small_100k).extractall(tmp_path / "unpacked")
    unpacked = read(NAME, tmp_path / "unpacked", tmp_path)
    assert unpacked.tables["titles"].equals(read(NAME, small_100k, tmp_path).tables["titles"])
    assert len(unpacked.sha256) == 64


def test_a_download_enters_the_cache_only_with_its_checksum(
    tmp_path: Path, small_100k: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = small_100k.read_bytes()
    cache = tmp_path / "cache"
    with pytest.raises(DataError, match=r"gave md5 [0-9a-f]{32}, expected 0e33842e24a9c977be4e0107933c0723"):
        read(NAME, None, cache, Publisher(content))
    assert not list(cache.iterdir())
    checksum = f"sha256:{hashlib.sha256(content).hexdigest()}"
    monkeypatch.setattr(sources, "DATASETS", {NAME: sources._movielens(NAME, checksum, DATASETS[NAME].adapter)})
    assert read(NAME, None, cache, Publisher(content)).tables["events"].num_rows == 3
    assert [path.name for path in cache.iterdir()] == ["ml-100k.zip"]


def test_the_wheel_is_the_last_resort_and_is_kept(tmp_path: Path, carried_100k: Path) -> None:
    index = Index(carried_100k)
    first = read(NAME, None, tmp_path / "cache", index)
    assert index.asked == [DATASETS[NAME].url, "recbole==1.2.1"]
    assert first.tables["titles"]["name"].to_pylist()[0] == "The Matrix"
    assert "recbole-1.2.1" in first.source
    read(NAME, None, tmp_path / "cache", index)
    assert len(index.asked) == 2


def test_when_none_answers_every_place_is_named_with_what_it_said(tmp_path: Path) -> None:
    url = DATASETS[NAME].url
    with pytest.raises(DataError) as failure:
        read(NAME, None, tmp_path / "cache", Offline())
    assert str(failure.value) == (
        f"data set ml-100k was found nowhere: (1) the cache {tmp_path / 'cache'} has no ml-100k.zip and no directory ml-100k; "
        f"(2) {url} did not answer: no network; (3) pip download recbole==1.2.1 failed: no network. "
        f"Download {url} elsewhere and name it with --from, or put it into the cache (RECRAY_DATA_DIR)"
    )


def test_a_truncated_archive_says_so(tmp_path: Path, small_100k: Path) -> None:
    path = small_100k
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(DataError, match=re.escape("it is truncated or corrupt: fetch it anew")):
        read(NAME, path, tmp_path)


def test_a_damaged_member_says_so(tmp_path: Path, small_100k: Path) -> None:
    path = small_100k
    content = bytearray(path.read_bytes())
    at = content.find(b"881250949")
    content[at] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"ml-100k/u.data in .* cannot be read \(Bad CRC-32"):
        read(NAME, path, tmp_path)


def test_a_missing_member_names_what_the_archive_holds(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("other.txt", "")
    with pytest.raises(DataError, match=r"x.zip should hold one file u.genre; it holds other.txt"):
        read(NAME, tmp_path / "x.zip", tmp_path)


def test_an_unknown_name_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"'netflix' is unknown; expected one of ml-100k, ml-1m, .*, or files and a directory"):
        read("netflix", None, tmp_path)


def test_extra_metadata_is_asked_of_ml_1m_alone_and_must_be_there(tmp_path: Path, small_100k: Path) -> None:
    with pytest.raises(DataError, match="extra metadata exists for ml-1m alone, not for ml-100k"):
        read(NAME, small_100k, tmp_path, extra=True)


@pytest.mark.parametrize("dataset", DATASETS.values(), ids=lambda dataset: dataset.name)
def test_every_checksum_has_the_length_of_its_algorithm(dataset: sources.Dataset) -> None:
    algorithm, _, value = dataset.checksum.partition(":")
    assert len(value) == {"md5": 32, "sha256": 64, "git": 40}[algorithm]
    assert re.fullmatch("[0-9a-f]+", value)


def test_git_digest_is_that_of_a_git_blob(tmp_path: Path) -> None:
    (tmp_path / "hello").write_bytes(b"hello\n")
    assert digest(tmp_path / "hello", "git") == "ce013625030ba8dba906f756967f9e9ca394464a"


def test_a_single_file_is_an_archive_of_itself(tmp_path: Path) -> None:
    (tmp_path / "titles.csv").write_text("x")
    assert Archive(tmp_path / "titles.csv").read("titles.csv") == b"x"
