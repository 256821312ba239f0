"""What a viewer is likely to start next, given the order of what was watched."""

from functools import cached_property
from typing import Any, ClassVar, Final, Self

import numpy as np

from recray.candidates.clusters import ClusteredTable, table_of
from recray.candidates.dense import DenseTable
from recray.candidates.history import newest
from recray.candidates.sequence_serving import LastVectors
from recray.candidates.sequence_windows import N_GAPS, Report, gap_size
from recray.candidates.source import Ask, nothing
from recray.features.interactions import Interactions
from recray.features.items import Items
from recray.schema import Floats, Ints, Retrieved, Tensors
from recray.settings import SequenceSettings

_TINY: Final = np.float32(1e-12)


class Sequence:
    """Serves a fitted `Encoder` by its tensors, without torch; titles that came after the fit are never proposed."""

    name: ClassVar[str] = "sequence"

    def __init__(self, tensors: Tensors, config: SequenceSettings) -> None:
        """Take the tensors of the encoder's `state_dict`, float32, and the settings it was fitted with.

        The encoder is of the whole catalogue; `offset` [n_items] is added to each title's score, -inf is never proposed.
        """
        self._tensors = tensors
        self._config = config
        self._last = LastVectors.of(tensors)

    @cached_property
    def _table(self) -> DenseTable | ClusteredTable:
        """Built when first asked, which the process of a fit never is."""
        return table_of(_outputs(self._tensors["titles.weight"]), self._tensors["offset"])

    def retrieve(self, ask: Ask, k: int) -> Retrieved:
        """The best k eligible titles to follow the newest `max_length` of each history; nothing for an empty one."""
        history = newest(ask, self._config.max_length, len(self._tensors["offset"]))
        length = (history >= 0).sum(axis=1)
        if not length.any():
            return nothing(len(history))
        return self._table.best(self._last(history, self._gaps(ask)), length > 0, ask.eligible, k)

    def _gaps(self, ask: Ask) -> Ints:
        """Sizes of the time from each title to the next one, and from the newest to the request [B, max_length] int32."""
        if not self._config.request_time:
            return np.zeros((ask.profiles.n, self._config.max_length), np.int32)
        at_s = ask.profiles.history_at_s[:, : self._config.max_length]
        return gap_size(-np.diff(at_s, axis=1, prepend=ask.requests.now_s[:, None]))

    def tensors(self) -> Tensors:
        return self._tensors

    def config(self) -> dict[str, Any]:
        return self._config.model_dump(mode="json")

    @classmethod
    def restore(cls, tensors: Tensors, config: dict[str, Any], items: Items) -> Self:
        settings = SequenceSettings.model_validate(config)
        expected = {
            "titles.weight": (len(tensors["offset"]) + 1, settings.dim),
            "positions.weight": (settings.max_length, settings.dim),
            **{f"blocks.{number}.back.weight": (settings.max_length, settings.heads) for number in range(settings.blocks)},
            **({"gaps.weight": (N_GAPS, settings.dim)} if settings.request_time else {}),
        }
        # Compiled code reads beyond the end of an array that is too small.
        if wrong := {name: tensors[name].shape for name, shape in expected.items() if tensors[name].shape != shape}:
            raise ValueError(f"sequence model has tensors of shapes {wrong}; its settings make them {expected}")
        return cls(tensors, settings)


def _outputs(titles: Floats) -> Floats:
    """Title vectors [n_items, dim] of length 1 that scores are inner products with; the last row stands for padding."""
    length = np.linalg.norm(titles[:-1], axis=1, keepdims=True)
    return titles[:-1] / np.maximum(length, _TINY)


def fit(  # noqa: PLR0913  # plain fitting takes all of a run from its caller, by name
    interactions: Interactions,
    items: Items,
    config: SequenceSettings,
    *,
    seed: int,
    device: str = "cpu",
    report: Report = lambda figures: None,
    validation: Interactions | None = None,
    start: Sequence | None = None,
) -> Sequence:
    """Train on every transition of every history; reports each epoch's `loss` in nats and, with `validation`, `ndcg@10`.

    `validation` continues `interactions` in time, with the same profile and title numbers; it decides when to stop and is
    never trained on. Weights, order and dropout follow from `seed` alone on one kind of device. The model is fitted to the
    titles that anyone watched; for the others see `sequence_catalogue`. `start`, a former fit with the same settings to fewer
    events of the same catalogue, is gone on from: for `warm_epochs` instead of `epochs`.
    """
    # torch takes seconds and hundreds of megabytes to import; serving a fitted encoder needs none of it.
    from recray.candidates.sequence_training import fitted_tensors

    former = None if start is None else start.tensors()
    return Sequence(fitted_tensors(interactions, validation, items, config, (seed, device, report), former), config)
