"""What a viewer is likely to start next, given the order of what was watched."""

from dataclasses import replace
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
import torch

from recray.candidates.clusters import ClusteredTable, table_of
from recray.candidates.dense import DenseTable
from recray.candidates.history import newest
from recray.candidates.sequence_catalogue import new_title_offset, widened
from recray.candidates.sequence_judge import Judge, Report, best_epoch
from recray.candidates.sequence_model import Encoder, outputs
from recray.candidates.sequence_serving import LastVectors
from recray.candidates.sequence_training import train
from recray.candidates.sequence_windows import gap_size, windows
from recray.candidates.similar import seen_titles
from recray.candidates.source import Ask, nothing
from recray.features.interactions import Interactions
from recray.features.items import Items
from recray.schema import Floats, Ints, Longs, Retrieved, Tensors
from recray.settings import SequenceSettings


class Sequence:
    """Serves a fitted `Encoder` on the CPU; titles that came into the catalogue after the fit are never proposed."""

    name: ClassVar[str] = "sequence"

    def __init__(self, encoder: Encoder, offset: Floats, config: SequenceSettings) -> None:
        """Take an encoder of the whole catalogue and what is added to each title's score [n_items]; -inf is never proposed."""
        self._encoder = encoder.cpu().eval().requires_grad_(requires_grad=False)
        self._offset = offset
        self._config = config
        self._last = LastVectors.of(self._encoder)

    @cached_property
    def _table(self) -> DenseTable | ClusteredTable:
        """Built when first asked, which the process of a fit never is."""
        return table_of(outputs(self._encoder.table()).numpy(), self._offset)

    def retrieve(self, ask: Ask, k: int) -> Retrieved:
        """The best k eligible titles to follow the newest `max_length` of each history; nothing for an empty one."""
        history = newest(ask, self._config.max_length, len(self._offset))
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
        return {name: weight.numpy() for name, weight in self._encoder.state_dict().items()} | {"offset": self._offset}

    def config(self) -> dict[str, Any]:
        return self._config.model_dump(mode="json")

    @classmethod
    def restore(cls, tensors: Tensors, config: dict[str, Any], items: Items) -> Self:
        settings = SequenceSettings.model_validate(config)
        encoder = Encoder(len(tensors["titles.weight"]) - 1, settings, torch.Generator())
        weights = {name: torch.from_numpy(np.array(weight)) for name, weight in tensors.items() if name != "offset"}
        encoder.load_state_dict(weights)
        return cls(encoder, tensors["offset"], settings)


def fit(  # noqa: PLR0913  # plain fitting takes all of a run from its caller, by name
    interactions: Interactions,
    items: Items,
    config: SequenceSettings,
    *,
    seed: int,
    device: str = "cpu",
    report: Report = lambda figures: None,
    validation: Interactions | None = None,
) -> Sequence:
    """Train on every transition of every history; reports each epoch's `loss` in nats and, with `validation`, `ndcg@10`.

    `validation` continues `interactions` in time, with the same profile and title numbers; it decides when to stop and is
    never trained on. Weights, order and dropout follow from `seed` alone on one kind of device. The model is fitted to the
    titles that anyone watched; for the others see `sequence_catalogue`.
    """
    rng = np.random.default_rng(seed)
    watched = seen_titles(interactions)
    known = _among(interactions, watched)
    later = None if validation is None else _among(validation, watched)
    seen = windows(known, config.max_length)
    judge = None if later is None else Judge.of(known, later, config.max_length, rng)
    content = torch.from_numpy(items.content[watched]).to(device)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        encoder = Encoder(watched.size, config, torch.Generator().manual_seed(seed), content).to(device)
        if seen.start.size:
            best_epoch(encoder, train(encoder, seen, config, rng), judge, config, report)
    wide, unknown = widened(encoder, watched, items, config)
    offset = np.where(unknown, -np.inf, 0).astype(np.float32)
    new = ~unknown
    new[watched] = False
    if validation is None:
        asked = Judge.within(windows(interactions, config.max_length), rng)
    else:
        asked = Judge.of(interactions, validation, config.max_length, rng)
    offset[new] = new_title_offset(wide, asked, new, config.new_share)
    return Sequence(wide, offset, config)


def _among(interactions: Interactions, titles: Longs) -> Interactions:
    """The rows of `titles` [n] int64, ascending, numbered in their order."""
    kept = interactions.where(np.isin(interactions.item, titles))
    return replace(kept, item=np.searchsorted(titles, kept.item).astype(np.int32), n_items=titles.size)
