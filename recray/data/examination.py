"""How much likelier a title is started for where it stood: the chance of each place to be looked at, harvested from a log.

What a profile was shown twice without watching anything in between is an experiment that nobody had to run: same viewer,
same history, same title, another place. Nothing here decides what a start is worth; `weights` only says how rare it was.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import polars as pl
import pyarrow as pa
from scipy.optimize import minimize
from scipy.special import expit

from recray.experiments.interval import Doubles
from recray.schema import WATCHING, Action, Floats, Ints, word

COLUMNS: Final = ("user_id", "profile_id", "content_id", "action", "event_at", "recommendation_id", "row", "position")
"""What is read of each event."""
ORGANIC: Final = -1
"""Row and position of a start that came from no slate."""
_KEY: Final = ("user_id", "profile_id")
_STEP_DEVIATION: Final = 0.5
"""Prior of the fall from one place to the next on the log scale, half-normal: where nothing is known it falls by none."""


@dataclass(frozen=True, slots=True)
class Examination:
    """Chance that a place is looked at, relative to the first: of each position in its row, times that of each row.

    Both begin with 1 and never rise; places further on are as the last. `n_starts` of harvested pairs were learnt from; without
    impressions none, and every place counts alike.
    """

    position: tuple[float, ...] = (1.0,)
    row: tuple[float, ...] = (1.0,)
    n_starts: int = 0

    def weights(self, places: Ints, most: float) -> Floats:
        """Weight [n] float32 of starts at places [n, 2] (row, position): 1 / chance, at most `most` [Joachims2017].

        Organic starts weigh 1: nothing hid them.
        """
        row, position = (np.minimum(places[:, axis], len(known) - 1) for axis, known in enumerate((self.row, self.position)))
        chance = np.asarray(self.row)[row] * np.asarray(self.position)[position]
        weight = np.minimum(1 / chance, most)
        return np.where((places < 0).any(axis=1), 1.0, weight).astype(np.float32)


def harvest(events: pa.Table) -> pl.DataFrame:
    """Pairs of impressions that differ by their place alone, from the columns `COLUMNS` of events in any order.

    A row for each impression whose title the same profile was shown before, in another slate at another place, with nothing
    watched since: user_id, profile_id, both places (row_before, position_before, row, position) and whether it was started
    from that slate. Impressions without slate or position, and repeated reports of one, are left out. The query of
    [Agarwal2019] is a profile with its history, its rankers are whatever ordered the slates.
    """
    frame: Any = pl.from_arrow(events.select(COLUMNS))
    watched = [word(action) for action in WATCHING]
    title = [*_KEY, "content_id"]
    shown = (
        frame.sort("event_at", maintain_order=True)
        .with_columns(pl.col("row").fill_null(0), n_watched=pl.col("action").is_in(watched).cum_sum().over(_KEY))
        .filter(pl.col("recommendation_id").is_not_null())
    )
    started = shown.filter(pl.col("action").is_in(watched)).select(*title, "recommendation_id").unique()
    impressions = shown.filter((pl.col("action") == word(Action.IMPRESSION)) & pl.col("position").is_not_null())
    before = {column: pl.col(column).shift(1).over([*title, "n_watched"]) for column in ("row", "position")}
    return (
        impressions.unique([*title, "recommendation_id"], keep="first", maintain_order=True)
        .with_columns(**{f"{column}_before": value for column, value in before.items()})
        .filter((pl.col("row_before") != pl.col("row")) | (pl.col("position_before") != pl.col("position")))
        .join(started.with_columns(started=pl.lit(value=True)), on=[*title, "recommendation_id"], how="left")
        .select(*_KEY, "row_before", "position_before", "row", "position", pl.col("started").fill_null(value=False))
    )


def estimate(pairs: pl.DataFrame) -> Examination:
    """Chances of rows and of positions from what `harvest` gives: pairs within a row, and pairs at one position of two rows."""
    fits, n_starts = [], 0
    for place, held in (("position", "row"), ("row", "position")):
        own = pairs.filter((pl.col(held) == pl.col(f"{held}_before")) & (pl.col(place) != pl.col(f"{place}_before")))
        fits.append(falling(*counts(own, place)))
        n_starts += int(own["started"].sum())
    return Examination(tuple(fits[0]), tuple(fits[1]), n_starts)


def counts(pairs: pl.DataFrame, place: str) -> tuple[Doubles, Doubles]:
    """Pairs and starts [n_places, n_places] by the place before and the place of the impression; `place`: row or position."""
    before, after = (pairs[column].to_numpy().astype(np.int64) for column in (f"{place}_before", place))
    n = int(max(before.max(initial=0), after.max(initial=0))) + 1
    shape, cell = (n, n), before * n + after
    shown, started = (np.bincount(cell, each, n * n).reshape(shape) for each in (None, pairs["started"].to_numpy()))
    return shown.astype(np.float64), started.astype(np.float64)


def falling(shown: Doubles, started: Doubles) -> Sequence[float]:
    """Chance of each place relative to the first, never rising, from pairs and starts [n, n] (place before, place).

    Of the titles shown at a, then at b, and those the other way round, equally many are liked [Agarwal2019], so the starts of
    the former are a share n_ab t_b / (n_ab t_b + n_ba t_a) of both. That likelihood knows nothing else of the titles: unlike
    AllPairs it leaves no relevance of pairs to fit. Titles that were passed over at a much-seen place are liked
    a little less than others, which makes the fall a little too steep where much is started. Penalised by the steps' prior.
    """
    n = len(shown)
    first, second = np.triu_indices(n, 1)
    there, back = shown[first, second], shown[second, first]
    compared = (there > 0) & (back > 0)
    first, second = first[compared], second[compared]
    down, up = started[first, second], started[second, first]
    odds = np.log(there[compared]) - np.log(back[compared])

    def loss(steps: Doubles) -> tuple[float, Doubles]:
        fall = np.concatenate(([0.0], np.cumsum(steps)))
        logit = odds - fall[second] + fall[first]
        value = float(down @ np.logaddexp(0, -logit) + up @ np.logaddexp(0, logit))
        slope = down * expit(-logit) - up * expit(logit)
        by_place = np.bincount(second, slope, minlength=n) - np.bincount(first, slope, minlength=n)
        by_step = np.cumsum(by_place[::-1])[::-1][1:]
        return value + float(steps @ steps) / (2 * _STEP_DEVIATION**2), by_step + steps / _STEP_DEVIATION**2

    if n == 1:
        return [1.0]
    steps = minimize(loss, np.zeros(n - 1), jac=True, method="L-BFGS-B", bounds=[(0, None)] * (n - 1)).x
    return [1.0, *np.exp(-np.cumsum(steps)).tolist()]
