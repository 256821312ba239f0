"""Feedback on titles that profiles were just shown, and how long it takes until a profile is no longer shown them.

A sampled event hides or completes a title of the profile's own last answer. From when it was due the profile is asked again
and again, until a whole answer comes without that title: that span holds the wait for a free connection too.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

import msgspec
import numpy as np

from recray.bench.ledger import Ledger
from recray.schema import Action, ProfileKey, word
from recray.simulation.http_client import Connection, Reply
from recray.simulation.sessions import FEEDBACK, FEEDBACK_PATH, Ask, Listed
from recray.simulation.traffic import Fate, fate_of

_TAKES_AWAY: Final = (Action.HIDE, Action.COMPLETE)
"""What a viewer does to a title that is then no longer recommended."""
_LEAVES: Final = (Action.CLICK, Action.PLAY, Action.PROGRESS)
_PATIENCE_S: Final = 10.0
_REST_S: Final = 0.2
_LISTED: Final = msgspec.json.Decoder(Listed)


@dataclass(frozen=True, slots=True)
class Told:
    """One event that is due. A sampled one is looked for in the answers to `path`."""

    event_id: str
    key: ProfileKey
    content_id: str
    action: Action
    path: str = ""

    def ask(self) -> Ask:
        """The request that sends it."""
        event = {
            "event_id": self.event_id, "user_id": self.key.user_id, "profile_id": self.key.profile_id,
            "content_id": self.content_id, "action": word(self.action),
        }  # fmt: skip
        return Ask(FEEDBACK, FEEDBACK_PATH, msgspec.json.encode([event]))


def titles(reply: Reply) -> list[str]:
    """Titles of a whole answer in its order; none of one that failed or is degraded: a fallback proves nothing."""
    if fate_of(reply) != Fate.ANSWERED:
        return []
    return [item.content_id for strip in _LISTED.decode(reply.body).strips() for item in strip]


@dataclass
class Shown:
    """What each profile was last shown, and what became of sampled events.

    State, on one event loop: last answers, spans in seconds of events that were `seen`, of those that were not, and what is
    gone for good.
    """

    ledger: Ledger
    rng: np.random.Generator
    run_id: str
    seen_s: list[float] = field(default_factory=list)
    unseen_s: list[float] = field(default_factory=list)
    gone: list[Told] = field(default_factory=list)
    n_too_early: int = 0
    _last: dict[ProfileKey, list[str]] = field(default_factory=dict)
    _keys: list[ProfileKey] = field(default_factory=list)
    _n_told: int = 0

    def note(self, key: ProfileKey, reply: Reply) -> None:
        """Take note of an answer to a profile."""
        listed = titles(reply)
        if not listed:
            return
        if key not in self._last:
            self._keys.append(key)
        self._last[key] = listed

    def sampled(self, paths: dict[ProfileKey, str]) -> Told | None:
        """An event that takes a title away from a profile, whose next sampled event waits for another answer.

        None when no profile has had an answer since its last one.
        """
        if not self._keys:
            self.n_too_early += 1
            return None
        place = int(self.rng.integers(len(self._keys)))
        self._keys[place], self._keys[-1] = self._keys[-1], self._keys[place]
        key = self._keys.pop()
        listed = self._last.pop(key)
        return self._told(key, listed, _TAKES_AWAY, paths[key])

    def plain(self) -> Told | None:
        """An event that leaves the title where it is; None before any profile has had an answer."""
        if not self._keys:
            self.n_too_early += 1
            return None
        key = self._keys[int(self.rng.integers(len(self._keys)))]
        return self._told(key, self._last[key], _LEAVES)

    def _told(self, key: ProfileKey, listed: list[str], actions: tuple[Action, ...], path: str = "") -> Told:
        self._n_told += 1
        title = listed[int(self.rng.integers(len(listed)))]
        return Told(f"{self.run_id}-{self._n_told}", key, title, actions[self._n_told % len(actions)], path)

    def watching(self, line: Connection) -> Callable[[Told], Awaitable[Reply]]:
        """A line that sends an event and asks until its title is gone; it answers with the last reply."""
        loop, post, get = asyncio.get_running_loop(), self.ledger.sending(line), line.get

        async def send(told: Told) -> Reply:
            until_s = loop.time() + _PATIENCE_S
            reply = await post(told.ask())
            while fate_of(reply) != Fate.ANSWERED and loop.time() < until_s:
                await asyncio.sleep(_REST_S)
                reply = await post(told.ask())
            while loop.time() < until_s:
                reply = await get(told.path)
                listed = titles(reply)
                if listed and told.content_id not in listed:
                    return reply
                await asyncio.sleep(0 if listed else _REST_S)
            return reply

        return send

    def write(self, told: Told, latency_s: float, reply: Reply) -> None:
        """How a sampled event ended, this long after it was due."""
        listed = titles(reply)
        if listed and told.content_id not in listed:
            self.seen_s.append(latency_s)
            self.gone.append(told)
        else:
            self.unseen_s.append(latency_s)

    async def shown_again(self, line: Connection) -> int:
        """How many of the titles that were gone the same profiles are shown now."""
        return sum([told.content_id in titles(await line.get(told.path)) for told in self.gone])
