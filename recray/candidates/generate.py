"""The stage: filters say what is eligible, every source proposes from it, the union is what rankers see."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from recray.candidates.filters import eligibility, reasons, verdicts
from recray.candidates.source import Ask, CandidateSource, union
from recray.catalog.text import TextIndex
from recray.errors import StageError
from recray.features.items import Items
from recray.features.profiles import Profiles
from recray.schema import NO_ITEM, Bools, Candidates, Page, Requests, Retrieved
from recray.settings import SourceSettings

_log = logging.getLogger(__name__)
_TRACED = 40
"""How many titles of each source a trace looks at for what filters dropped."""


@dataclass(frozen=True, slots=True)
class CandidateStage:
    """Every source over one catalogue. Stateless: a batch in, its candidates out."""

    items: Items
    text: TextIndex
    sources: Mapping[str, CandidateSource]
    settings: SourceSettings

    def generate(self, requests: Requests, profiles: Profiles, *, trace: bool = False) -> Candidates:
        """Candidates of a batch; a source that fails is left out and named in `degraded`.

        With `trace`, `dropped` lists what the sources would have proposed and why filters took it out.
        """
        matches = matching(requests, self.text, self.items.n)
        eligible, resumable = eligibility(requests, profiles, self.items, matches)
        ask = Ask(requests, profiles, self.items, eligible, resumable)
        proposals, failed = self._ask_all(ask, self.settings.quota)
        candidates = union(proposals, self.settings.n_candidates)
        candidates.degraded = failed
        keep_evident(candidates, requests)
        if trace:
            open_ask = Ask(requests, profiles, self.items, np.ones_like(eligible), np.ones_like(resumable))
            unfiltered, _ = self._ask_all(open_ask, _TRACED)
            candidates.dropped = self._dropped(ask, unfiltered, matches)
        return candidates

    def _ask_all(self, ask: Ask, quota: int) -> tuple[dict[str, Retrieved], list[str]]:
        proposals: dict[str, Retrieved] = {}
        failed: list[str] = []
        for name, source in self.sources.items():
            try:
                proposals[name] = source.retrieve(ask, quota)
            except Exception:  # noqa: BLE001  # one source of many: the answer goes on without it, by name
                _log.exception("source %s failed", name)
                failed.append(f"source:{name}")
        if not proposals:
            raise StageError(f"every source failed: {', '.join(failed) or 'there is none'}; see the log")
        return proposals, failed

    def _dropped(self, ask: Ask, unfiltered: Mapping[str, Retrieved], matches: Bools | None) -> list[tuple[int, int, str]]:
        kept = verdicts(ask.requests, ask.profiles, self.items, matches)
        dropped: list[tuple[int, int, str]] = []
        for row in range(ask.requests.n):
            proposed = np.unique(np.concatenate([got.items[row] for got in unfiltered.values()]))
            for item in proposed[proposed >= 0]:
                if not ask.eligible[row, item]:
                    dropped += [(row, int(item), reason) for reason in reasons(kept, row, int(item))]
        return dropped


def matching(requests: Requests, text: TextIndex, n_items: int) -> Bools | None:
    """Titles [B, n_items] bool that match each search request's query (all for other pages); None without search requests."""
    searching = requests.page == Page.SEARCH
    if not searching.any():
        return None
    matches = np.ones((requests.n, n_items), np.bool_)
    for row in np.flatnonzero(searching):
        matches[row] = text.mask(requests.query[row], n_items)
    return matches


def keep_evident(candidates: Candidates, requests: Requests) -> None:
    """After watching a title, only candidates that it is the evidence for, where there are enough of them to fill the list.

    What is merely popular or fits the profile at large is what the homepage is for.
    """
    for row in np.flatnonzero(requests.seed_item >= 0):
        evident = candidates.seeds[row] == requests.seed_item[row]
        if np.count_nonzero(evident) >= requests.n_items[row]:
            order = np.argsort(~evident, kind="stable")
            for array in (candidates.items, candidates.seeds, candidates.scores, candidates.ranks):
                array[row] = array[row][order]
            n_kept = np.count_nonzero(evident)
            candidates.items[row, n_kept:] = NO_ITEM
            candidates.seeds[row, n_kept:] = NO_ITEM
            candidates.scores[row, n_kept:] = np.nan
            candidates.ranks[row, n_kept:] = 0
