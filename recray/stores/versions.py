"""What one process makes anew all the time and all others read: numbered versions of a value, the last few of them kept."""

from dataclasses import dataclass, field
from typing import Protocol


@dataclass(slots=True, frozen=True)
class Version:
    """A version's number, counted from 1, and the bytes that were published under it."""

    number: int
    value: bytes


class Versions(Protocol):
    """The versions of one name. Every method raises `StoreError` when the store does not answer."""

    async def newest(self) -> int:
        """Number of the newest version; 0 before the first."""
        ...

    async def read(self, number: int) -> Version | None:
        """The version of a number, the newest for 0; None when there is none, or none any more."""
        ...

    async def resume(self) -> tuple[Version, bytes] | None:
        """The newest version and what its writer left beside it to go on from, both of one publication."""
        ...

    async def publish(self, version: Version, memory: bytes, n_kept: int) -> bool:
        """Add the next version with its writer's memory, in one step, and forget all but the last `n_kept`.

        False, and nothing changed, unless its number follows the newest one: another writer was first. If its answer
        was lost it may have happened: `resume` finds it.
        """
        ...


@dataclass
class MemoryVersions:
    """`Versions` in one process."""

    _values: dict[int, bytes] = field(default_factory=dict)
    _memory: bytes = b""

    async def newest(self) -> int:
        return max(self._values, default=0)

    async def read(self, number: int) -> Version | None:
        number = number or await self.newest()
        return Version(number, self._values[number]) if number in self._values else None

    async def resume(self) -> tuple[Version, bytes] | None:
        newest = await self.read(0)
        return (newest, self._memory) if newest else None

    async def publish(self, version: Version, memory: bytes, n_kept: int) -> bool:
        if version.number != await self.newest() + 1:
            return False
        self._values[version.number], self._memory = version.value, memory
        self._values = {n: value for n, value in self._values.items() if n > version.number - n_kept}
        return True
