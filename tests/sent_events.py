"""Events that are sent as clients send them: again after a refusal or a lost answer, until each is acknowledged."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa

from recray.errors import StoreError
from recray.features import fold
from recray.schema import TITLES, Action, Event, ProfileKey
from recray.stores.lake import Lake
from recray.stores.online import Arrival, OnlineStore

KEYS = [ProfileKey(f"u{n}", "main") for n in range(60)]
N_TITLES = 40


def arrival(n: int) -> Arrival:
    """Event n, of profile n modulo their number."""
    key, at_s = KEYS[n % len(KEYS)], 1_700_000_000 + 7 * n
    packed = fold.pack(np.array([at_s]), np.array([n % N_TITLES]), np.array([Action.PLAY]), np.array([0]), np.array([0]))
    return Arrival(Event(f"e{n}", key.user_id, key.profile_id, f"t{n % N_TITLES}", Action.PLAY, at_s), int(packed[0]), at_s)


def folded(row: int, n_sent: int) -> bytes:
    """The state of a profile after so many events in all, as the offline fold makes it."""
    words = np.array([arrival(n).word for n in range(row, n_sent, len(KEYS))], np.uint64)
    return fold.encode(fold.fold(fold.ProfileState(), words))


def titles_in(folder: Path) -> Lake:
    """A lake whose set `tiny` has the titles of these events."""
    lake = Lake(folder)
    ids = [f"t{n}" for n in range(N_TITLES)]
    columns = {"content_id": ids, "name": ids, "kind": ["movie"] * N_TITLES, "genres": [["Drama"]] * N_TITLES}
    lake.write("tiny", {"titles": pa.table({n: pa.array(v, TITLES.field(n).type) for n, v in columns.items()})}, {})
    return lake


class Sender:
    """Sends batches through several clients in turn. State: how many events are acknowledged, and how often it was refused."""

    def __init__(self, stores: Sequence[OnlineStore]) -> None:
        self.stores = stores
        self.n_acknowledged = 0
        self.n_refused = 0
        self.stop = False

    async def run(self) -> None:
        turn = 0
        while not self.stop:
            batch = [arrival(n) for n in range(self.n_acknowledged, self.n_acknowledged + 20)]
            turn += 1
            try:
                await self.stores[turn % len(self.stores)].append(batch)
            except StoreError:
                self.n_refused += 1
                await asyncio.sleep(0.01)
                continue
            self.n_acknowledged += len(batch)
            await asyncio.sleep(0.001)

    async def sent(self, n: int) -> None:
        """Wait for so many more acknowledgements."""
        wanted, until_s = self.n_acknowledged + n, time.monotonic() + 60
        while self.n_acknowledged < wanted:
            assert time.monotonic() < until_s, f"{self.n_acknowledged} of {wanted} events are acknowledged"
            await asyncio.sleep(0.01)


@asynccontextmanager
async def sending(*stores: OnlineStore) -> AsyncIterator[Sender]:
    """A sender at work; its last batch is acknowledged when it ends."""
    sender = Sender(stores)
    running = asyncio.create_task(sender.run())
    try:
        yield sender
    finally:
        sender.stop = True
        await running
