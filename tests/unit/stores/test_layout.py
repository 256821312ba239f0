import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recray.errors import StoreError
from recray.stores.layout import Layout

DIGESTS = st.binary(min_size=16, max_size=16)


@pytest.mark.parametrize(("text", "epoch"), [(b"16", 0), (b"16,32+", 1), (b"16,32", 2), (b"4,8,24+", 3)])
def test_layout_is_read_as_it_was_written_and_its_epoch_rises(text: bytes, epoch: int) -> None:
    layout = Layout.parse(text)
    assert layout.text() == text
    assert layout.epoch == epoch
    assert layout.is_growing == bool(epoch % 2)


@pytest.mark.parametrize("text", [b"", b"many", b"4;8", b'{"n": 4}'])
def test_text_that_is_no_layout_is_refused(text: bytes) -> None:
    with pytest.raises(StoreError, match=re.escape(f"the store's layout is {text!r}; expected numbers of shards")):
        Layout.parse(text)


@given(DIGESTS)
def test_profile_stays_or_goes_to_a_shard_that_no_other_left_and_never_back(digest: bytes) -> None:
    counts = (4, 8, 24)
    been = [Layout(counts[: n + 1]).shard(digest) for n in range(3)]
    assert been == sorted(been)
    assert Layout(counts).been_in(digest) == sorted(set(been), reverse=True)
    growing = Layout(counts, is_growing=True)
    assert growing.left(digest) == (been[1] if been[1] != been[2] else None)
    assert Layout(counts).left(digest) is None


@given(DIGESTS)
def test_origin_of_a_shard_is_where_its_profiles_came_from(digest: bytes) -> None:
    layout = Layout((4, 8, 24))
    been = layout.been_in(digest)
    for shard, before in pairwise(been):
        origin = layout.origin(shard)
        assert origin is not None
        assert origin[0] == before
    assert layout.origin(been[-1]) is None
    assert [layout.origin(shard) for shard in (3, 4, 8)] == [None, (0, 1), (0, 3)]
