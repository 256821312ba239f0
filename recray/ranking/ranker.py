"""What a ranker is."""

from typing import Any, ClassVar, Protocol, Self

from recray.features.items import Items
from recray.features.vectorize import RankerInput
from recray.schema import Floats


class Ranker(Protocol):
    """A model that gives each candidate one probability per objective.

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


Config = dict[str, Any]
