"""A replica's own copies of answers (L1): the least recently used go first, and none outlives its time for long."""

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

from recray.stores.kept import KeptAnswer

_OVERHEAD_BYTES: Final = 500
"""What a copy takes beside its body: the objects around it and its place in the mapping, rounded up."""
_SWEEPS: Final = 5


@dataclass(frozen=True, slots=True)
class Copy:
    """An answer, and the lease under which it is good."""

    lease: bytes
    answer: KeptAnswer

    @property
    def n_bytes(self) -> int:
        return len(self.answer.packed) + _OVERHEAD_BYTES


@dataclass(slots=True)
class Copies:
    """Copies by name, at most `most_bytes` in all. Whether one may be used is for the store to say: by its lease.

    State: the copies. Used from one event loop.
    """

    most_bytes: int
    ttl_s: int
    n_bytes: int = 0
    _held: OrderedDict[bytes, Copy] = field(default_factory=OrderedDict)
    _sweep_at_s: int = 0

    def get(self, name: bytes) -> Copy | None:
        """The copy of that name, which becomes the last to go."""
        found = self._held.get(name)
        if found is not None:
            self._held.move_to_end(name)
        return found

    def put(self, name: bytes, copy: Copy, now_s: int) -> None:
        """Hold a copy in place of the one of that name, if it fits at all."""
        self.drop(name)
        if copy.n_bytes > self.most_bytes:
            return
        self._held[name] = copy
        self.n_bytes += copy.n_bytes
        while self.n_bytes > self.most_bytes:
            self.drop(next(iter(self._held)))
        if now_s >= self._sweep_at_s:
            self._sweep(now_s)

    def drop(self, name: bytes) -> None:
        """Forget the copy of that name, if there is one."""
        gone = self._held.pop(name, None)
        self.n_bytes -= gone.n_bytes if gone else 0

    def _sweep(self, now_s: int) -> None:
        # Leases have ended by then; what was erased must not lie here until the space is wanted.
        self._sweep_at_s = now_s + max(self.ttl_s // _SWEEPS, 1)
        for name in [name for name, copy in self._held.items() if copy.answer.made_at_s + self.ttl_s <= now_s]:
            self.drop(name)
