"""`Versions` on a RESP server: one hash, with each version's bytes under its number, n the newest number, m the memory."""

from dataclasses import dataclass

from recray.stores import scripts_versions
from recray.stores.redis_keys import script_call
from recray.stores.resp import RespClient
from recray.stores.versions import Version


@dataclass(frozen=True, slots=True)
class RedisVersions:
    """The versions under one key."""

    server: RespClient
    key: bytes

    async def newest(self) -> int:
        (found,) = await self.server.ask([("HGET", self.key, "n")])
        return int(found or 0)

    async def read(self, number: int) -> Version | None:
        # Two steps, of which the first names a version: what is published in between does not matter.
        number = number or await self.newest()
        (value,) = await self.server.ask([("HGET", self.key, number)])
        return None if value is None else Version(number, value)

    async def resume(self) -> tuple[Version, bytes] | None:
        (found,) = await self.server.ask([script_call(scripts_versions.RESUME, [self.key])])
        return (Version(int(found[0]), found[1]), found[2]) if found else None

    async def publish(self, version: Version, memory: bytes, n_kept: int) -> bool:
        call = script_call(scripts_versions.PUBLISH, [self.key], version.number, version.value, memory, n_kept)
        return bool((await self.server.ask([call]))[0])
