import pyarrow as pa
import pytest

from recray.stores.erased import last_erasure, since_erasure

LOGS = ["s/1", "s/1", "s/5", "s/0", "t/7"]
ROWS = pa.table({"log": LOGS, "logged_at_ms": [10, 20, 5, 90, 90], "logged_no": [0] * 5})


def test_what_a_profile_did_after_its_erasure_lies_behind_it_or_in_a_higher_shard_of_the_same_store() -> None:
    assert since_erasure(ROWS, "s/1", "10-0").tolist() == [False, True, True, False, False]
    assert since_erasure(ROWS, "s/5", "4-0").tolist() == [False, False, True, False, False]
    assert since_erasure(ROWS.drop_columns(["log"]), "s/1", "10-0").tolist() == [False] * 5


@pytest.mark.parametrize(
    ("one", "other", "last"),
    [
        (None, ("s/1", "10-0"), ("s/1", "10-0")),
        (("s/1", "20-0"), ("s/1", "9-0"), ("s/1", "20-0")),
        (("s/5", "1-0"), ("s/1", "90-0"), ("s/5", "1-0")),
        (("s/5", "1-0"), ("t/1", "0-0"), ("t/1", "0-0")),
    ],
)
def test_later_of_two_erasures_counts(one: tuple[str, str] | None, other: tuple[str, str], last: tuple[str, str]) -> None:
    assert last_erasure(one, other) == last
