"""[Ray] The steps of one training run, in the order in which `train_app.py` calls them.

Sources learn from the first period, rankers from what those sources would have proposed in the second, choices are made
on the third, and the last judges. What is served is what was judged: sources are fitted again, up to the last period,
the sequence model from where its first fit ended.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import ray
import ray.data
from ray.data.expressions import col

from recray.bundle import BY_SOURCE, RANKERS, Bundle, facts, from_bytes, to_bytes
from recray.data.examination import COLUMNS, Examination, estimate, harvest
from recray.data.examples import collect, propose
from recray.data.grouped import as_moments, replay, settings_of
from recray.data.history import History
from recray.data.publish import publish
from recray.data.replay import Draw, Moment
from recray.errors import ModelError
from recray.evaluation.gate import POPULARITY, Choice, GateRules, GateVerdict, choose
from recray.evaluation.gate import judge as pass_gate
from recray.ranking import examples_file
from recray.ranking.prerank import Prerank, distil
from recray.ranking.ranker import Examples, Ranker
from recray.settings import Settings
from recray.settings.provenance import git_commit
from recray.stores.lake import Lake
from recray.stores.online import OnlineStore
from recray.stores.registry import Registry
from recray.training.fit_boosted import fit_boosted_on_ray
from recray.training.fit_deep import fit_deep_on_ray
from recray.training.fit_sources import Fitted, Say, heard, shown
from recray.training.judge import Judged, judge
from recray.training.samples import sample_profiles

TRAIN, VALIDATION, TEST = "train", "validation", "test"


@dataclass(frozen=True, slots=True)
class Drawn:
    """What is replayed once and used twice: ranker examples in a folder, and the moments that judge.

    By `examination` starts of the examples are weighed.
    """

    examples_dir: Path
    moments: dict[str, list[Moment]]
    examination: Examination


def draw_examples(history: History, early: Fitted, settings: Settings, say: Say) -> Drawn:
    """Replay the later periods through Ray Data: examples for rankers, and moments for judgement."""
    periods, own, seed = history.periods, settings.examples, settings.training.seed
    judged = settings.evaluation.n_requests
    draws = {
        TRAIN: draw_of(history, periods.sources_end_s, periods.rankers_end_s, own.n_requests, settings),
        VALIDATION: draw_of(history, periods.rankers_end_s, periods.validation_end_s, judged, settings),
        TEST: draw_of(history, periods.validation_end_s, periods.end_s + 1, judged, settings),
    }
    bound_data(settings)
    replayed = replay(history.snapshot, history.number_of, draws, settings.training.n_blocks).materialize()
    moments = {name: limited(replayed, name, judged) for name in (VALIDATION, TEST)}
    say(f"replayed {replayed.count()} moments")
    events = Lake(settings.lake_dir).events(history.name, end_s=periods.rankers_end_s, columns=COLUMNS)
    examination = estimate(harvest(events))
    if examination.n_starts:
        say(f"{examination.n_starts} starts tell which places of a slate are looked at")
    files = to_bytes(early.items, history.titles, early.sources, {})
    proposer = {
        "files": ray.put(files),
        "manifest": facts(),
        "settings": (settings.sources, own),
        "examination": examination,
        "profiles": ray.put(settings_of(history.profiles)),
        "seed": seed,
    }
    # One machine does not lose a worker and live; a cluster of spot instances does, every day.
    proposed = propose(replayed.filter(expr=col("draw") != TEST), proposer, restarts=-1 if settings.scale == "cluster" else 0)
    examples_dir = settings.home / "examples" / history.name
    for name, found in collect(proposed, (TRAIN, VALIDATION)).items():
        kept = _capped(found, own.n_requests, seed)
        examples_file.save(kept, examples_dir / name)
        say(f"made {len(kept)} examples for {name}")
    return Drawn(examples_dir, moments, examination)


def bound_data(settings: Settings) -> None:
    """Keep Ray Data to a few CPUs at a time.

    Its shuffle runs every kind of task in a pool of processes of its own: on a small machine starting those costs more
    than the work (docs/experiments.md).
    """
    context = ray.data.DataContext.get_current()
    # The second reader lists a path at a time, 85 ms each: a lake of a thousand days would wait a minute and a half.
    context.use_datasource_v2 = False
    context.execution_options.resource_limits = context.execution_options.resource_limits.copy(cpu=settings.training.data_cpus)


def draw_of(history: History, start_s: int, end_s: int, wanted: int, settings: Settings) -> Draw:
    """Twice as many moments as are wanted, for some have no target among the candidates."""
    there = max(len(history.between(start_s, end_s)), 1)
    own = settings.examples
    return Draw(start_s, end_s, own.horizon, min(1.0, 2 * wanted / there), own.per_profile, settings.training.seed)


def limited(replayed: Any, name: str, wanted: int) -> list[Moment]:
    """At most `wanted` moments of a draw, evenly over time, the same ones every time."""
    found = [moment for batch in replayed.filter(expr=col("draw") == name).iter_batches(batch_format="pyarrow")
             for moment in as_moments(batch)]  # fmt: skip
    found.sort(key=lambda moment: (moment.at_s, str(moment.key)))
    step = max(len(found) / wanted, 1)
    return [found[int(place * step)] for place in range(min(len(found), wanted))]


def _capped(examples: Examples, most: int, seed: int) -> Examples:
    if len(examples) <= most:
        return examples
    chosen = np.random.default_rng(seed).choice(len(examples), most, replace=False)
    return examples.take(np.sort(chosen).astype(np.int64))


@dataclass(frozen=True, slots=True)
class Rankers:
    """Fitted rankers by name, and the first pass of each."""

    full: dict[str, Ranker]
    first: dict[str, Prerank]


def fit_rankers(drawn: Drawn, early: Fitted, settings: Settings, say: Say) -> Rankers:
    """Both rankers, each by its Ray Train trainer, and what is distilled from them."""
    rankers: dict[str, Ranker] = {}
    for name, fit in (("deep", fit_deep_on_ray), ("boosted", fit_boosted_on_ray)):
        fitted = fit(drawn.examples_dir, early.items, settings, say=heard(f"ranker {name}", say))
        rankers[name] = fitted.model
        say(f"fitted ranker {name}: {shown(fitted.metrics)}")
    known = examples_file.load(drawn.examples_dir / TRAIN).inputs
    return Rankers(rankers, {name: distil(known, ranker, early.items) for name, ranker in rankers.items()})


def assemble(
    history: History, fitted: Fitted, rankers: Rankers, name: str, choice: Choice | None = None
) -> tuple[Bundle, dict[str, bytes]]:
    """A bundle in memory, through its files: what is judged went through the same bytes that are served."""
    files = to_bytes(fitted.items, history.titles, fitted.sources, rankers.full, rankers.first)
    known = facts(data={"simulated": history.manifest.get("simulated", [])}, **_order(choice))
    return from_bytes(name, known, files), files


def _order(choice: Choice | None) -> dict[str, Any]:
    """Manifest entries that `Bundle.order` reads; nothing before there is a choice."""
    return {"chosen": choice.chosen, "paying": choice.paying} if choice else {}


def evaluate(bundle: Bundle, moments: Sequence[Moment], history: History, settings: Settings) -> dict[str, Judged]:
    """Every source and ranker on replayed moments."""
    return judge(bundle, moments, settings_of(history.profiles), settings)


def rehearse(history: History, early: Fitted, rankers: Rankers, drawn: Drawn, settings: Settings, say: Say) -> Choice:
    """By what lists are ordered, as validation has it with the sources that the rankers' examples were made by."""
    rehearsal, _ = assemble(history, early, rankers, "rehearsal")
    choice = order_of(evaluate(rehearsal, drawn.moments[VALIDATION], history, settings), settings)
    for line in (*choice.reasons, f"lists are ordered by {choice.chosen}"):
        say(line)
    return choice


