"""The replica's own copies: bounded in bytes, least recently used first out, and gone when their time is over."""

from hypothesis import given
from hypothesis import strategies as st

from recray.serving.copies import Copies, Copy
from recray.stores.kept import KeptAnswer

TTL_S = 300
ONE = Copy(b"lease", KeptAnswer("r", 0, 10, b"x" * 100))


def named(n: int) -> bytes:
    return bytes([n]) * 32


def test_least_recently_used_copy_makes_room() -> None:
    copies = Copies(3 * ONE.n_bytes, TTL_S)
    for n in range(3):
        copies.put(named(n), ONE, 0)
    copies.get(named(0))
    copies.put(named(3), ONE, 0)
    assert [copies.get(named(n)) is not None for n in range(4)] == [True, False, True, True]


def test_copy_that_does_not_fit_takes_the_older_one_of_its_name_with_it() -> None:
    copies = Copies(ONE.n_bytes, TTL_S)
    copies.put(named(1), ONE, 0)
    copies.put(named(1), Copy(b"lease", KeptAnswer("r", 0, 10, b"x" * 101)), 0)
    assert copies.get(named(1)) is None
    assert copies.n_bytes == 0


def test_copy_goes_when_its_time_is_over_although_there_is_room() -> None:
    copies = Copies(100 * ONE.n_bytes, TTL_S)
    copies.put(named(1), ONE, 0)
    late = Copy(b"lease", KeptAnswer("r", TTL_S - 1, 10, b""))
    copies.put(named(2), late, TTL_S - 1)
    assert copies.get(named(1)) is ONE
    copies.put(named(3), late, 2 * TTL_S - 2)
    assert [copies.get(named(n)) is not None for n in (1, 2, 3)] == [False, True, True]


@given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 2_000), st.integers(0, 1_000)), max_size=60), st.integers(0, 5_000))
def test_bytes_are_counted_and_bounded_whatever_comes(puts: list[tuple[int, int, int]], most_bytes: int) -> None:
    copies = Copies(most_bytes, TTL_S)
    for name, size, at_s in puts:
        copies.put(named(name), Copy(b"l", KeptAnswer("r", at_s, size, b"x" * size)), at_s)
        assert copies.n_bytes == sum(copy.n_bytes for copy in copies._held.values()) <= most_bytes
