"""The causal transformer over watch histories and its fitting: SASRec [Kang2018] with full cross-entropy [Klenitskiy2023]."""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from recray.candidates.history import first_of_each
from recray.features.interactions import Interactions
from recray.schema import Ints, Longs
from recray.settings import SequenceSettings

_SIGMA: Final = 0.02
"""Deviation of initial weights; larger ones make softmax gradients denormal, which is ten times slower on a CPU."""
_LOGIT_CELLS: Final = 2_000_000
_BATCHES_PER_BUCKET: Final = 20
_N_JUDGED: Final = 2_000
_CUTOFF: Final = 10

Report = Callable[[dict[str, float]], None]


class Block(nn.Module):
    """Pre-norm attention and feed-forward; attention itself has no dropout, which would cost the fast kernel."""

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.before_attention = nn.LayerNorm(dim)
        self.query = nn.Linear(dim, dim)
        self.key_value = nn.Linear(dim, 2 * dim)
        self.joined = nn.Linear(dim, dim)
        self.before_dense = nn.LayerNorm(dim)
        self.wider = nn.Linear(dim, 4 * dim)
        self.narrower = nn.Linear(4 * dim, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, L, dim] to the same."""
        n, length, dim = x.shape
        normed = self.before_attention(x)
        key, value = self.key_value(normed).view(n, length, 2, self.heads, -1).permute(2, 0, 3, 1, 4)
        query = self.query(normed).view(n, -1, self.heads, dim // self.heads).transpose(1, 2)
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + self.dropout(self.joined(mixed.transpose(1, 2).reshape(n, -1, dim)))
        return x + self.dropout(self.narrower(functional.gelu(self.wider(self.before_dense(x)))))


class Encoder(nn.Module):
    """Titles in watch order to one vector per position; title vectors are inputs and outputs at once."""

    def __init__(self, n_items: int, config: SequenceSettings, generator: torch.Generator) -> None:
        super().__init__()
        self.titles = nn.Embedding(n_items + 1, config.dim)  # the last row stands for padding
        self.positions = nn.Embedding(config.max_length, config.dim)
        self.blocks = nn.ModuleList(Block(config.dim, config.heads, config.dropout) for _ in range(config.blocks))
        self.norm = nn.LayerNorm(config.dim)
        self.dropout = nn.Dropout(config.dropout)
        for name, weight in self.named_parameters():
            if weight.dim() > 1:
                nn.init.normal_(weight, std=_SIGMA, generator=generator)
            elif name.endswith("bias"):
                nn.init.zeros_(weight)

    def forward(self, titles: Tensor) -> Tensor:
        """Vectors [B, L, dim] of histories [B, L], oldest first, padded at the end: padding never reaches what is before."""
        x = self._embedded(titles)
        for block in self.blocks:
            x = block(x)
        return self.norm(x)

    def _embedded(self, titles: Tensor) -> Tensor:
        scale = self.titles.embedding_dim**0.5
        place = torch.arange(titles.shape[1], device=titles.device)
        return self.dropout(self.titles(titles) * scale + self.positions(place))

    @property
    def outputs(self) -> Tensor:
        """Title vectors [n_items, dim] that scores are inner products with."""
        return self.titles.weight[:-1]


@dataclass(slots=True)
class Windows:
    """Stretches of histories in one flat array: window w is `item[start[w] : start[w] + length[w]]`, oldest first."""

    item: Ints
    start: Longs
    length: Longs

    def padded(self, chosen: Longs, padding: int) -> Longs:
        """Windows side by side [B, longest] int64."""
        place = np.arange(int(self.length[chosen].max()))
        inside = place < self.length[chosen, None]
        return np.where(inside, self.item[np.where(inside, self.start[chosen, None] + place, 0)], padding).astype(np.int64)


def windows(interactions: Interactions, max_length: int) -> Windows:
    """Cut histories, counted from their newest end, so that each transition between titles lies in exactly one window.

    A title counts when it is first watched: what is to be foretold is a start, and repeats are excluded when served.
    """
    kept = interactions.where(first_of_each(interactions))
    bounds = kept.bounds()
    n_windows = np.maximum(-(-(np.diff(bounds) - 1) // max_length), 0)
    whose = np.repeat(np.arange(kept.n_profiles), n_windows)
    back = np.arange(whose.size) - np.repeat(np.cumsum(n_windows) - n_windows, n_windows)
    end = bounds[whose + 1] - back * max_length
    start = np.maximum(end - max_length - 1, bounds[whose])
    return Windows(kept.item, start, end - start)


def train(encoder: Encoder, seen: Windows, config: SequenceSettings, rng: np.random.Generator) -> Iterator[float]:
    """Go over every window once per step of the iterator; yields the mean loss of the epoch in nats."""
    device = encoder.titles.weight.device
    padding = encoder.titles.num_embeddings - 1
    optimizer = torch.optim.Adam(encoder.parameters(), lr=config.learning_rate, betas=(0.9, 0.98))
    while True:
        encoder.train()
        total, n_targets = 0.0, 0
        for chosen in _batches(seen.length, config.batch_size, rng):
            padded = torch.from_numpy(seen.padded(chosen, padding)).to(device)
            target = padded[:, 1:]
            valid = target != padding
            optimizer.zero_grad(set_to_none=True)
            total += _backward(encoder(padded[:, :-1])[valid], encoder.outputs, target[valid])
            n_targets += int(valid.sum())
            optimizer.step()
        yield total / max(n_targets, 1)


def _batches(length: Longs, batch_size: int, rng: np.random.Generator) -> list[Longs]:
    """Random batches of windows of nearly the same length, in random order."""
    shuffled = rng.permutation(length.size)
    batches = []
    for start in range(0, length.size, batch_size * _BATCHES_PER_BUCKET):
        bucket = shuffled[start : start + batch_size * _BATCHES_PER_BUCKET]
        bucket = bucket[np.argsort(length[bucket], kind="stable")]
        batches += [bucket[at : at + batch_size] for at in range(0, bucket.size, batch_size)]
    return [batches[number] for number in rng.permutation(len(batches))]


def _backward(vectors: Tensor, outputs: Tensor, target: Tensor) -> float:
    """Summed cross-entropy over all titles; gradients of its mean are left in the parameters.

    Logits exist for a chunk of rows at a time, small enough for the allocator to use the same memory again.
    """
    held, table = vectors.detach().requires_grad_(), outputs.detach().requires_grad_()
    height = max(_LOGIT_CELLS // len(table), 1)
    total = 0.0
    for start in range(0, len(held), height):
        part = slice(start, start + height)
        loss = functional.cross_entropy(held[part] @ table.T, target[part], reduction="sum")
        (loss / len(held)).backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        total += loss.item()
    torch.autograd.backward((vectors, outputs), (held.grad, table.grad))
    return total


@dataclass(slots=True)
class Judge:
    """Next-title NDCG@10 at validation positions: true prefix as history, all titles ranked, those of the prefix excluded."""

    prefixes: Windows
    targets: Longs
    n_items: int

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
        return cls(Windows(joined.item, start, rows - start), joined.item[rows].astype(np.int64), joined.n_items)

    @torch.no_grad()
    def ndcg(self, encoder: Encoder) -> float:
        """Mean of 1 / log2(1 + rank) of the title watched next, 0 beyond rank 10; NaN without positions."""
        encoder.eval()
        device, gains = encoder.titles.weight.device, []
        padding = encoder.titles.num_embeddings - 1
        order = np.argsort(self.prefixes.length, kind="stable")
        for start in range(0, order.size, 256):
            chosen = order[start : start + 256]
            titles = torch.from_numpy(self.prefixes.padded(chosen, padding)).to(device)
            length = torch.from_numpy(self.prefixes.length[chosen]).to(device)
            vectors = encoder(titles)[torch.arange(len(chosen), device=device), length - 1]
            scores = functional.pad(vectors @ encoder.outputs.T, (0, 1)).scatter(1, titles, -torch.inf)[:, :-1]
            target = torch.from_numpy(self.targets[chosen]).to(device)[:, None]
            rank = 1 + (scores > scores.gather(1, target)).sum(dim=1)
            gains.append(torch.where(rank <= _CUTOFF, 1 / torch.log2(1.0 + rank), 0.0).cpu())
        return float(torch.cat(gains).mean()) if gains else float("nan")


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
        if judge is not None and judge.targets.size:
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
