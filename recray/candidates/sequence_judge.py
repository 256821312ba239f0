"""How well a sequence model foretells validation titles while it is fitted, and which epoch's weights are kept."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from recray.candidates.history import first_of_each
from recray.candidates.sequence_model import Encoder, autocast, outputs
from recray.candidates.sequence_windows import Report, Windows
from recray.features.interactions import Interactions
from recray.schema import Longs
from recray.settings import SequenceSettings

_N_JUDGED: Final = 2_000
_BATCH: Final = 128
_CUTOFF: Final = 10


@dataclass(slots=True)
class Judge:
    """Next-title NDCG@10 at validation positions: true prefix as history, all titles ranked, those of the prefix excluded.

    `asked` are prefixes with the title that follows as their last.
    """

    asked: Windows

    @classmethod
    def of(cls, known: Interactions, validation: Interactions, max_length: int, rng: np.random.Generator) -> "Judge":
        """Draw up to 2,000 positions of `validation` that follow at least one watch; profile numbers are those of `known`."""
        joined = _joined(known, validation)
        kept = first_of_each(joined)
        fresh = np.concatenate((np.zeros(len(known), np.bool_), np.ones(len(validation), np.bool_)))
        fresh = fresh[_order(known, validation)][kept]
        joined = joined.where(kept)
        began = joined.bounds()[joined.profile]
        rows = np.flatnonzero(fresh & (np.arange(len(joined)) > began))
        rows = np.sort(rng.permutation(rows)[:_N_JUDGED])
        start = np.maximum(rows - max_length, began[rows])
        return cls(Windows(joined.item, joined.at_s, start, rows + 1 - start))

    @classmethod
    def within(cls, seen: Windows, rng: np.random.Generator) -> "Judge":
        """Ask for the last title of up to 2,000 of the windows."""
        chosen = np.sort(rng.permutation(seen.start.size)[:_N_JUDGED])
        return cls(Windows(seen.item, seen.at_s, seen.start[chosen], seen.length[chosen]))

    @torch.no_grad()
    def ndcg(self, encoder: Encoder) -> float:
        """Mean of 1 / log2(1 + rank) of the title watched next, 0 beyond rank 10; NaN without positions."""
        encoder.eval()
        table = encoder.table()
        padding, compared = encoder.titles.num_embeddings - 1, outputs(table).T
        gains = []
        for vectors, titles, target in self.asked_of(encoder, table, padding):
            scores = functional.pad(vectors @ compared, (0, 1)).scatter(1, titles, -torch.inf)[:, :-1]
            rank = 1 + (scores > scores.gather(1, target[:, None])).sum(dim=1)
            gains.append(torch.where(rank <= _CUTOFF, 1 / torch.log2(1.0 + rank), 0.0).cpu())
        return float(torch.cat(gains).mean()) if gains else float("nan")

    @torch.no_grad()
    def asked_of(self, encoder: Encoder, table: Tensor, padding: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Per batch: the vectors [B, dim] float32 after each prefix, the prefixes [B, L], what follows them [B]."""
        device = table.device
        order = np.argsort(self.asked.length, kind="stable")
        for start in range(0, order.size, _BATCH):
            chosen = order[start : start + _BATCH]
            batch = self.asked.batch(chosen, padding)
            titles = torch.from_numpy(batch.titles).to(device)
            last = torch.from_numpy(self.asked.length[chosen] - 2).to(device)
            rows = torch.arange(len(chosen), device=device)
            with autocast(device):
                vectors = encoder(titles, torch.from_numpy(batch.gaps).to(device), table)[rows, last]
            yield vectors.float(), titles, torch.from_numpy(batch.targets).to(device)[rows, last]


def _order(first: Interactions, second: Interactions) -> Longs:
    profile = np.concatenate((first.profile, second.profile))
    return np.lexsort((np.concatenate((first.at_s, second.at_s)), profile)).astype(np.int64)


def _joined(first: Interactions, second: Interactions) -> Interactions:
    order = _order(first, second)
    columns = ("profile", "item", "at_s", "weight", "rating", "progress", "region")
    joined = {name: np.concatenate((getattr(first, name), getattr(second, name)))[order] for name in columns}
    return Interactions(**joined, n_profiles=first.n_profiles, n_items=first.n_items)


def best_epoch(
    encoder: Encoder, epochs: Iterator[float], judge: Judge | None, config: SequenceSettings, report: Report
) -> None:
    """Train up to `epochs` epochs, or until validation has not improved for `patience`; keeps the best epoch's weights."""
    best, waited, weights = -1.0, 0, None
    for epoch, loss in zip(range(1, config.epochs + 1), epochs, strict=False):
        figures = {"epoch": float(epoch), "loss": loss}
        if judge is not None and judge.asked.length.size:
            ndcg = judge.ndcg(encoder)
            figures["ndcg@10"] = ndcg
            waited += 1
            if ndcg > best:
                best, waited, weights = ndcg, 0, copy.deepcopy(encoder.state_dict())
        report(figures)
        if waited >= config.patience:
            break
    if weights is not None:
        encoder.load_state_dict(weights)
