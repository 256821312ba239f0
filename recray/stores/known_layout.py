"""The layout of a RESP store as one process knows it, and how the process learns of another.

Every shard carries the epoch that it was last brought to, and each script compares it with the caller's. So no one writes to a
shard that a profile has left, however old what it knows, and no lock is needed.
"""

from collections.abc import Iterable

from recray.errors import StoreError
from recray.settings import StoreSettings
from recray.stores import scripts_moving
from recray.stores.layout import Layout
from recray.stores.redis_keys import LAYOUT, epoch_key, script_call, tag_of
from recray.stores.resp import RespClient


class StaleError(StoreError):
    """Shards answered that they are in another epoch than the caller; nothing was done there."""

    def __init__(self, shards: Iterable[int]) -> None:
        super().__init__("the store's number of shards is changing; ask again")
        self.shards = set(shards)


class KnownLayout:
    """State: the layout that this process saw last."""

    def __init__(self, server: RespClient, settings: StoreSettings) -> None:
        self._server = server
        self._first = Layout((settings.n_shards,))
        self._held: Layout | None = None

    async def held(self) -> Layout:
        """The layout that was seen last; asked for at the first call."""
        return self._held or await self.read()

    async def read(self) -> Layout:
        """The layout as the store has it now; an empty store is given the one of the settings."""
        _, text = await self._server.ask([("SET", LAYOUT, self._first.text(), "NX"), ("GET", LAYOUT)])
        self._held = Layout.parse(text)
        return self._held

    async def catch_up(self, shards: Iterable[int]) -> Layout:
        """Read the layout anew, and bring shards that are behind it to its epoch; returns it.

        Anyone may do so at any time, for who changes the layout has made sure that it holds: one that died on the way holds
        nobody up.
        """
        layout = await self.read()
        await self._server.ask([
            script_call(scripts_moving.ADVANCE, [epoch_key(tag), tag + b"events", tag + b"cuts"], layout.epoch)
            for tag in map(tag_of, sorted(shards))
        ])  # fmt: skip
        return layout

    async def change(self, before: Layout, after: Layout) -> bool:
        """Replace the layout; False when it is no longer what it was."""
        call = script_call(scripts_moving.CHANGE, [LAYOUT], before.text(), after.text())
        return bool((await self._server.ask([call]))[0])
