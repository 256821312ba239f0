"""One request as an ordered list of stages, over protocols. The only request path: in tests, in one process, and on a cluster.

    assign -> features -> candidates -> rank -> slate -> page

Each stage is a function of a columnar batch; a request is a batch of one. A stage that fails or misses its deadline
yields its fallback and its name goes into the answer's `degraded`. The last fallback needs neither the store nor a model.
"""

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeVar

import numpy as np

from recray.bundle import BY_SOURCE, RANKERS, Bundle
from recray.candidates.filters import eligibility
from recray.candidates.generate import matching
from recray.candidates.source import Ask, union
from recray.errors import StageError
from recray.experiments.assign import Assignment, Experiments
from recray.features.fold import ProfileState
from recray.features.profiles import Profiles, columns
from recray.features.user import genre_preference
from recray.features.vectorize import RankerInput, ranker_input
from recray.guard import Guard
from recray.pages.answer import Answer
from recray.pages.page import homepage
from recray.pages.rows import View
from recray.ranking.calibration import own_mix, wanted_genres
from recray.ranking.prerank import only
from recray.ranking.slate import Slates, slate, weigh
from recray.ranking.unranked import by_source, by_union
from recray.schema import Bools, Candidates, Counted, Floats, Ints, Objective, Page, ProfileKey, ProfileSettings, Requests
from recray.settings import ServingSettings, SlateSettings, merge

STAGES: Final = ("assign", "features", "candidates", "rank", "slate", "page")
SAFE_MATURITY: Final = 7
"""Maturity limit of every request whose profile settings cannot be read: a child may be asking."""
N_HISTORY: Final = 50
"""Titles of the history that rankers pool."""

_T = TypeVar("_T")


class FeatureLookup(Protocol):
    async def profiles(self, keys: Sequence[ProfileKey]) -> Profiles:
        """Up-to-date profiles in the order asked; unknown ones are empty. StageError when they cannot be read."""
        ...


class CandidateLookup(Protocol):
    async def candidates(
        self, bundle_id: str, requests: Requests, profiles: Profiles, *, trace: bool, counted: Counted | None = None
    ) -> Candidates:
        """Candidates of a batch by the sources of one bundle, with what was dropped if a trace is asked for.

        With the live counts that are asked for while they are kept, else with those of now.
        """
        ...


class Ranking(Protocol):
    async def predict(self, bundle_id: str, ranker: str, batch: RankerInput) -> Floats:
        """Probabilities [B, K, n_objectives] float32 by one ranker of one bundle; StageError when it has none such."""
        ...


class Shelf(Protocol):
    def named(self, name: str) -> Bundle:
        """The loaded bundle of an alias or id; StageError when there is none."""
        ...


@dataclass(frozen=True, slots=True)
class Parts:
    """What a request needs; each either the object itself or an adapter around a deployment's handle.

    `guards` hold the budgets and breakers of `features`, `candidates` and of each ranker (`rank:deep` and so on).
    """

    experiments: Experiments
    features: FeatureLookup
    candidates: CandidateLookup
    ranking: Ranking
    shelf: Shelf
    slate: SlateSettings
    timer: Callable[[], float]
    guards: Mapping[str, Guard]
    default_region: str | None = None


def guards_of(settings: ServingSettings, timer: Callable[[], float]) -> dict[str, Guard]:
    """A guard for each stage that can fail or hang."""
    budgets = settings.budgets
    wanted = {"features": budgets.features_ms, "candidates": budgets.candidates_ms}
    wanted |= {f"rank:{ranker}": budgets.rank_ms for ranker in RANKERS}
    return {
        name: Guard(name, ms / 1_000, settings.breaker_patience, settings.breaker_rest_s, timer) for name, ms in wanted.items()
    }


