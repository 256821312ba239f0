"""Rates as they are written, and the arrivals that they make."""

import re

import numpy as np
import pytest

from recray.errors import ConfigError
from recray.simulation.rate import MOST_ARRIVALS, Piece, Rate, arrivals, parse


def test_arrivals_are_poisson_and_the_same_for_a_seed() -> None:
    offsets = arrivals(200.0, 50.0, seed=3)
    assert offsets == arrivals(200.0, 50.0, seed=3) != arrivals(200.0, 50.0, seed=4)
    gaps = np.diff(offsets)
    assert len(offsets) == pytest.approx(10_000, rel=0.05)
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.05)
    assert 0 < offsets[0] < offsets[-1] < 50.0


def test_a_constant_rate_is_a_ramp_that_stays_level() -> None:
    gaps = np.random.default_rng(3).exponential(1 / 20.0, 340)
    offsets = np.cumsum(gaps)
    np.testing.assert_allclose(arrivals(20.0, 10.0, seed=3), offsets[offsets < 10.0], rtol=1e-12)


def test_arrivals_follow_ramps_and_steps() -> None:
    offsets = np.array(parse("0..200:20s,50:10s,400:5s", None).arrivals(1))
    found, _ = np.histogram(offsets, [0, 10, 20, 30, 35])
    np.testing.assert_allclose(found, [500, 1_500, 500, 2_000], rtol=0.12)
    assert (np.diff(offsets) >= 0).all()
    falling = np.array(parse("200..0:20s", None).arrivals(1))
    assert (falling < 10).mean() == pytest.approx(0.75, abs=0.03)


def test_nothing_arrives_while_the_rate_is_zero() -> None:
    offsets = np.array(parse("100:5s,0:5s,100:5s", None).arrivals(2))
    assert not ((offsets >= 5) & (offsets < 10)).any()
    assert (offsets >= 10).sum() == pytest.approx(500, rel=0.15)


@pytest.mark.parametrize(
    ("text", "seconds", "pieces"),
    [
        ("200", 30.0, [(200, 200, 30)]),
        ("10..200", 60.0, [(10, 200, 60)]),
        ("50:30s, 200:1m,50:30", None, [(50, 50, 30), (200, 200, 60), (50, 50, 30)]),
        ("0.5:10s", None, [(0.5, 0.5, 10)]),
        ("50:30s,0..100:20s", 40.0, [(50, 50, 30), (0, 50, 10)]),
    ],
)
def test_a_rate_is_read(text: str, seconds: float | None, pieces: list[tuple[float, float, float]]) -> None:
    assert parse(text, seconds) == Rate(tuple(Piece(*piece) for piece in pieces))


@pytest.mark.parametrize("text", ["", "fast", "-5", "10-200", "50,100", "50:30s,100", "50:30h", "50:", "1..2..3"])
def test_another_form_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"rate is {text!r}; expected a number a second (200)")):
        parse(text, 30.0)


def test_what_sends_nothing_or_too_much_is_refused() -> None:
    with pytest.raises(ConfigError, match="makes 0 requests"):
        parse("0:10s", None)
    with pytest.raises(ConfigError, match=f"expected 1 to {MOST_ARRIVALS:,}"):
        parse("1000000", 10.0)
    with pytest.raises(ConfigError, match="no length"):
        parse("5", None)


def test_the_rate_at_a_moment() -> None:
    rate = parse("10..30:20s,5:10s", None)
    assert [rate.at(moment) for moment in (-5.0, 0.0, 10.0, 20.0, 29.9, 30.0)] == [10.0, 10.0, 20.0, 5.0, 5.0, 0.0]
    assert (rate.seconds, rate.expected) == (30.0, 450.0)
    assert rate.divided(2.0).expected == 225.0
