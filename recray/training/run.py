"""[Ray] The steps of one training run, in the order in which `train_app.py` calls them.

Sources learn from the first period, rankers from what those sources would have proposed in the second, choices are made
on the third, and the last judges. What is served is what was judged: sources are fitted anew up to the last period.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import ray
import ray.data
from ray.data.expressions import col

from recray.bundle import RANKERS, Bundle, facts, from_bytes, to_bytes
from recray.candidates.registered import fit_all
from recray.candidates.sequence import Sequence as SequenceSource
from recray.candidates.source import CandidateSource
from recray.data.examples import collect, propose
from recray.data.grouped import as_moments, folded, replay, settings_of
from recray.data.history import History
from recray.data.publish import publish
from recray.data.replay import Draw, Moment
from recray.errors import DataError, ModelError
from recray.evaluation.gate import GateRules, GateVerdict
from recray.evaluation.gate import judge as pass_gate
from recray.features.interactions import Interactions
from recray.features.items import Items
from recray.features.views import SOURCES
from recray.ranking import examples_file
from recray.ranking.ranker import Examples, Ranker
from recray.settings import Settings
from recray.settings.provenance import git_commit
from recray.stores.online import OnlineStore
from recray.stores.registry import Registry
from recray.training.fit_boosted import fit_boosted_on_ray
from recray.training.fit_deep import fit_deep_on_ray
from recray.training.fit_sequence import fit_sequence_on_ray
from recray.training.judge import Judged, judge
from recray.training.samples import sample_profiles
from recray.training.trainer import Fitted as Trained

Say = Callable[[str], None]
TRAIN, VALIDATION, TEST = "train", "validation", "test"


@dataclass(frozen=True, slots=True)
class Fitted:
    """Sources fitted on everything before a moment, the catalogue as of it, and how many epochs the sequence model took."""

    items: Items
    sources: dict[str, CandidateSource]
    n_epochs: int


def _fit_one(name: str, plays: Any, items: Any, settings: Settings) -> tuple[CandidateSource, float]:
    took = {name: 0.0}
    fitted = fit_all(plays, items, settings, seed=settings.training.seed, device="cpu", only=[name],
                     report=lambda source, seconds, figures: took.update({source: seconds}))  # fmt: skip
    return fitted[name], took[name]


def fit_sources(history: History, moment_s: int, settings: Settings, say: Say, n_epochs: int | None = None) -> Fitted:
    """Every candidate source, fitted on what was known before a moment; each in a Ray task, the sequence model by Ray Train.

    `n_epochs` is how long the sequence model learns; None stops it by validation.
    """
    items = history.catalogue(moment_s)
    plays = history.until(moment_s)
    if not len(plays):
        raise DataError(f"{history.name} has no watching event before the end of the first period; import more data")
    shared = ray.put(plays), ray.put(items)
    task = ray.remote(_fit_one).options(num_cpus=settings.training.cpus_per_fit)
    under_way = {task.remote(name, *shared, settings): name for name in SOURCES if name != "sequence"}
    sources: dict[str, CandidateSource] = {}
    while under_way:
        done, _ = ray.wait(list(under_way), num_returns=1)
        name = under_way.pop(done[0])
        sources[name], seconds = ray.get(done[0])
        say(f"fitted source {name} in {seconds:.1f} s")
    fitted = _fit_sequence(plays, items, settings, n_epochs, _heard("source sequence", say))
    sources["sequence"] = fitted.model
    say(f"fitted source sequence: {shown(fitted.metrics)}")
    epochs = n_epochs or max(int(fitted.metrics.get("epoch", 0)), 1)
    return Fitted(items, {name: sources[name] for name in SOURCES}, epochs)


def _heard(what: str, say: Say) -> Callable[[dict[str, float]], None]:
    return lambda figures: say(f"fitting {what}: {shown(figures)}")


def _fit_sequence(
    plays: Interactions, items: Items, settings: Settings, n_epochs: int | None, heard: Callable[[dict[str, float]], None]
) -> Trained[SequenceSource]:
    """Stop by the newest tenth, or, when how long to learn is known already, learn from everything for that long."""
    if n_epochs is not None:
        longer = settings.sequence.model_copy(update={"epochs": n_epochs})
        return fit_sequence_on_ray(plays, items, settings.model_copy(update={"sequence": longer}), say=heard)
    recent = plays.at_s >= np.quantile(plays.at_s, 1 - settings.split.validation)
    return fit_sequence_on_ray(plays.where(~recent), items, settings, plays.where(recent), say=heard)


def shown(figures: Mapping[str, float]) -> str:
    """Figures as a person reads them."""
    return ", ".join(f"{name} {value:.4g}" for name, value in figures.items())


@dataclass(frozen=True, slots=True)
class Drawn:
    """What is replayed once and used twice: ranker examples in a folder, and the moments that judge."""

    examples_dir: Path
    moments: dict[str, list[Moment]]


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
    replayed = replay(history.event_files, history.number_of, draws, settings.training.n_blocks).materialize()
    moments = {name: limited(replayed, name, judged) for name in (VALIDATION, TEST)}
    say(f"replayed {replayed.count()} moments")
    files = to_bytes(early.items, history.titles, early.sources, {})
    proposer = {
        "files": ray.put(files),
        "manifest": facts(),
        "settings": (settings.sources, own),
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
    return Drawn(examples_dir, moments)


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


def fit_rankers(drawn: Drawn, early: Fitted, settings: Settings, say: Say) -> dict[str, Ranker]:
    """Both rankers, each by its Ray Train trainer."""
    rankers: dict[str, Ranker] = {}
    for name, fit in (("deep", fit_deep_on_ray), ("boosted", fit_boosted_on_ray)):
        fitted = fit(drawn.examples_dir, early.items, settings, say=_heard(f"ranker {name}", say))
        rankers[name] = fitted.model
        say(f"fitted ranker {name}: {shown(fitted.metrics)}")
    return rankers


def assemble(history: History, fitted: Fitted, rankers: Mapping[str, Ranker], name: str) -> tuple[Bundle, dict[str, bytes]]:
    """A bundle in memory, through its files: what is judged went through the same bytes that are served."""
    files = to_bytes(fitted.items, history.titles, fitted.sources, rankers)
    return from_bytes(name, facts(data={"simulated": history.manifest.get("simulated", [])}), files), files


def evaluate(bundle: Bundle, moments: Sequence[Moment], history: History, settings: Settings) -> dict[str, Judged]:
    """Every source and ranker on replayed moments."""
    return judge(bundle, moments, settings_of(history.profiles), settings)


def choose(judged: Mapping[str, Judged], settings: Settings) -> str:
    """The ranker that is best on validation."""
    metric = f"ndcg@{settings.evaluation.k}"
    return max(RANKERS, key=lambda name: judged[name].figures[metric])


def gate(judged: Mapping[str, Judged], chosen: str, champion: Judged | None, settings: Settings) -> GateVerdict:
    """Whether the chosen ranker's pipeline may be promoted, judged on the test period.

    The first bundle of a data set displaces nothing: it has to beat popularity, and to the best source it may lose.
    """
    own = settings.evaluation
    rules = GateRules(own.gate_confidence, own.gate_resamples, own.gate_margin if champion else 1.0)
    baselines = {name: one.ndcg for name, one in judged.items() if name not in RANKERS}
    rng = np.random.default_rng(settings.training.seed)
    return pass_gate(judged[chosen].ndcg, baselines, champion.ndcg if champion else None, rng, rules)


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
    """What the last period said: figures of every model, which ranker was chosen before it, and the gate's word."""

    judged: Mapping[str, Judged]
    chosen: str
    verdict: GateVerdict

    def facts(self) -> dict[str, Any]:
        """Manifest entries."""
        return {
            "metrics": {name: one.figures for name, one in self.judged.items()},
            "chosen": self.chosen,
            "gate": {"passed": self.verdict.passed, "reasons": self.verdict.reasons},
        }


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


def write_bundle(
    files: Mapping[str, bytes], history: History, settings: Settings, judgement: Judgement, at: datetime
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
    about = {"created_at": at.isoformat(), "git_commit": git_commit(), "data": data, **judgement.facts()}
    manifest = facts(settings=settings.model_dump(mode="json"), **about)
    return Outcome(Registry(settings.registry_dir).write(files, manifest), judgement)


def publish_profiles(history: History, settings: Settings, store: OnlineStore) -> int:
    """Fold every profile's events and write the states to the online store."""
    bound_data(settings)
    states = folded(history.event_files, history.number_of, settings.training.n_blocks)
    return publish(states, history.profiles, store)
