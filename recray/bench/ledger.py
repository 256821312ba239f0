"""What viewers were told while a part failed: which answers were whole, and which events were acknowledged."""

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

import msgspec

from recray.simulation.http_client import Connection, Reply
from recray.simulation.sessions import FEEDBACK, Ask
from recray.simulation.traffic import Fate, fate_of
from recray.stores.online import OnlineStore

QUIET_S: Final = 1.0
"""Answers are whole again when they have been for so long; an answer that takes longer than this is not whole."""
_CHUNK: Final = 1_000
Fact = tuple[str, str, str, str]
"""Of an event: user, profile, title, action."""


class _Sent(msgspec.Struct):
    event_id: str
    user_id: str
    profile_id: str
    content_id: str
    action: str

    @property
    def fact(self) -> Fact:
        return self.user_id, self.profile_id, self.content_id, self.action


class _Verdicts(msgspec.Struct):
    verdicts: list[str]


_SENT: Final = msgspec.json.Decoder(list[_Sent])
_VERDICTS: Final = msgspec.json.Decoder(_Verdicts)


@dataclass
class Ledger:
    """Written while a load runs, on its event loop. State: what is under way, spans that were not whole, verdicts."""

    clock: Callable[[], float]
    accepted: dict[str, Fact] = field(default_factory=dict)
    duplicates: dict[str, Fact] = field(default_factory=dict)
    _under_way: dict[int, float] = field(default_factory=dict)
    _spans: list[tuple[float, float]] = field(default_factory=list)
    _whole: list[float] = field(default_factory=list)
    _n_sent: int = 0

    def sending(self, connection: Connection) -> Callable[[Ask], Awaitable[Reply]]:
        """A line of the load whose requests are written down."""

        async def send(ask: Ask) -> Reply:
            self._n_sent += 1
            number, sent_s = self._n_sent, self.clock()
            self._under_way[number] = sent_s
            reply = await (connection.post(ask.path, ask.body) if ask.body else connection.get(ask.path))
            del self._under_way[number]
            self.write(ask, reply, sent_s)
            return reply

        return send

    def write(self, ask: Ask, reply: Reply, sent_s: float) -> None:
        """Take note of a reply."""
        now_s = self.clock()
        if fate_of(reply) == Fate.ANSWERED and now_s - sent_s <= QUIET_S:
            self._whole.append(now_s)
        else:
            self._spans.append((sent_s, now_s))
        if ask.endpoint == FEEDBACK and reply.status == 202:
            for event, verdict in zip(_SENT.decode(ask.body), _VERDICTS.decode(reply.body).verdicts, strict=True):
                told = {"accepted": self.accepted, "duplicate": self.duplicates}.get(verdict)
                if told is not None:
                    told[event.event_id] = event.fact

    def whole_from(self, since_s: float) -> float | None:
        """The first moment from `since_s` on after which whatever was asked within a second got a whole answer.

        None before that second is over and all of it answered, or when nobody was answered in it.
        """
        now_s = self.clock()
        late = [(sent_s, now_s) for sent_s in self._under_way.values() if now_s - sent_s > QUIET_S]
        at_s = since_s
        for began_s, ended_s in sorted(self._spans + late):
            if ended_s < at_s:
                continue
            if began_s - at_s >= QUIET_S:
                break
            at_s = ended_s
        end_s = at_s + QUIET_S
        answered = now_s >= end_s and all(sent_s > end_s for sent_s in self._under_way.values())
        return at_s if answered and any(at_s < one <= end_s for one in reversed(self._whole)) else None

    @property
    def n_acknowledged(self) -> int:
        """Events that were acknowledged so far, whatever the verdict."""
        return len(self.accepted) + len(self.duplicates.keys() - self.accepted.keys())

    async def kept(self, store: OnlineStore, n_shards: int) -> dict[str, int]:
        """Of the acknowledged events: how many, how many of them the store's log lacks, and how many it has more than once.

        An event that was called a duplicate counts as there when the log has it, or the same fact of another report.
        """
        return self.found(*await logged(store, n_shards))

    def found(self, ids: Counter[str], facts: set[Fact]) -> dict[str, int]:
        """As `kept`, in events whose ids and facts these are."""
        lost = sum(event_id not in ids for event_id in self.accepted)
        lost += sum(event_id not in ids and fact not in facts for event_id, fact in self.duplicates.items())
        acknowledged = self.accepted.keys() | self.duplicates.keys()
        twice = sum(ids[event_id] > 1 for event_id in acknowledged)
        return {"acknowledged": len(acknowledged), "lost": lost, "duplicated": twice}


async def logged(
    store: OnlineStore, n_shards: int, behind: Mapping[int, str] = MappingProxyType({})
) -> tuple[Counter[str], set[Fact]]:
    """Ids of the events in the store's log with how often each stands there, and their facts.

    `behind` is a position of each shard after which is looked; a shard that it does not name is looked through from its start.
    """
    ids: Counter[str] = Counter()
    facts: set[Fact] = set()
    for shard in range(n_shards):
        after = behind.get(shard, "")
        while found := await store.events(shard, after, _CHUNK):
            after = found[-1][0]
            for _, event in found:
                ids[event["event_id"]] += 1
                facts.add(tuple(event[name] for name in ("user_id", "profile_id", "content_id", "action")))
    return ids, facts
