"""What may be served: a ranker that is worth more than any single source, and a challenger that is no worse than the champion.

Both are judged request by request, on requests that everybody is asked.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from recray.errors import ConfigError, DataError
from recray.experiments.interval import Doubles, Interval, bootstrap

POPULARITY: Final = "popular"
"""The baseline that every challenger must beat."""
CHAMPION: Final = "champion"


@dataclass(slots=True, frozen=True)
class GateRules:
    """How sure the gate must be.

    `margin_ratio` is the loss that is tolerated, as a share of the rival's mean: the lower bound of the difference to the
    best single source and to the champion must stay above -margin_ratio times that mean (a test of non-inferiority).
    """

    confidence: float = 0.95
    n_resamples: int = 400
    margin_ratio: float = 0.05


@dataclass(slots=True, frozen=True)
class Choice:
    """By what lists are to be ordered, a ranker's name or a source's; which rankers pay; and a reason for each ranker."""

    chosen: str
    paying: list[str]
    reasons: list[str]


def choose(
    rankers: Mapping[str, Doubles], sources: Mapping[str, Doubles], rng: np.random.Generator, rules: GateRules | None = None
) -> Choice:
    """The best of the rankers that pay, or the best single source where none does, by one metric per request [n] of each.

    A ranker pays when the lower bound of its difference to the source that is best on these requests is above 0. That source
    has chance on its side, so an idle ranker pays more seldom than the confidence says.

    >>> requests = np.arange(100) / 100
    >>> found = choose({"deep": requests + 0.1, "boosted": requests}, {"popular": requests}, np.random.default_rng(0))
    >>> found.chosen, found.paying
    ('deep', ['deep'])

    Raises:
        DataError: lengths differ, or there is nothing to judge by.
    """
    rules = rules or GateRules()
    best = max(sources, key=lambda name: float(np.mean(sources[name])))
    checks = {name: _compare(best, _lift(name, ndcg, sources[best], rules, rng), 0.0, rules) for name, ndcg in rankers.items()}
    paying = [name for name, (pays, _) in checks.items() if pays]
    chosen = max(paying, key=lambda name: float(np.mean(rankers[name])), default=best)
    return Choice(chosen, paying, [f"ranker {name}: {reason}" for name, (_, reason) in checks.items()])


@dataclass(slots=True, frozen=True)
class Guardrail:
    """A figure of the challenger that must stay within bounds, whatever its accuracy: coverage, latency, violations."""

    value: float
    at_least: float = float("-inf")
    at_most: float = float("inf")


@dataclass(slots=True, frozen=True)
class GateVerdict:
    """The gate's word: every reason that was weighed, for or against, and the mean differences to each rival."""

    passed: bool
    reasons: list[str] = field(default_factory=list)
    lifts: dict[str, Interval] = field(default_factory=dict)


def judge(
    challenger: Doubles,
    baselines: Mapping[str, Doubles],
    champion: Doubles | None,
    rng: np.random.Generator,
    rules: GateRules | None = None,
    guardrails: Mapping[str, Guardrail] | None = None,
) -> GateVerdict:
    """Compare one metric per request [n] of the challenger with each rival's on the same requests, by paired bootstrap.

    It passes when the lower bound of the difference to the baseline `popular` is above 0, the lower bounds to the best
    other baseline and to the champion (None: there is none yet) are above minus the margin, and every guardrail holds.
    Requests that are NaN for the challenger or the rival are left out of that pair.

    >>> rng, requests = np.random.default_rng(0), np.arange(100) / 100
    >>> verdict = judge(requests + 0.1, {"popular": requests}, None, rng)
    >>> verdict.passed, verdict.reasons
    (True, ['better than popular: mean difference 0.1 [0.1, 0.1] at 95 % confidence, above 0'])

    Raises:
        ConfigError: no baseline is called `popular`.
        DataError: lengths differ, or no request was judged for both.
    """
    rules, guardrails = rules or GateRules(), guardrails or {}
    if POPULARITY not in baselines:
        raise ConfigError(f"the gate got baselines {sorted(baselines)}; one called {POPULARITY!r} is needed")
    rivals = dict(baselines) | ({} if champion is None else {CHAMPION: champion})
    lifts = {name: _lift(name, challenger, values, rules, rng) for name, values in rivals.items()}
    sources = [name for name in baselines if name != POPULARITY]
    best = max(sources, key=lambda name: float(np.nanmean(baselines[name])), default=None)
    checks = [_compare(POPULARITY, lifts[POPULARITY], 0.0, rules)]
    for name in ([best] if best else []) + ([CHAMPION] if champion is not None else []):
        margin = rules.margin_ratio * abs(float(np.nanmean(rivals[name])))
        checks.append(_compare(name, lifts[name], margin, rules))
    checks += [_guard(name, rail) for name, rail in guardrails.items()]
    return GateVerdict(all(passed for passed, _ in checks), [reason for _, reason in checks], lifts)


def _lift(name: str, challenger: Doubles, rival: Doubles, rules: GateRules, rng: np.random.Generator) -> Interval:
    if challenger.shape != rival.shape or challenger.ndim != 1:
        raise DataError(f"challenger has {challenger.shape} values, {name} {rival.shape}; expected one per request for both")
    difference = challenger - rival
    difference = difference[~np.isnan(difference)]
    if not difference.size:
        raise DataError(f"no request was judged for both the challenger and {name}; nothing can be compared")
    return bootstrap(difference[:, None], lambda means: means[:, 0], rules.confidence, rules.n_resamples, rng)


def _compare(name: str, lift: Interval, margin: float, rules: GateRules) -> tuple[bool, str]:
    passed = lift.low > -margin
    if margin == 0:
        verdict, bound = ("better than", "above 0") if passed else ("not better than", "not above 0")
    else:
        verdict = "not worse than" if passed else "perhaps worse than"
        bound = f"{'above' if passed else 'not above'} -{margin:.4g}"
    return passed, f"{verdict} {name}: mean difference {lift} at {rules.confidence:.0%} confidence, {bound}".replace("%", " %")


def _guard(name: str, rail: Guardrail) -> tuple[bool, str]:
    passed = rail.at_least <= rail.value <= rail.at_most
    kept = "kept" if passed else "broken"
    return passed, f"guardrail {name} {kept}: {rail.value:.4g} in [{rail.at_least:.4g}, {rail.at_most:.4g}]".replace(
        " in ", " in " if passed else " not in "
    )
