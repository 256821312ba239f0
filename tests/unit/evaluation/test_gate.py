"""The gate: what it lets pass, what it stops, and how often it errs."""

import re

import numpy as np
import pytest

from recray.errors import ConfigError, DataError
from recray.evaluation.gate import GateRules, Guardrail, choose, judge


@pytest.fixture
def popular() -> np.ndarray:
    return np.random.default_rng(1).beta(1, 9, 2000)


def rng() -> np.random.Generator:
    return np.random.default_rng(5)


def test_a_clearly_better_challenger_passes_with_reasons(popular):
    noise = np.random.default_rng(2).normal(0.05, 0.1, 2000)
    verdict = judge(popular + noise, {"popular": popular, "factors": popular}, popular, rng())
    assert verdict.passed
    assert [reason.split(":")[0] for reason in verdict.reasons] == [
        "better than popular",
        "not worse than factors",
        "not worse than champion",
    ]
    assert verdict.lifts["popular"].low > 0


def test_the_same_values_as_popularity_do_not_pass(popular):
    verdict = judge(popular.copy(), {"popular": popular}, None, rng())
    assert not verdict.passed
    assert verdict.reasons == ["not better than popular: mean difference 0 [0, 0] at 95 % confidence, not above 0"]


def test_a_challenger_worse_than_the_champion_is_stopped(popular):
    verdict = judge(popular + 0.05, {"popular": popular}, popular + 0.1, rng())
    assert not verdict.passed
    assert verdict.reasons[1].startswith("perhaps worse than champion: mean difference -0.05")


def test_only_the_best_single_source_is_held_against_the_challenger(popular):
    verdict = judge(popular + 0.05, {"popular": popular, "weak": popular - 0.05, "strong": popular + 0.2}, None, rng())
    assert set(verdict.lifts) == {"popular", "weak", "strong"}
    assert [reason.split(":")[0] for reason in verdict.reasons] == ["better than popular", "perhaps worse than strong"]


def test_a_loss_within_the_margin_passes_and_a_wider_one_does_not(popular):
    champion = popular + 0.1
    for margin_ratio, passed in ((0.2, True), (0.01, False)):
        rules = GateRules(margin_ratio=margin_ratio)
        assert judge(champion - 0.01, {"popular": popular}, champion, rng(), rules).passed is passed


@pytest.mark.parametrize(("value", "passed"), [(0.3, True), (0.1, False), (np.nan, False)])
def test_a_broken_guardrail_stops_a_better_challenger(popular, value, passed):
    verdict = judge(
        popular + 0.1, {"popular": popular}, None, rng(), guardrails={"coverage@10": Guardrail(value, at_least=0.2)}
    )
    assert verdict.passed is passed
    state = "kept: 0.3 in [0.2, inf]" if passed else f"broken: {value:.4g} not in [0.2, inf]"
    assert verdict.reasons[-1] == f"guardrail coverage@10 {state}"


def test_challengers_no_better_than_popularity_rarely_pass():
    draw = np.random.default_rng(3)
    passes = 0
    for _ in range(300):
        rival = draw.exponential(size=150)
        passes += judge(rival + draw.normal(0, 0.5, 150), {"popular": rival}, None, draw, GateRules(n_resamples=120)).passed
    assert passes / 300 < 0.06  # one side of a 95 % interval: 2.5 % expected


def test_pairing_finds_a_lift_that_unpaired_noise_would_hide(popular):
    assert judge(popular + 0.001, {"popular": popular}, None, rng()).passed


def test_requests_that_cannot_be_judged_are_left_out(popular):
    holed = popular.copy()
    holed[:1000] = np.nan
    assert judge(popular + 0.1, {"popular": holed}, None, rng()).lifts["popular"].estimate == pytest.approx(0.1)
    with pytest.raises(DataError, match=re.escape("no request was judged for both the challenger and popular")):
        judge(popular, {"popular": np.full(2000, np.nan)}, None, rng())


def test_a_missing_popularity_baseline_and_other_lengths_are_refused(popular):
    with pytest.raises(ConfigError, match=re.escape("the gate got baselines ['factors']; one called 'popular' is needed")):
        judge(popular, {"factors": popular}, None, rng())
    with pytest.raises(DataError, match=re.escape("challenger has (3,) values, popular (2000,); expected one per request")):
        judge(popular[:3], {"popular": popular}, None, rng())


def test_the_better_of_the_rankers_that_pay_is_chosen(popular):
    sources = {"popular": popular - 0.1, "cowatch": popular}
    found = choose({"deep": popular + 0.02, "boosted": popular + 0.03, "idle": popular - 0.01}, sources, rng())
    assert (found.chosen, found.paying) == ("boosted", ["deep", "boosted"])
    assert [reason.split(" cowatch:")[0] for reason in found.reasons] == [
        "ranker deep: better than",
        "ranker boosted: better than",
        "ranker idle: not better than",
    ]


def test_a_ranker_that_is_only_as_good_as_the_best_source_is_not_served(popular):
    noise = np.random.default_rng(4).normal(0.0005, 0.1, 2000)  # better on average, and not beyond chance
    found = choose({"deep": popular + noise, "boosted": popular}, {"popular": popular - 0.1, "cowatch": popular}, rng())
    assert noise.mean() > 0
    assert (found.chosen, found.paying) == ("cowatch", [])


def test_idle_rankers_rarely_pay():
    draw, paid = np.random.default_rng(6), 0
    for _ in range(200):
        base = draw.exponential(size=150)
        sources = {name: base + draw.normal(0, 0.3, 150) for name in ("popular", "cowatch", "ease")}
        paid += bool(choose({"deep": base + draw.normal(0, 0.3, 150)}, sources, draw, GateRules(n_resamples=120)).paying)
    assert paid / 200 < 0.03  # one side of a 95 % interval is 2.5 %, and the rival is the luckiest of three
