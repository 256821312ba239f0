"""Offline judgement of a bundle: every source alone and every ranker's whole pipeline, on the same replayed requests.

Full-catalogue ranking of the next titles a viewer started, watched titles excluded; the pipeline is judged through the very
request path that serves it.
"""

import asyncio
import dataclasses
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from threadpoolctl import threadpool_limits

from recray.bundle import Bundle
from recray.candidates.generate import CandidateStage
from recray.data.replay import Moment, asked
from recray.errors import ModelError
from recray.evaluation.beyond import coverage_at, intra_list_diversity, novelty
from recray.evaluation.metrics import hit_rate_at, mrr_at, ndcg_at, precision_at, recall_at
from recray.experiments.assign import Assignment, Experiments
from recray.features.items import Items
from recray.features.profiles import Profiles
from recray.pages.answer import Answer
from recray.recommend import Parts, guards_of, recommend
from recray.schema import NO_ITEM, Candidates, Counted, Floats, Ints, ProfileKey, ProfileSettings, Requests
from recray.settings import ServingSettings, Settings, StageBudgets

_BATCH = 32
_PATIENT: Final = ServingSettings(budgets=StageBudgets(features_ms=6e5, candidates_ms=6e5, rank_ms=6e5))


@dataclass(frozen=True, slots=True)
class Judged:
    """One model's lists [n_requests, k] and its NDCG@k per request, by which models are compared request by request."""

    lists: Ints
    ndcg: np.ndarray[tuple[int], np.dtype[np.float64]]
    figures: dict[str, float]


@dataclass(frozen=True, slots=True)
class Held:
    """`Parts` over one bundle and one batch of replayed profiles, all in this process.

    Candidates are made once, and what a first pass leaves of them is ranked once by each ranker: different slates may leave
    the same.
    """

    bundle: Bundle
    known: Profiles
    settings: Settings
    once: list[Candidates] = field(default_factory=list)
    ranked: dict[tuple[str, bytes], Floats] = field(default_factory=dict)

    def parts(self) -> Parts:
        """Everything that a request needs, without a limit to its time."""
        guards = guards_of(_PATIENT, time.perf_counter)
        return Parts(Experiments.load(None), self, self, self, self, self.settings.slate, time.perf_counter, guards)

    def named(self, name: str) -> Bundle:
        return self.bundle

    async def profiles(self, keys: Sequence[ProfileKey]) -> Profiles:
        return self.known

    async def candidates(
        self, bundle_id: str, requests: Requests, profiles: Profiles, *, trace: bool, counted: Counted | None = None
    ) -> Candidates:
        if not self.once:
            stage = CandidateStage(self.bundle.items, self.bundle.text, self.bundle.sources, self.settings.sources)
            self.once.append(stage.generate(requests, profiles, trace=trace))
        return self.once[0]

    async def predict(self, bundle_id: str, ranker: str, batch: Any) -> Floats:
        asked_for = ranker, batch.items.tobytes()
        if asked_for not in self.ranked:
            self.ranked[asked_for] = self.bundle.rankers[ranker].predict(batch)
        return self.ranked[asked_for]


def unrestricted(items: Items) -> Items:
    """The catalogue without licences and maturity, for data sets whose delivery facts are simulated.

    Simulated licences forbid titles that the viewers really watched; figures of quality rest on what was observed.
    """
    none = np.empty((0, 0))
    return dataclasses.replace(
        items,
        maturity=np.zeros_like(items.maturity),
        region_names=(),
        available_from_s=none.astype(np.int64),
        available_until_s=none.astype(np.int64),
    )


def unrestricted_bundle(bundle: Bundle) -> Bundle:
    """The bundle as it is judged: over the catalogue without simulated delivery facts."""
    if bundle.manifest.get("data", {}).get("simulated"):
        return dataclasses.replace(bundle, items=unrestricted(bundle.items))
    return bundle