@dataclass(slots=True)
class _Run:
    """Bookkeeping of one batch: what each stage took, and which stages degraded."""

    timer: Callable[[], float]
    took_ms: dict[str, float] = field(default_factory=dict)
    degraded: list[str] = field(default_factory=list)

    async def stage(self, name: str, guard: Guard, work: Callable[[], Awaitable[_T]], fallback: Callable[[], _T]) -> _T:
        """The work's result, or the fallback with the stage named as degraded."""
        began = self.timer()
        try:
            return await guard.run(work)
        except StageError:
            self.degraded.append(name)
            return fallback()
        finally:
            self.took_ms[name] = self.took_ms.get(name, 0.0) + (self.timer() - began) * 1_000


async def recommend(
    requests: Requests, parts: Parts, *, assignments: Sequence[Assignment] | None = None, trace: bool = False
) -> list[Answer]:
    """Answers in the order of the requests.

    Raises:
        StageError: no bundle is loaded, so that not even the last fallback exists.
    """
    run = _Run(parts.timer)
    began = parts.timer()
    arms = assignments or parts.experiments.assign_batch(requests.keys)
    run.took_ms["assign"] = (parts.timer() - began) * 1_000
    profiles = await run.stage(
        "features", parts.guards["features"], lambda: parts.features.profiles(requests.keys), lambda: _unknown(requests.n)
    )
    requests.region = [
        asked or settings.country or parts.default_region
        for asked, settings in zip(requests.region, profiles.settings, strict=True)
    ]
    answers: list[Answer | None] = [None] * requests.n
    for rows in _groups(arms):
        group = _Run(parts.timer, dict(run.took_ms), list(run.degraded))
        arm = arms[rows[0]]
        places = np.array(rows, np.int64)
        mine = await _answer(requests.take(places), profiles.take(places), arm, parts, group, trace=trace)
        for row, answer in zip(rows, mine, strict=True):
            answer.arms = arms[row].arms
            answer.took_ms["total"] = (parts.timer() - began) * 1_000
            answers[row] = answer
    return [answer for answer in answers if answer is not None]


async def _answer(
    requests: Requests, profiles: Profiles, arm: Assignment, parts: Parts, run: _Run, *, trace: bool
) -> list[Answer]:
    """The stages after assignment and features, for requests that share bundle, ranker and slate policy."""
    bundle = parts.shelf.named(arm.bundle)
    candidates = await run.stage(
        "candidates",
        parts.guards["candidates"],
        lambda: parts.candidates.candidates(bundle.id, requests, profiles, trace=trace),
        lambda: _popular(requests, profiles, bundle),
    )
    run.degraded += candidates.degraded
    order = bundle.order(arm.ranker)
    policy = SlateSettings.model_validate(merge(parts.slate.model_dump(), arm.slate)) if arm.slate else parts.slate
    mix = own_mix(profiles, bundle.items, policy)
    if order in RANKERS:
        candidates, p = await run.stage(
            "rank",
            parts.guards[f"rank:{order}"],
            lambda: _rank(requests, profiles, candidates, (bundle, order, policy), mix, parts.ranking),
            lambda: (candidates, by_union(candidates)),
        )
    else:
        began = parts.timer()
        p = by_source(candidates, order.removeprefix(BY_SOURCE))
        run.took_ms["rank"] = (parts.timer() - began) * 1_000
    began = parts.timer()
    scores = weigh(p, bundle.items, candidates.items, policy)
    listed = np.where(_only_resumed(candidates), -np.inf, scores).astype(np.float32)
    about = candidates.items, bundle.items, requests.n_items, policy, requests.ids
    slates = slate(listed, *about, mix=mix)
    run.took_ms["slate"] = (parts.timer() - began) * 1_000
    began = parts.timer()
    liked = genre_preference(profiles, bundle.items, requests.now_s)
    ranked = p, scores, slates, liked
    answers = [_page(row, requests, profiles, candidates, ranked, (bundle, order, arm, run)) for row in range(requests.n)]
    for answer in answers:
        answer.took_ms["page"] = (parts.timer() - began) * 1_000
    return answers