def order_of(judged: Mapping[str, Judged], settings: Settings) -> Choice:
    """The best ranker that is worth more than any source alone, or the best source's order where none is.

    Where `evaluation.rankers_must_pay` is off every ranker may be served, and the better one is chosen.
    """
    ranked, alone = ({n: one.ndcg for n, one in judged.items() if (n in RANKERS) is which} for which in (True, False))
    choice = choose(ranked, alone, np.random.default_rng(settings.training.seed), _rules(settings))
    if not settings.evaluation.rankers_must_pay:
        return replace(choice, chosen=max(ranked, key=lambda name: float(ranked[name].mean())), paying=list(ranked))
    return choice if choice.paying else replace(choice, chosen=BY_SOURCE + choice.chosen)


def gate(judged: Mapping[str, Judged], chosen: str, champion: Judged | None, settings: Settings) -> GateVerdict:
    """Whether the pipeline in the chosen order may be promoted, judged on the test period.

    The first bundle of a data set displaces nothing: it has to beat popularity, and to the best source it may lose.
    """
    held_to = set(judged) - set(RANKERS) - {chosen} if champion else {POPULARITY}
    baselines = {name: one.ndcg for name, one in judged.items() if name in held_to}
    rng = np.random.default_rng(settings.training.seed)
    return pass_gate(judged[chosen].ndcg, baselines, champion.ndcg if champion else None, rng, _rules(settings))


