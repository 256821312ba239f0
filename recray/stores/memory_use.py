"""What a store on RESP servers spends memory on: bytes by part, from a sample of its keys."""

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from recray.stores.redis_keys import chunks, tag_of
from recray.stores.resp import Command, RespClient

_PROFILE: Final = "profiles"
_PARTS: Final = {
    b"p": _PROFILE, b"d": "dedup marks", b"w": "dedup marks", b"a": "kept answers", b"r": "recommendation ids",
}  # fmt: skip
_LOGS: Final = {b"events": "event log", b"slates": "slate log"}
_FIELDS: Final = {b"s": "of which state", b"i": "of which inbox", b"c": "of which settings"}
_KIND: Final = re.compile(rb"\{s\d+\}(?:([pdwar]):|(events|slates)$)", re.DOTALL)
_PER_ROUND_TRIP: Final = 1_000
_ENTRIES: Final = 50
"""Entries of a log that the server looks at for its mean."""


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a store: how many keys (entries, of a log) and bytes; estimates where not all keys were looked at."""

    name: str
    n: float
    n_bytes: float


@dataclass(frozen=True, slots=True)
class MemoryUse:
    """The parts of a store, the profiles in it, what was looked at, and what the servers say they use, beyond the parts too."""

    parts: Sequence[Part]
    n_profiles: float
    n_looked_at: int
    n_keys: int
    used_bytes: int


async def memory_use(server: RespClient, n_shards: int, most_keys: int) -> MemoryUse:
    """Look at up to `most_keys` keys of each server, and at every log.

    Raises:
        StoreError: the store did not answer.
    """
    counted: dict[str, float] = defaultdict(float)
    spent: dict[str, float] = defaultdict(float)
    n_looked_at = n_keys = 0
    for n_held, keys in await server.sample(most_keys):
        share = n_held / max(len(keys), 1)
        n_looked_at, n_keys = n_looked_at + len(keys), n_keys + n_held
        named = [(key, name) for key in keys if (name := _part(key)) is not None]
        sizes = await _told(server, [("MEMORY USAGE", key, "SAMPLES", 0) for key, _ in named])
        for (_, name), size in zip(named, sizes, strict=True):
            counted[name] += share
            spent[name] += share * (size or 0)
        profiles = [key for key, name in named if name == _PROFILE]
        for field, name in _FIELDS.items():
            lengths = await _told(server, [("HSTRLEN", key, field) for key in profiles])
            counted[name] += share * sum(map(bool, lengths))
            spent[name] += share * sum(filter(None, lengths))
    await _add_logs(server, n_shards, counted, spent)
    used = await server.ask_everywhere(("INFO", "memory"))
    return MemoryUse(
        parts=[Part(name, counted[name], spent[name]) for name in _in_order(counted)],
        n_profiles=counted[_PROFILE],
        n_looked_at=n_looked_at,
        n_keys=n_keys,
        used_bytes=sum(facts["used_memory"] for facts in used),
    )


async def _told(server: RespClient, commands: Sequence[Command]) -> list[int | None]:
    return [one for part in chunks(commands, _PER_ROUND_TRIP) for one in await server.ask(part)]


async def _add_logs(server: RespClient, n_shards: int, counted: dict[str, float], spent: dict[str, float]) -> None:
    for log, name in _LOGS.items():
        keys = [tag_of(shard) + log for shard in range(n_shards)]
        lengths = await server.ask([("XLEN", key) for key in keys])
        sizes = await server.ask([("MEMORY USAGE", key, "SAMPLES", _ENTRIES) for key in keys])
        counted[name] += sum(lengths)
        spent[name] += sum(size or 0 for size in sizes)


def _part(key: bytes) -> str | None:
    """The part that a key belongs to; None for a log, which is looked at anyway."""
    if key.startswith(b"rec:"):
        return "served slates"
    match = _KIND.match(key)
    if match is None:
        return "others"
    return None if match[2] else _PARTS[match[1]]


def _in_order(counted: dict[str, float]) -> list[str]:
    named = [_PROFILE, *_FIELDS.values(), "dedup marks", *_LOGS.values(), "served slates", "recommendation ids", "kept answers"]
    return [name for name in [*named, "others"] if name in counted]
