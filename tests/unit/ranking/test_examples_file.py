import re
from pathlib import Path

import numpy as np
import pytest

import example_world as world
from recray.errors import DataError
from recray.ranking.examples_file import load, save


def test_saved_examples_come_back(tmp_path: Path) -> None:
    given = world.examples(7, 1)
    save(given, tmp_path / "deep" / "train")
    for mmap in (True, False):
        got = load(tmp_path / "deep" / "train", mmap=mmap)
        np.testing.assert_array_equal(got.labels, given.labels)
        np.testing.assert_array_equal(got.at_s, given.at_s)
        for name in ("user", "match", "items", "history"):
            np.testing.assert_array_equal(getattr(got.inputs, name), getattr(given.inputs, name))
            assert getattr(got.inputs, name).dtype == getattr(given.inputs, name).dtype


def test_mapped_examples_are_read_row_by_row(tmp_path: Path) -> None:
    save(world.examples(7, 1), tmp_path / "train")
    got = load(tmp_path / "train")
    assert isinstance(got.inputs.match, np.memmap)
    assert len(got.take(np.array([5, 2]))) == 2


def test_older_examples_are_replaced_and_nothing_stays_beside(tmp_path: Path) -> None:
    save(world.examples(7, 1), tmp_path / "train")
    save(world.examples(3, 2), tmp_path / "train")
    assert len(load(tmp_path / "train")) == 3
    assert [path.name for path in tmp_path.iterdir()] == ["train"]


def test_interrupted_save_leaves_the_older_examples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(world.examples(7, 1), tmp_path / "train")

    def full(*_: object, **__: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(OSError, match="no space"):
        save(world.examples(3, 2), tmp_path / "train")
    assert len(load(tmp_path / "train")) == 7


def test_truncated_file_is_refused(tmp_path: Path) -> None:
    save(world.examples(7, 1), tmp_path / "train")
    path = tmp_path / "train" / "match.npy"
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(DataError, match=re.escape(f"examples in {tmp_path / 'train'} cannot be read")):
        load(tmp_path / "train")


def test_files_of_other_examples_are_refused(tmp_path: Path) -> None:
    save(world.examples(7, 1), tmp_path / "train")
    np.save(tmp_path / "train" / "at_s.npy", np.zeros(6, np.int64))
    with pytest.raises(DataError, match="files of \\[6, 7\\] requests"):
        load(tmp_path / "train")
