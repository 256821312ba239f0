"""What a ranker is."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Protocol, Self

from recray.features.items import Items
from recray.features.vectorize import RankerInput
from recray.schema import Floats, Longs


class Ranker(Protocol):
    """A model that gives each candidate one probability per objective: of a start, and of what may follow given a start.

    `predict` returns p [B, K, n_objectives] float32 in [0, 1], columns as `schema.Objective`; rows of padding (NO_ITEM) are
    zero. It is deterministic, and a batch gives what its requests give one by one. Item features come from the `items` a
    ranker was restored with, once, by title number. A title number beyond `items` never arrives here.
    """

    name: ClassVar[str]

    def predict(self, batch: RankerInput) -> Floats: ...

    def files(self) -> dict[str, bytes]:
        """File name -> content, enough to restore the ranker: `.safetensors`, `.ubj` and `.json`, never pickle."""
        ...

    @classmethod
    def restore(cls, files: dict[str, bytes], items: Items) -> Self: ...


@dataclass(slots=True)
class Examples:
    """Ranker examples of N requests: what was known and proposed then, and what happened next.

    `labels` [N, K, n_objectives] float32: 1 or 0 per candidate and objective of `schema.Objective`, NaN where the outcome is
    not known (completion and dislike of a title never started). Padding (NO_ITEM) has NaN throughout. `at_s` [N] int64.
    `weight` [N, K] float32 is what a start counts: more than 1 where the title stood at a place that is seldom looked at, and 1
    for everything that was not started.
    """

    inputs: RankerInput
    labels: Floats
    at_s: Longs
    weight: Floats

    def __len__(self) -> int:
        return len(self.at_s)

    def take(self, rows: Longs) -> "Examples":
        """Select requests by position, in the order given."""
        return Examples(self.inputs.take(rows), self.labels[rows], self.at_s[rows], self.weight[rows])


Report = Callable[[dict[str, float]], None]
"""Called by fitting functions once per epoch or round with named figures."""
