"""What one viewer does: a homepage, further pages after some thought, and feedback on titles that the answers listed.

A session is a generator: it yields the next step and is sent the answer to it. How many pages and reports there are never
depends on the answers, so that the mean number of requests is known beforehand; which titles are reported always does.
"""

from collections.abc import Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, Final
from urllib.parse import urlencode

import msgspec
import numpy as np

from recray.schema import PAGE_OF, Action, Device, Page, word
from recray.settings import TrafficSettings
from recray.simulation.audience import Item, Seen, Viewer, zipf_rank
from recray.simulation.viewing import EXAMINED_DECAY, SHOWN

FEEDBACK: Final = "feedback"
ENDPOINTS: Final = (*(word(page) for page in Page), FEEDBACK)
_BASE: Final = "/api/v1/recommendations"
FEEDBACK_PATH: Final = f"{_BASE}/{FEEDBACK}"
_ROW_DECAY: Final = 0.35
_VISIBLE_ROWS: Final = 3
"""A homepage shows so many rows before anyone scrolls; the first titles of each are visible."""
_MOST_PAGES: Final = 50
_LEAST_WORD: Final = 3
_LONGEST_SESSIONS: Final = 4.0
"""One in a hundred sessions is longer than four times the mean."""
_DEVICE_SHARES: Final = ((Device.TV, 0.45), (Device.MOBILE, 0.3), (Device.DESKTOP, 0.2), (Device.OTHER, 0.05))


class Row(msgspec.Struct):
    items: list[Item] = []


class Listed(msgspec.Struct):
    """What is read of an answer with titles."""

    recommendation_id: str = ""
    degraded: list[str] = []
    rows: list[Row] = []
    recommendations: list[Item] = []

    def strips(self) -> list[list[Item]]:
        """Titles by row; a list is one row."""
        return [row.items for row in self.rows if row.items] or ([self.recommendations] if self.recommendations else [])


NOTHING: Final = Listed()


@dataclass(frozen=True, slots=True)
class Ask:
    """One request: a GET, or a POST when there is a body."""

    endpoint: str
    path: str
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Step:
    """What comes `think_s` after the last answer; without `ask` the time passes and nothing is sent."""

    think_s: float
    ask: Ask | None


Session = Generator[Step, Listed, None]


def requests_per_session(settings: TrafficSettings) -> float:
    """The mean number of requests of a session, feedback included."""
    on = 1.0 - 1.0 / settings.pages_per_session
    n_pages = sum(on**n for n in range(_MOST_PAGES))
    return n_pages * (2.0 + settings.played * (2.0 + settings.completed) + settings.liked + settings.hidden)


def mean_think_s(settings: TrafficSettings) -> float:
    """The mean of the log-normal think time."""
    return settings.think_s * float(np.exp(settings.think_spread**2 / 2))


def lead_in_s(settings: TrafficSettings) -> float:
    """How long to ask before measuring: as long as sessions that are joined midway need to come to a page of their own."""
    return 4.0 * mean_think_s(settings)


@dataclass(frozen=True, slots=True)
class Crowd:
    """All sessions: number n is the same one for the same seed, as long as the answers are."""

    viewers: Sequence[Viewer]
    settings: TrafficSettings
    seed: int
    run_id: str
    seen: Seen = field(default_factory=Seen)

    def session(self, number: int) -> Session:
        """The steps of a session; its feedback's event ids are unique within the run."""
        return _Visit(self, number).steps()

    def already_there(self, sessions_per_s: float) -> list[tuple[int, Session, Step, float]]:
        """Sessions that would be under way already: number, the rest of the steps, the first of them, where it counts from.

        Without them a rate would take the length of a session to be reached. Numbers ascend from 0, with gaps; what the
        sessions did before is passed over without a request.
        """
        draws, found = np.random.default_rng([self.seed, 3]), []
        longest_s = _LONGEST_SESSIONS * requests_per_session(self.settings) * mean_think_s(self.settings)
        for number, age_s in enumerate(draws.uniform(0.0, longest_s, draws.poisson(sessions_per_s * longest_s))):
            steps, at_s = self.session(number), -float(age_s)
            with suppress(StopIteration):
                step = next(steps)
                while at_s + step.think_s < 0:
                    at_s += step.think_s
                    step = steps.send(NOTHING)
                found.append((number, steps, step, at_s))
        return found