def judge(
    bundle: Bundle, moments: Sequence[Moment], profiles: Mapping[ProfileKey, ProfileSettings], settings: Settings
) -> dict[str, Judged]:
    """Every source alone and the pipeline in every order of a bundle on replayed requests, by name.

    Orders are those of its rankers and the chosen one. Sources that only resume are left out.
    """
    bundle = unrestricted_bundle(bundle)
    # Rankers that do not pay are not served, and are judged all the same.
    bundle = dataclasses.replace(bundle, manifest=bundle.manifest | {"paying": list(bundle.rankers)})
    k = settings.evaluation.k
    orders = list(dict.fromkeys([*bundle.rankers, bundle.order(None)]))
    names = [name for name in bundle.sources if name != "resume"] + orders
    lists: dict[str, list[Ints]] = {name: [] for name in names}

    async def listed() -> None:
        for start in range(0, len(moments), _BATCH):
            batch = moments[start : start + _BATCH]
            own = [profiles.get(moment.key, ProfileSettings()) for moment in batch]
            for name, got in (await _lists(bundle, orders, batch, own, settings)).items():
                lists[name].append(got)

    # Products this small are faster on one thread, six times so next to another busy process.
    with threadpool_limits(1):
        asyncio.run(listed())
    targets = [moment.targets[:1] for moment in moments]
    later = [moment.targets for moment in moments]
    return {name: _judged(np.concatenate(found), targets, later, bundle, k) for name, found in lists.items()}


async def _lists(
    bundle: Bundle, orders: Sequence[str], batch: Sequence[Moment], own: Sequence[ProfileSettings], settings: Settings
) -> dict[str, Ints]:
    k = settings.evaluation.k
    requests, profiles = asked(batch, own, k)
    held = Held(bundle, profiles, settings)
    parts = held.parts()
    found: dict[str, Ints] = {}
    for order in orders:
        answers = await recommend(requests, parts, assignments=[Assignment(ranker=order)] * requests.n)
        found[order] = shown(answers, k)
    proposed = held.once[0]
    return found | {name: _first(proposed, name, k) for name in bundle.sources if name != "resume"}


def _first(candidates: Candidates, source: str, k: int) -> Ints:
    """The first k proposals [B, k] of one source: the union takes every source's best before any source's next."""
    ranks = candidates.ranks[:, :, candidates.sources.index(source)]
    listed = np.full((len(ranks), k), NO_ITEM, np.int32)
    row, place = np.nonzero((ranks > 0) & (ranks <= k))
    listed[row, ranks[row, place] - 1] = candidates.items[row, place]
    return listed


def shown(answers: Sequence[Answer], k: int) -> Ints:
    """The first k titles [B, k] of answers, padded with NO_ITEM.

    Raises:
        ModelError: an answer is degraded, so that it tells nothing of the models.
    """
    if degraded := {stage for answer in answers for stage in answer.degraded}:
        raise ModelError(f"bundle {answers[0].bundle_id} cannot be judged: {', '.join(sorted(degraded))} failed; see the log")
    return np.concatenate([_padded(answer.candidates.items[answer.row, answer.places][None, :], k) for answer in answers])


def _padded(items: Ints, k: int) -> Ints:
    wide = np.full((len(items), k), NO_ITEM, np.int32)
    wide[:, : items.shape[1]] = items[:, :k]
    return wide


def _judged(lists: Ints, targets: Sequence[Ints], later: Sequence[Ints], bundle: Bundle, k: int) -> Judged:
    ndcg = ndcg_at(lists, targets, k)
    filled = lists[(lists >= 0).all(axis=1)]
    figures = {
        f"ndcg@{k}": ndcg.mean(),
        f"hit_rate@{k}": hit_rate_at(lists, targets, k).mean(),
        f"mrr@{k}": mrr_at(lists, targets, k).mean(),
        f"precision@{k}": precision_at(lists, later, k).mean(),
        f"recall@{k}": recall_at(lists, later, k).mean(),
        f"coverage@{k}": coverage_at(lists, bundle.items.n, k),
        f"diversity@{k}": intra_list_diversity(filled, bundle.items.content).mean() if filled.size else 0.0,
        f"novelty@{k}": novelty(filled, bundle.items.plays[:, 2].astype(np.int64)).mean() if filled.size else 0.0,
    }
    return Judged(lists, ndcg, {name: round(float(value), 6) for name, value in figures.items()})
