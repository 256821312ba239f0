import re
from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recray.errors import DataError
from recray.schema import EVENTS, Action, Device, Event, ProfileKey, ProfileSettings
from recray.stores import event_log
from recray.stores.event_log import SlateServed, decode_event, decode_slate, derived_event_id, encode_event, encode_slate
from recray.stores.online import Arrival

words = st.integers(0, 2**64 - 1)
shares = st.none() | st.floats(allow_nan=False)
names = st.text(max_size=12)
counts = st.none() | st.integers(-(2**31), 2**31)
events = st.builds(
    Event,
    event_id=names,
    user_id=names,
    profile_id=names,
    content_id=names,
    action=st.sampled_from(Action),
    event_at_s=st.integers(-(2**40), 2**40),
    value=shares,
    watch_s=shares,
    progress=shares,
    device=st.sampled_from(Device),
    recommendation_id=st.none() | names,
    row=counts,
    position=counts,
)
arrivals = st.builds(Arrival, event=events, word=words, received_at_s=st.integers(0, 2**40))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False) | names,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=8,
)
slates = st.builds(
    SlateServed,
    recommendation_id=names,
    user_id=names,
    profile_id=names,
    served_at_s=st.integers(0, 2**40),
    bundle_id=names,
    page=names,
    vectors_fingerprint=names,
    settings=st.builds(ProfileSettings, country=st.none() | names, maturity_limit=counts, consent=st.booleans()),
    arms=st.dictionaries(names, names, max_size=3),
    request=st.dictionaries(names, json_values, max_size=3),
    state=st.binary(max_size=40),
    items=st.lists(st.integers(0, 2**20 - 1), max_size=5),
    positions=st.lists(st.integers(0, 800), max_size=5),
    scores=st.lists(st.floats(allow_nan=False), max_size=5),
    propensities=st.lists(st.floats(0, 1, exclude_min=True), max_size=5),
    sources=st.lists(names, max_size=5),
    degraded=st.lists(names, max_size=3),
)
PLAIN = Event("e1", "anna", "main", "tt7", Action.PLAY, 1_700_000_000)


@given(arrivals)
def test_event_comes_back_as_it_was_encoded(arrival: Arrival) -> None:
    back = decode_event(encode_event(arrival))
    assert back == arrival
    assert (type(back.event.action), type(back.event.device)) == (Action, Device)


@given(slates)
def test_slate_comes_back_as_it_was_encoded(slate: SlateServed) -> None:
    assert decode_slate(encode_slate(slate)) == slate


@given(st.binary(max_size=60))
def test_garbage_is_a_data_error_and_nothing_else(blob: bytes) -> None:
    for decode in (decode_event, decode_slate):
        with pytest.raises(DataError):
            decode(blob)


def test_truncated_event_names_its_size_and_what_to_do() -> None:
    blob = encode_event(Arrival(PLAIN, 1, 2))[:-1]
    message = f"logged event of {len(blob)} bytes cannot be read (Input data was truncated)"
    with pytest.raises(DataError, match=re.escape(message)):
        decode_event(blob)


def test_facts_have_the_columns_of_the_events_table() -> None:
    told = event_log.facts(Arrival(PLAIN, 5, 9))
    assert {"event_at" if name == "event_at_s" else name for name in told} == {*EVENTS.names, "received_at_s", "word"}
    assert (told["action"], told["device"], told["word"], told["value"]) == ("play", "other", 5, None)


@given(st.tuples(names, names), st.tuples(names, names))
def test_distinct_profiles_have_distinct_printable_addresses(one: tuple[str, str], other: tuple[str, str]) -> None:
    here, there = event_log.address(ProfileKey(*one)), event_log.address(ProfileKey(*other))
    assert (here == there) == (one == other)
    assert here.isascii()
    assert here.isprintable()
    assert not set("{} ") & set(here)


def test_shard_of_a_profile_never_changes() -> None:
    """Literal values: a changed digest would orphan every stored profile."""
    keys = [ProfileKey("anna", "main"), ProfileKey("a/b", "c"), ProfileKey("Zoë", "")]
    assert [event_log.shard_of(key, 16) for key in keys] == [1, 3, 9]


def test_shards_are_filled_evenly() -> None:
    filled = [0] * 16
    for n in range(16_000):
        filled[event_log.shard_of(ProfileKey(f"user{n}", "main"), 16)] += 1
    assert max(abs(n - 1_000) for n in filled) < 150


@given(events, names)
def test_derived_id_ignores_the_given_one(event: Event, event_id: str) -> None:
    assert derived_event_id(replace(event, event_id=event_id)) == derived_event_id(event)


@pytest.mark.parametrize("name", [field.name for field in fields(Event) if field.name != "event_id"])
def test_derived_id_differs_when_any_fact_does(name: str) -> None:
    held = getattr(PLAIN, name)
    other = Action.RATE if name == "action" else Device.TV if name == "device" else 3 if not isinstance(held, str) else "else"
    assert derived_event_id(replace(PLAIN, **{name: other})) != derived_event_id(PLAIN)


def test_inbox_word_of_an_impression_is_empty() -> None:
    assert event_log.inbox_word(Arrival(replace(PLAIN, action=Action.IMPRESSION), 7, 0)) == b""
    assert event_log.inbox_word(Arrival(PLAIN, 7, 0)) == b"\x07" + bytes(7)
