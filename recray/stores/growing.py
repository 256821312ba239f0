"""How a store on RESP servers gets more shards while it is used.

First the layout says where the store is going; then every shard is told, and from that moment what it holds of profiles that
leave it stands still; then all of it is moved; then the layout says that this is done. Each step may be repeated, by this
process or by another: one that dies on the way leaves a store that works and that growing again finishes.
"""

import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final

from recray.errors import ConfigError
from recray.stores.event_log import digest_of_address
from recray.stores.known_layout import KnownLayout, StaleError
from recray.stores.layout import Layout
from recray.stores.moving import Mover
from recray.stores.redis_keys import Place, tag_of
from recray.stores.resp import RespClient

_KEY: Final = re.compile(rb"\{s(\d+)\}([pardw]):(.*)", re.DOTALL)
_MARK_PREFIX_BYTES: Final = 8


@dataclass(frozen=True, slots=True)
class Moved:
    """What growing has done: profiles and dedup marks that were moved, and keys that it looked at."""

    n_profiles: int = 0
    n_marks: int = 0
    n_looked_at: int = 0


async def grow(server: RespClient, known: KnownLayout, n_shards: int, told: Callable[[Moved], None]) -> Moved:
    """Have a store of so many shards, a multiple of what it has; `told` hears how far it is. Nothing is moved that is in place.

    Raises:
        ConfigError: it cannot have so many.
        StoreError: the store did not answer; do it again.
    """
    layout = await _begun(known, n_shards)
    moved = Moved()
    if not layout.is_growing:
        return moved
    await known.catch_up(range(n_shards))
    was_clean = False
    while not was_clean:
        before = moved
        with suppress(StaleError):  # another process finished growing: the next pass finds nothing to move
            async for keys in server.scan():
                moved = await _moved(server, layout, keys, moved)
                told(moved)
        was_clean = (before.n_profiles, before.n_marks) == (moved.n_profiles, moved.n_marks)
    await known.change(layout, replace(layout, is_growing=False))
    await known.catch_up(range(n_shards))
    return moved


async def _begun(known: KnownLayout, n_shards: int) -> Layout:
    layout = await known.read()
    if n_shards == layout.n_shards:
        return layout
    if layout.is_growing:
        raise ConfigError(
            f"the store is growing to {layout.n_shards} shards; expected to finish that before it grows to {n_shards}"
        )
    if n_shards < layout.n_shards or n_shards % layout.n_shards:
        raise ConfigError(f"the store has {layout.n_shards} shards and shall have {n_shards}; expected a multiple, such as "
                          f"{2 * layout.n_shards}")  # fmt: skip
    await known.change(layout, Layout((*layout.counts, n_shards), is_growing=True))
    return await _begun(known, n_shards)


async def _moved(server: RespClient, layout: Layout, keys: Sequence[bytes], moved: Moved) -> Moved:
    """Move what some keys belong to."""
    leaving: dict[bytes, Place] = {}
    marks: list[tuple[bytes, bytes]] = []
    answers: list[bytes] = []
    for key in keys:
        match = _KEY.fullmatch(key)
        if match is None or int(match[1]) >= layout.counts[-2]:
            continue
        kind, rest = match[2], match[3]
        of_mark = kind in b"dw"
        profile = rest[:_MARK_PREFIX_BYTES] if of_mark else digest_of_address(rest)
        if layout.shard(profile) == int(match[1]):
            continue
        if of_mark:
            marks.append((key, tag_of(layout.shard(profile)) + kind + b":" + rest))
        elif kind == b"a":
            answers.append(key)
        else:
            leaving[rest] = Place.at(rest, profile, layout)
    n_profiles = await Mover(server, layout.epoch).bring(leaving.values())
    await server.ask([("UNLINK", key) for key in answers])
    n_marks = await _marks_moved(server, marks)
    return Moved(moved.n_profiles + n_profiles, moved.n_marks + n_marks, moved.n_looked_at + len(keys))


async def _marks_moved(server: RespClient, marks: Sequence[tuple[bytes, bytes]]) -> int:
    left_ms = await server.ask([("PTTL", old) for old, _ in marks])
    alive = [(new, ms) for (_, new), ms in zip(marks, left_ms, strict=True) if ms > 0]
    await server.ask([("SET", new, b"", "PX", ms, "NX") for new, ms in alive])
    return sum(await server.ask([("UNLINK", old) for old, _ in marks]))
