"""One epoch after another of the sequence model: full cross-entropy over every transition [Klenitskiy2023].

The learning rate rises over the first steps and then falls in a straight line to nothing at the last planned one.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

import numpy as np
import torch
from torch import Tensor

from recray.candidates.sequence_catalogue import new_title_offset, resumed, widened
from recray.candidates.sequence_judge import Judge, best_epoch
from recray.candidates.sequence_model import Encoder, autocast, outputs, product_type
from recray.candidates.sequence_windows import Report, Windows, windows
from recray.candidates.similar import seen_titles
from recray.features.interactions import Interactions
from recray.features.items import Items
from recray.schema import Longs, Tensors
from recray.settings import SequenceSettings

_LOGIT_CELLS: Final = {"cpu": 2_000_000, "cuda": 200_000_000}
"""Logits at a time: what stays in a processor's cache, or keeps a GPU busy."""
_BATCHES_PER_BUCKET: Final = 20
_WARM_UP: Final = 0.05
"""Share of all steps in which the learning rate rises."""


def fitted_tensors(
    interactions: Interactions,
    validation: Interactions | None,
    items: Items,
    config: SequenceSettings,
    run: tuple[int, str, Report],
    start: Tensors | None = None,
) -> Tensors:
    """The tensors of a `Sequence` fitted as `sequence.fit` promises; run = (seed, device, report), `start` a former fit's."""
    seed, device, report = run
    if start is not None:
        config = config.model_copy(update={"epochs": config.warm_epochs})
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
        if start is not None:
            resumed(encoder, start, watched, content)
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
    tensors = {name: weight.numpy() for name, weight in wide.state_dict().items()}
    # What content adds is in the titles' vectors; a fit that goes on from here tells the two apart by it.
    return tensors | {"about.weight": encoder.state_dict()["about.weight"].cpu().numpy(), "offset": offset}


def _among(interactions: Interactions, titles: Longs) -> Interactions:
    """The rows of `titles` [n] int64, ascending, numbered in their order."""
    kept = interactions.where(np.isin(interactions.item, titles))
    return replace(kept, item=np.searchsorted(titles, kept.item).astype(np.int32), n_items=titles.size)


def train(encoder: Encoder, seen: Windows, config: SequenceSettings, rng: np.random.Generator) -> Iterator[float]:
    """Go over every window once per step of the iterator, `epochs` times; yields the mean loss of the epoch in nats."""
    device = encoder.titles.weight.device
    padding = encoder.titles.num_embeddings - 1
    optimizer = torch.optim.Adam(encoder.parameters(), lr=config.learning_rate, betas=(0.9, 0.98), fused=True)
    n_steps = config.epochs * len(_batches(seen.length, config.batch_size, np.random.default_rng(0)))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, n_steps))
    for _ in range(config.epochs):
        encoder.train()
        total, n_targets = 0.0, 0
        for chosen in _batches(seen.length, config.batch_size, rng):
            batch = seen.batch(chosen, padding)
            target = torch.from_numpy(batch.targets).to(device)
            valid = target != padding
            optimizer.zero_grad(set_to_none=True)
            table = encoder.table(_own(encoder, config.title_dropout))
            with autocast(device):
                vectors = encoder(torch.from_numpy(batch.titles).to(device), torch.from_numpy(batch.gaps).to(device), table)
            total += _backward(vectors[valid], outputs(table), target[valid])
            n_targets += int(valid.sum())
            optimizer.step()
            schedule.step()
        yield total / max(n_targets, 1)


def _own(encoder: Encoder, share: float) -> Tensor | None:
    """1 for titles whose own vector counts in this step [n_items + 1, 1], 0 for the `share` that content alone stands for."""
    if encoder.about is None or not share:
        return None
    drawn = torch.rand((encoder.titles.num_embeddings, 1), device=encoder.titles.weight.device)
    return (drawn >= share).float()


def _rate(step: int, n_steps: int) -> float:
    """Share of the peak rate at a step, counted from 0."""
    rising = max(_WARM_UP * n_steps, 1.0)
    return min((step + 1) / rising, max(n_steps - step, 0) / max(n_steps - rising, 1.0), 1.0)


def _batches(length: Longs, batch_size: int, rng: np.random.Generator) -> list[Longs]:
    """Random batches of windows of nearly the same length, in random order."""
    shuffled = rng.permutation(length.size)
    batches = []
    for start in range(0, length.size, batch_size * _BATCHES_PER_BUCKET):
        bucket = shuffled[start : start + batch_size * _BATCHES_PER_BUCKET]
        bucket = bucket[np.argsort(length[bucket], kind="stable")]
        batches += [bucket[at : at + batch_size] for at in range(0, bucket.size, batch_size)]
    return [batches[number] for number in rng.permutation(len(batches))]


def _backward(vectors: Tensor, titles: Tensor, target: Tensor) -> float:
    """Summed cross-entropy over all titles; gradients of its mean are left in the parameters.

    Logits exist for a chunk of rows at a time, which stays in the cache, and become their own gradient: shares of the softmax
    less 1 at the target. They are of the type in which this device multiplies fastest; sums over rows are float32.
    """
    kind = product_type(vectors.device)
    held, table = vectors.detach().to(kind), titles.detach().to(kind)
    to_vectors, to_titles = torch.empty_like(held), torch.zeros_like(titles)
    height = max(_LOGIT_CELLS[held.device.type] // len(table), 1)
    total = torch.zeros((), device=held.device)
    for start in range(0, len(held), height):
        part = slice(start, start + height)
        share = torch.softmax(held[part] @ table.T, dim=1)
        row = torch.arange(len(share), device=held.device)
        own = share[row, target[part]].float()
        total -= own.clamp(min=torch.finfo(torch.float32).tiny).log().sum()
        share[row, target[part]] = (own - 1).to(kind)
        torch.mm(share, table, out=to_vectors[part])
        to_titles += share.T @ held[part]
    mean = max(len(held), 1)
    torch.autograd.backward((vectors, titles), ((to_vectors.float() / mean).to(vectors.dtype), to_titles / mean))
    return float(total)
