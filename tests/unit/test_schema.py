"""The vocabulary: numbers that are stored somewhere are frozen, and words go there and back."""

from enum import IntEnum

import numpy as np
import pyarrow as pa
import pytest

from recray import schema
from recray.schema import Action, Device, Kind, Objective, Page, ProfileKey, Requests

FROZEN: dict[type[IntEnum], dict[str, int]] = {
    Action: {
        "impression": 0, "click": 1, "play": 2, "progress": 3, "complete": 4, "rate": 5,
        "like": 6, "dislike": 7, "add": 8, "remove": 9, "search": 10, "hide": 11,
    },
    Device: {"other": 0, "tv": 1, "mobile": 2, "desktop": 3},
    Kind: {"movie": 0, "series": 1, "documentary": 2, "special": 3},
    Page: {"homepage": 0, "post-watch": 1, "search": 2, "category": 3},
    Objective: {"start": 0, "completion": 1, "dislike": 2, "watch-time": 3},
}  # fmt: skip
"""Stored in profile states, item tables, logged slates and rankers: an entry may be added, never changed."""


@pytest.mark.parametrize("kind", FROZEN)
def test_stored_number_never_changes(kind: type[IntEnum]) -> None:
    assert {schema.word(member): member.value for member in kind} == FROZEN[kind]


def test_codes_fit_the_bits_of_a_packed_event() -> None:
    assert max(Action) < 16
    assert max(Device) < 4


@pytest.mark.parametrize(
    ("words", "kind"),
    [(schema.ACTION_OF, Action), (schema.KIND_OF, Kind), (schema.DEVICE_OF, Device), (schema.PAGE_OF, Page)],
)
def test_words_name_every_member_and_come_back(words: dict[str, IntEnum], kind: type[IntEnum]) -> None:
    assert {schema.word(member): member for member in kind} == words


def test_actions_are_watching_or_unfolded_but_not_both() -> None:
    assert not set(schema.WATCHING) & set(schema.UNFOLDED)


def test_tables_keep_identity_and_time_required() -> None:
    required = {name: [field.name for field in table if not field.nullable] for name, table in schema.TABLES.items()}
    assert required == {
        "titles": ["content_id", "name", "kind", "genres"],
        "availability": ["content_id", "region"],
        "profiles": ["user_id", "profile_id"],
        "events": ["event_id", "user_id", "profile_id", "content_id", "action", "event_at"],
        "follows": ["user_id", "profile_id", "followed_user_id", "followed_profile_id"],
    }


def test_times_are_aware_utc_in_every_table() -> None:
    for table in schema.TABLES.values():
        for field in table:
            if pa.types.is_timestamp(field.type):
                assert field.type.tz == "UTC", field.name


def _requests(n: int) -> Requests:
    numbers = np.arange(n)
    return Requests(
        keys=[ProfileKey(f"u{i}", "p") for i in range(n)],
        ids=[f"r{i}" for i in range(n)],
        now_s=numbers.astype(np.int64),
        page=(numbers % 4).astype(np.uint8),
        device=(numbers % 4).astype(np.uint8),
        n_items=numbers.astype(np.int32),
        n_rows=numbers.astype(np.int32),
        seed_item=numbers.astype(np.int32),
        kinds=numbers.astype(np.uint8),
        exclude_watched=(numbers % 2 == 0),
        region=[f"R{i}" for i in range(n)],
        query=[f"q{i}" for i in range(n)],
        category=[f"c{i}" for i in range(n)],
    )


def test_taking_requests_takes_every_column_in_the_order_given() -> None:
    taken = _requests(5).take(np.array([3, 1]))
    assert taken.n == 2
    whole = _requests(5)
    for name in Requests.__slots__:
        column, expected = getattr(taken, name), getattr(whole, name)
        assert list(column) == [expected[3], expected[1]], name


def test_profile_key_reads_as_account_and_profile() -> None:
    assert str(ProfileKey("home", "kids")) == "home/kids"