def _rules(settings: Settings) -> GateRules:
    own = settings.evaluation
    return GateRules(own.gate_confidence, own.gate_resamples, own.gate_margin)


def judge_champion(registry: Registry, moments: Sequence[Moment], history: History, settings: Settings) -> Judged | None:
    """The champion's default pipeline on the same moments; None when there is none for this data set and these views."""
    bundle_id = registry.alias("champion")
    if bundle_id is None:
        return None
    try:
        manifest, files = registry.read(bundle_id)
        if manifest.get("data", {}).get("name") != history.name:
            return None
        bundle = from_bytes(bundle_id, manifest, files)
    except ModelError:
        return None
    return evaluate(bundle, moments, history, settings).get(manifest["chosen"])


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the last period said: figures of every model, by what lists are ordered since before it, and the gate's word."""

    judged: Mapping[str, Judged]
    choice: Choice
    verdict: GateVerdict

    def facts(self) -> dict[str, Any]:
        """Manifest entries."""
        return {
            "metrics": {name: one.figures for name, one in self.judged.items()},
            "rankers": self.choice.reasons,
            "gate": {"passed": self.verdict.passed, "reasons": self.verdict.reasons},
        } | _order(self.choice)


@dataclass(frozen=True, slots=True)
class Outcome:
    """A finished run."""

    bundle_id: str
    judgement: Judgement

    def figures(self) -> dict[str, float]:
        """Every figure as `model/metric`, for the tracker."""
        return {
            f"{name}/{metric}": value for name, one in self.judgement.judged.items() for metric, value in one.figures.items()
        }


def write_bundle(  # a bundle's files and all that its manifest says
    files: Mapping[str, bytes],
    history: History,
    settings: Settings,
    examination: Examination,
    judgement: Judgement,
    at: datetime,
) -> Outcome:
    """Store the bundle with its manifest."""
    periods = history.periods
    data = {
        "name": history.name,
        "source": history.manifest.get("source"),
        "simulated": history.manifest.get("simulated", []),
        "n_titles": len(history.titles),
        "n_profiles": len(history.keys),
        "n_events": len(history.plays),
        "learnt_before_s": periods.validation_end_s,
        "judged_until_s": periods.end_s,
        "samples": sample_profiles(history),
    }
    about = {"created_at": at.isoformat(), "git_commit": git_commit(), "data": data, "examination": asdict(examination)}
    about |= judgement.facts()
    manifest = facts(settings=settings.model_dump(mode="json"), **about)
    return Outcome(Registry(settings.registry_dir).write(files, manifest), judgement)


def publish_profiles(history: History, settings: Settings, store: OnlineStore) -> int:
    """Fold every profile's events, as the lake holds them now, and write the states to the online store."""
    bound_data(settings)
    return publish(Lake(settings.lake_dir), history.name, store, settings)
