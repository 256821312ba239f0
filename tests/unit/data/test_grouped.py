import weakref

import pytest

from recray.data import grouped


class Reference:
    """As much of Ray's as is used."""

    def hex(self) -> str:
        return "1f"


def test_what_a_reference_stands_for_is_kept_and_the_reference_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    monkeypatch.setattr(grouped.ray, "get", lambda reference: read.append(reference.hex()) or {"a": 0})
    reference = Reference()
    there = weakref.ref(reference)
    assert grouped._held(reference) == grouped._held(reference) == {"a": 0}
    assert read == ["1f"]
    del reference
    assert there() is None
