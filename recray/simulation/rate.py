"""How many a second are wanted over time, and when they then arrive."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Final

import numpy as np

from recray.errors import ConfigError

MOST_ARRIVALS: Final = 2_000_000
_NUMBER: Final = r"\d+(?:\.\d+)?"
_PIECE: Final = re.compile(rf"({_NUMBER})(?:\.\.({_NUMBER}))?(?::({_NUMBER})(s|m)?)?")
_SECONDS_OF: Final = {"s": 1.0, "m": 60.0, None: 1.0}
_FORM: Final = "expected a number a second (200), a ramp (10..200), or pieces with their lengths (50:30s,50..200:1m,200:30s)"


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of `seconds` in which the rate goes in a straight line from `start` to `end` per second."""

    start: float
    end: float
    seconds: float

    @property
    def expected(self) -> float:
        return (self.start + self.end) / 2 * self.seconds


@dataclass(frozen=True, slots=True)
class Rate:
    """A rate over time, piece after piece; zero afterwards."""

    pieces: tuple[Piece, ...]

    @property
    def seconds(self) -> float:
        return sum(piece.seconds for piece in self.pieces)

    @property
    def expected(self) -> float:
        """How many are expected in all."""
        return sum(piece.expected for piece in self.pieces)

    def at(self, offset_s: float) -> float:
        """The rate at a moment; before the beginning that of the beginning."""
        for piece in self.pieces:
            if offset_s < piece.seconds:
                return piece.start + (piece.end - piece.start) * max(offset_s, 0.0) / piece.seconds
            offset_s -= piece.seconds
        return 0.0

    def divided(self, by: float) -> "Rate":
        """The same shape, `by` times lower."""
        return Rate(tuple(replace(piece, start=piece.start / by, end=piece.end / by) for piece in self.pieces))

    def until(self, seconds: float) -> "Rate":
        """The rate up to a moment."""
        kept, left = [], seconds
        for piece in self.pieces:
            if left <= 0:
                break
            length = min(left, piece.seconds)
            kept.append(Piece(piece.start, piece.start + (piece.end - piece.start) * length / piece.seconds, length))
            left -= length
        return Rate(tuple(kept))

    def arrivals(self, seed: int | Sequence[int]) -> list[float]:
        """Poisson arrivals at this rate: ascending offsets in [0, seconds), at most two million.

        Arrivals of rate one are drawn and put where the area under this rate is as large.
        """
        areas = np.array([0.0, *accumulate(piece.expected for piece in self.pieces)])
        n_drawn = min(int(self.expected * 1.2) + 100, MOST_ARRIVALS)
        reached = np.cumsum(np.random.default_rng(seed).exponential(size=n_drawn))
        reached = reached[reached < areas[-1]]
        place = np.searchsorted(areas, reached, side="right") - 1
        start, end, length = (np.array([getattr(p, name) for p in self.pieces])[place] for name in Piece.__slots__)
        rest = reached - areas[place]
        slope = (end - start) / length
        # The root of start * t + slope * t**2 / 2 = rest in the form that is exact for a level piece too.
        within = 2 * rest / (start + np.sqrt(start**2 + 2 * slope * rest))
        before = np.array([0.0, *accumulate(piece.seconds for piece in self.pieces)])[place]
        return [float(offset) for offset in before + within if offset < self.seconds]


def arrivals(rate: float, seconds: float, seed: int) -> list[float]:
    """Poisson arrivals at one rate: offsets in [0, seconds) with exponential gaps, at most two million."""
    return Rate((Piece(rate, rate, seconds),)).arrivals(seed)


def parse(text: str, seconds: float | None) -> Rate:
    """A rate as it is written: `200`, `10..200` (a ramp), or pieces with lengths, `50:30s,50..200:1m,200:30s`.

    A single piece without a length lasts `seconds`; pieces that have theirs are cut after `seconds`, None cuts nothing.

    Raises:
        ConfigError: another form, a piece among several without a length, nothing to send, or more than two million.
    """
    found = [_PIECE.fullmatch(part.strip()) for part in text.split(",")]
    if not all(found) or (len(found) > 1 and any(match and match[3] is None for match in found)):
        raise ConfigError(f"rate is {text!r}; {_FORM}")
    pieces = []
    for match in found:
        assert match is not None
        length = float(match[3]) * _SECONDS_OF[match[4]] if match[3] else seconds
        if length is None:
            raise ConfigError(f"rate {text!r} has no length and seconds are not given; give one of them")
        pieces.append(Piece(float(match[1]), float(match[2] or match[1]), length))
    rate = Rate(tuple(piece for piece in pieces if piece.seconds > 0))
    rate = rate if seconds is None else rate.until(seconds)
    if not 0 < rate.expected <= MOST_ARRIVALS:
        raise ConfigError(
            f"rate {text!r} over {rate.seconds:g} s makes {rate.expected:,.0f} requests; expected 1 to {MOST_ARRIVALS:,}"
        )
    return rate
