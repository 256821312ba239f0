"""What it is worth to know a viewer's last action at once: the same requests, judged with states of now and of last midnight.

Both are asked for the same next title. A state of last midnight (UTC) is what a job that runs every night would have left.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np

from recray.data.grouped import settings_of
from recray.data.replay import Moment
from recray.data.states import state_of, words_in
from recray.errors import DataError
from recray.experiments.interval import Doubles, Interval, bootstrap
from recray.features import fold
from recray.schema import ProfileKey, Words
from recray.settings import Settings
from recray.stores.lake import Lake
from recray.training.fit_sources import Say
from recray.training.judge import judge
from recray.training.stored import Replayed, replayed

CONFIDENCE: Final = 0.95
N_RESAMPLES: Final = 2_000
DAY_S: Final = 86_400
_NONE: Final = np.empty(0, np.uint64)


def as_of_midnight(moments: Sequence[Moment], words: Mapping[ProfileKey, Words]) -> list[Moment]:
    """The same moments with states folded up to the last UTC midnight at or before each, from packed events by profile."""
    found = []
    for moment in moments:
        own = words.get(moment.key, _NONE)
        midnight_s = moment.at_s - moment.at_s % DAY_S
        found.append(replace(moment, state=state_of(own[fold.times(own) < midnight_s])))
    return found


def within_session(settings: Settings, data: str, name: str, say: Say) -> dict[str, Any]:
    """Figures of a stored bundle on the last period of a set, see `compared`.

    Raises:
        ModelError: no such bundle, or one of other feature views.
        DataError: no such set, or no moment to judge.
    """
    there = replayed(settings, data, name, say)
    found = compared(there, words_in(Lake(settings.lake_dir), data), settings, say)
    return {"bundle": there.bundle.id, "data": data, "chosen": there.bundle.manifest.get("chosen"), **found}


def compared(there: Replayed, words: Mapping[ProfileKey, Words], settings: Settings, say: Say) -> dict[str, Any]:
    """By model NDCG@k of the next title with states of `every_event` and `daily`, and the `difference` between bounds.

    `requests` of them all, and `returning` only those whose profile was there before that midnight: for the others a daily
    state is empty.

    Raises:
        DataError: no moment to judge.
    """
    if not there.moments:
        raise DataError(f"no request of the last period of {there.history.name!r} can be judged; import later events")
    profiles, k = settings_of(there.history.profiles), settings.evaluation.k
    daily = as_of_midnight(there.moments, words)
    now = judge(there.bundle, there.moments, profiles, settings)
    say(f"judged {len(daily)} requests with states of every event")
    then = judge(there.bundle, daily, profiles, settings)
    known = np.array([fold.decode(moment.state).recent.size > 0 for moment in daily])
    stale = np.array([old.state != new.state for old, new in zip(daily, there.moments, strict=True)])
    rows = {"requests": np.ones(len(daily), np.bool_), "returning": known}
    models = {
        name: {group: _pair(now[name].ndcg[kept], then[name].ndcg[kept], settings) for group, kept in rows.items()}
        for name in now
    }
    counts = {group: int(kept.sum()) for group, kept in rows.items()}
    facts = {"metric": f"ndcg@{k}", "confidence": CONFIDENCE, "seed": settings.training.seed}
    return {**facts, **counts, "with_events_since_midnight": int(stale.sum()), "models": models}


def _pair(now: Doubles, then: Doubles, settings: Settings) -> dict[str, Any] | None:
    """Means of both and the interval of their difference over the same requests; None without any."""
    if not now.size:
        return None
    means = {"every_event": round(float(now.mean()), 6), "daily": round(float(then.mean()), 6)}
    return means | {"difference": difference(now, then, settings)}


def difference(one: Doubles, other: Doubles, settings: Settings) -> dict[str, float]:
    """How much more a figure [n] is than another of the same requests, in the mean and between bounds."""
    rng = np.random.default_rng(settings.training.seed)
    gain: Interval = bootstrap((one - other)[:, None], lambda means: means[:, 0], CONFIDENCE, N_RESAMPLES, rng)
    return {"estimate": round(gain.estimate, 6), "low": round(gain.low, 6), "high": round(gain.high, 6)}