class _Visit:
    """One session under way. State: its draws, and how many events it has reported."""

    def __init__(self, crowd: Crowd, number: int) -> None:
        self._crowd, self._number, self._settings = crowd, number, crowd.settings
        self._draws = np.random.default_rng([crowd.seed, 2, number])
        viewer = crowd.viewers[int(self._draws.integers(len(crowd.viewers)))]
        self._device = word(self._drawn(_DEVICE_SHARES))
        self._who = {"user_id": viewer.key.user_id, "profile_id": viewer.key.profile_id}
        self._where = {"device": self._device} | ({"region": viewer.region} if viewer.region else {})
        self._n_events = 0
        self._played: Item | None = None

    def steps(self) -> Session:
        n_pages = min(int(self._draws.geometric(1 / self._settings.pages_per_session)), _MOST_PAGES)
        page = Page.HOMEPAGE
        for n in range(n_pages):
            listed = yield Step(self._think_s() if n else 0.0, self._ask(page))
            strips = listed.strips()
            for strip in strips:
                self._crowd.seen.add(strip)
            yield from self._reports(listed.recommendation_id, strips)
            page = PAGE_OF[self._drawn(tuple(self._settings.pages.items()))]

    def _reports(self, recommendation_id: str, strips: list[list[Item]]) -> Session:
        """What the viewer does on a page; with nothing listed the time passes all the same."""
        visible = [
            (row, position) for row, strip in enumerate(strips[:_VISIBLE_ROWS]) for position in range(len(strip[:SHOWN]))
        ]

        def step(*reported: tuple[Action, tuple[int, int], dict[str, float]]) -> Step:
            events = [
                self._event(strips[row][position], action, measured, recommendation_id, (row, position))
                for action, (row, position), measured in reported
            ]
            return Step(self._think_s(), Ask(FEEDBACK, FEEDBACK_PATH, msgspec.json.encode(events)) if events else None)

        yield step(*((Action.IMPRESSION, place, {}) for place in visible))
        # The first share of the interval plays, the next likes, then hides; the rest leaves the page as it is.
        at, chosen = self._draws.random(), self._examined(visible)
        played, liked = self._settings.played, self._settings.played + self._settings.liked
        if at < played:
            if chosen:
                self._played = strips[chosen[0][0]][chosen[0][1]]
            yield step(*((action, place, {}) for place in chosen for action in (Action.CLICK, Action.PLAY)))
            progress = {"progress": round(self._draws.uniform(0.05, 0.9), 3)}
            yield step(*((Action.PROGRESS, place, progress) for place in chosen))
            if self._draws.random() < self._settings.completed:
                yield step(*((Action.COMPLETE, place, {"progress": 1.0}) for place in chosen))
        elif at < liked + self._settings.hidden:
            yield step(*((Action.LIKE if at < liked else Action.HIDE, place, {}) for place in chosen))

    def _examined(self, visible: list[tuple[int, int]]) -> list[tuple[int, int]]:
        """One visible place, the likelier the further up and to the front; none when nothing is visible."""
        u = self._draws.random()
        if not visible:
            return []
        weights = [np.exp(-EXAMINED_DECAY * position - _ROW_DECAY * row) for row, position in visible]
        sums = list(accumulate(weights))
        return [visible[int(np.searchsorted(sums, u * sums[-1], side="right"))]]

    def _event(
        self, item: Item, action: Action, measured: dict[str, float], recommendation_id: str, place: tuple[int, int]
    ) -> dict[str, Any]:
        self._n_events += 1
        row, position = place
        return {
            **self._who, "content_id": item.content_id, "action": word(action), "device": self._device, **measured,
            "event_id": f"{self._crowd.run_id}-{self._number}-{self._n_events}", "recommendation_id": recommendation_id,
            "row": row, "position": position,
        }  # fmt: skip

    def _ask(self, page: Page) -> Ask:
        """A page; where it needs a title and none was seen yet, the homepage."""
        about = self._about(page)
        if about is None:
            page, about = Page.HOMEPAGE, {}
        return Ask(word(page), f"{_BASE}/{word(page)}?{urlencode(self._who | self._where | about)}")

    def _about(self, page: Page) -> dict[str, str] | None:
        seen, u = self._crowd.seen, self._draws.random(2)
        if page == Page.HOMEPAGE:
            return {}
        if page == Page.CATEGORY:
            return {"category": self._again(seen.genres, u[0])} if seen.genres else None
        if not seen.titles:
            return None
        title = self._again(seen.titles, u[0])
        if page == Page.SEARCH:
            return {"query": _query(title.name, u[1])}
        return {"watched_content_id": (self._played or title).content_id}

    def _again(self, listed: Sequence[Any], u: float) -> Any:
        return listed[zipf_rank(len(listed), self._settings.zipf, u)]

    def _think_s(self) -> float:
        return self._settings.think_s * float(np.exp(self._settings.think_spread * self._draws.standard_normal()))

    def _drawn(self, shares: Sequence[tuple[Any, float]]) -> Any:
        sums = list(accumulate(share for _, share in shares))
        place = int(np.searchsorted(sums, self._draws.random() * sums[-1], side="right"))
        return shares[min(place, len(shares) - 1)][0]


def _query(name: str, u: float) -> str:
    """A word of a title's name that is worth typing; the name itself when it has none."""
    words = [part for part in name.split() if len(part) >= _LEAST_WORD]
    return words[int(u * len(words))][:200] if words else name[:200] or "a"
