"""Whether contestants answer alike: only what does the same work may be compared by its speed."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from recray.errors import DataError

LEAST: Final = 0.9
"""Contestants that share fewer of their titles than this are not measured."""


def shown(body: Mapping[str, Any]) -> list[str]:
    """content_ids of an answer in page order, of every row of a homepage."""
    listed = [item for row in body.get("rows", ()) for item in row["items"]] or body.get("recommendations", ())
    return [item["content_id"] for item in listed]


def overlap(one: Sequence[str], other: Sequence[str]) -> float:
    """Share of the longer answer's titles that both have; order does not count, two empty answers agree."""
    longer = max(len(set(one)), len(set(other)))
    return len(set(one) & set(other)) / longer if longer else 1.0


def agreed(name: str, answers: Sequence[Sequence[str]], other: str, expected: Sequence[Sequence[str]]) -> float:
    """Mean overlap of two contestants' answers to the same requests.

    Raises:
        DataError: it is below `LEAST`, or every answer is empty.
    """
    if not any(answers):
        raise DataError(f"{name} answered {len(answers)} requests without a single title; publish profiles and check its log")
    mean = sum(overlap(one, two) for one, two in zip(answers, expected, strict=True)) / len(answers)
    if mean < LEAST:
        raise DataError(
            f"{name} and {other} share {mean:.3f} of their titles over {len(answers)} profiles; expected at least {LEAST}: "
            "they do not do the same work, so their speed is not compared"
        )
    return mean
