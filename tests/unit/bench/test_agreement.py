"""Only contestants that do the same work are compared."""

import re

import pytest

from recray.bench.agreement import agreed, overlap, shown
from recray.bench.compare import Plan, ratios
from recray.errors import ConfigError, DataError


def test_titles_are_read_from_lists_and_from_rows() -> None:
    a, b, c = ({"content_id": name} for name in "abc")
    assert shown({"recommendations": [a, b]}) == ["a", "b"]
    assert shown({"rows": [{"items": [a]}, {"items": [b, c]}]}) == ["a", "b", "c"]
    assert shown({"rows": []}) == []


def test_overlap_ignores_order_and_counts_the_longer_answer() -> None:
    assert overlap("abcd", "dcba") == 1.0
    assert overlap("ab", "abcd") == 0.5
    assert overlap("abcd", "ab") == 0.5
    assert overlap("", "") == 1.0
    assert overlap("", "ab") == 0.0


def test_contestants_that_answer_alike_are_measured() -> None:
    titles = [[str(n) for n in range(20)], [str(n) for n in range(20, 40)]]
    nearly = [[*titles[0][:18], "x", "y"], titles[1]]
    assert agreed("monolith", nearly, "fused", titles) == pytest.approx(0.95)


def test_contestants_that_answer_otherwise_are_refused() -> None:
    titles = [[str(n) for n in range(20)]]
    other = [[*titles[0][:17], "x", "y", "z"]]
    message = (
        "monolith and fused share 0.850 of their titles over 1 profiles; expected at least 0.9: they do not do the same "
        "work, so their speed is not compared"
    )
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        agreed("monolith", other, "fused", titles)


def test_contestants_that_show_nothing_are_refused() -> None:
    with pytest.raises(DataError, match="without a single title"):
        agreed("monolith", [[], []], "fused", [[], []])


@pytest.mark.parametrize(
    "wrong", [{"contestants": ("gorse",)}, {"contestants": ()}, {"seconds": 601.0}, {"rounds": 0}, {"connections": 1_001}]
)
def test_a_plan_out_of_bounds_is_refused(wrong: dict[str, object]) -> None:
    usable: dict[str, object] = {"contestants": ("monolith",), "endpoint": "flat", "seconds": 1.0, "rounds": 1,
                                 "connections": 4, "cores": 2, "seed": 1}  # fmt: skip
    Plan(**usable)  # type: ignore[arg-type]
    with pytest.raises(ConfigError):
        Plan(**usable | wrong)  # type: ignore[arg-type]


def test_ratios_are_ours_over_the_peers_that_were_measured() -> None:
    def figures(n: float) -> dict[str, float | None]:
        return {"requests_per_s": 100 * n, "p50_ms": n, "p99_ms": None, "cpu_ms_per_request": 1 / n}

    found = ratios({"fused": figures(3.0), "monolith": figures(2.0)})
    assert found["requests_per_s"] == {"fused/monolith": 1.5}
    assert found["cpu_ms_per_request"] == {"fused/monolith": 0.667}
    assert found["p99_ms"] == {}