async def _rank(
    requests: Requests,
    profiles: Profiles,
    candidates: Candidates,
    by: tuple[Bundle, str, SlateSettings],
    mix: Floats | None,
    ranking: Ranking,
) -> tuple[Candidates, Floats]:
    """What the first pass leaves of the candidates, and the ranker's probabilities of it."""
    bundle, ranker, policy = by
    if not candidates.items.size:
        return candidates, np.zeros((*candidates.items.shape, len(Objective)), np.float32)
    batch = ranker_input(requests, profiles, bundle.items, candidates, N_HISTORY)
    n_kept = n_shown(requests) * policy.ranked_per_place
    if ranker in bundle.preranks and (n_kept < candidates.items.shape[1]).any():
        genres = wanted_genres(mix, bundle.items, requests.n_items)
        places = bundle.preranks[ranker].places(batch, n_kept, genres)
        candidates, batch = only(candidates, places), batch.at(places)
    return candidates, await ranking.predict(bundle.id, ranker, batch)


def n_shown(requests: Requests) -> Ints:
    """Titles that each page can show [B] int32; a homepage has rows of them."""
    return requests.n_items * np.where(requests.page == Page.HOMEPAGE, requests.n_rows, 1).astype(np.int32)


def _page(
    row: int,
    requests: Requests,
    profiles: Profiles,
    candidates: Candidates,
    ranked: tuple[Floats, Floats, Slates, Floats],
    made_by: tuple[Bundle, str, Assignment, _Run],
) -> Answer:
    (p, scores, slates, liked), (bundle, order, arm, run) = ranked, made_by
    chosen = slates.positions[row]
    places = chosen[chosen >= 0].astype(np.int64)
    rows = []
    if requests.page[row] == Page.HOMEPAGE:
        best = np.argsort(-scores[row], kind="stable")
        view = View(row, candidates, scores[row], best[scores[row][best] > -np.inf], places, bundle.items, profiles,
                    liked[row], requests.region[row])  # fmt: skip
        rows = homepage(view, int(requests.n_rows[row]), int(requests.n_items[row]))
    return Answer(
        recommendation_id=requests.ids[row],
        page=Page(int(requests.page[row])),
        row=row,
        items=bundle.items,
        cards=bundle.cards,
        candidates=candidates,
        profiles=profiles,
        scores=scores[row],
        p=p[row],
        places=places,
        propensity=slates.propensity[row][: places.size],
        rows=rows,
        bundle_id=bundle.id,
        arms=arm.arms,
        ranker=arm.ranker,
        algorithm=order,
        predicted=order in RANKERS and "rank" not in run.degraded,
        slate=arm.slate,
        region=requests.region[row],
        degraded=list(run.degraded),
        took_ms=dict(run.took_ms),
    )


def _only_resumed(candidates: Candidates) -> Bools:
    """Candidates [B, K] that only `resume` proposed: begun titles belong to their own row, not among discoveries."""
    resumed = candidates.ranks[:, :, candidates.sources.index("resume")] > 0
    return resumed & ((candidates.ranks > 0).sum(axis=2) == 1)


def _groups(arms: Sequence[Assignment]) -> list[list[int]]:
    """Rows that share bundle, ranker and slate policy."""
    groups: dict[str, list[int]] = {}
    for row, arm in enumerate(arms):
        groups.setdefault(json.dumps((arm.bundle, arm.ranker, arm.slate), sort_keys=True), []).append(row)
    return list(groups.values())


def _unknown(n: int) -> Profiles:
    """Profiles of which nothing can be read: no history, and the safe maturity limit."""
    return columns([ProfileState()] * n, [ProfileSettings(maturity_limit=SAFE_MATURITY)] * n)


def _popular(requests: Requests, profiles: Profiles, bundle: Bundle) -> Candidates:
    """Popular titles that pass every filter: what is proposed when the candidate stage cannot answer."""
    matches = matching(requests, bundle.text, bundle.items.n)
    eligible, resumable = eligibility(requests, profiles, bundle.items, matches)
    ask = Ask(requests, profiles, bundle.items, eligible, resumable)
    n = int(n_shown(requests).max())
    return union({"popular": bundle.sources["popular"].retrieve(ask, n)}, n)
