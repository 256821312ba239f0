"""How the deep ranker's network learns from examples: standardisation, batches, epochs, early stopping."""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from recray.features.items import Items
from recray.features.vectorize import item_matrix
from recray.ranking.deep_network import Network, Statistics, loss
from recray.ranking.ndcg import mean_ndcg, require_starts
from recray.ranking.ranker import Examples, Report
from recray.schema import Bools, Floats, Longs, Objective, Tensors
from recray.settings import DeepSettings

_PATIENCE: Final = 2  # epochs without a better validation NDCG before fitting stops
_N_MEASURED: Final = 20_000  # requests that statistics are measured on
_JUDGED_AT_ONCE: Final = 256
_MAX_NORM: Final = 5.0


@dataclass(frozen=True)
class Fitting:
    """What one fit is given besides its examples; `share` are the rows of the training ones that this process goes through."""

    share: Longs
    items: Items
    config: DeepSettings
    seed: int
    device: str
    wrap: Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class _Batch:
    """b requests as tensors: `inputs` are the arguments of the network, `slot` [R] each candidate's place in `shape`.

    `weight` [R] is what a start counts.
    """

    inputs: tuple[Tensor, Tensor, Tensor, Tensor, Tensor]
    labels: Tensor
    weight: Tensor
    slot: Tensor
    shape: tuple[int, int]


def _batch(examples: Examples, rows: Longs, device: str) -> _Batch:
    part = examples.take(rows)
    request, candidate = np.nonzero(part.inputs.items >= 0)
    width = part.inputs.items.shape[1]

    def tensor(values: np.ndarray[Any, Any]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).to(device)

    inputs = (
        tensor(part.inputs.user),
        tensor(part.inputs.match[request, candidate]),
        tensor(part.inputs.items[request, candidate].astype(np.int64)),
        tensor(part.inputs.history.astype(np.int64)),
        tensor(request),
    )
    labels, weight = (tensor(values[request, candidate]) for values in (part.labels, part.weight))
    return _Batch(inputs, labels, weight, tensor(request * width + candidate), (len(part), width))


def _measured(values: Floats) -> tuple[Floats, Floats]:
    mean, deviation = values.mean(axis=0, dtype=np.float64), values.std(axis=0, dtype=np.float64)
    return mean.astype(np.float32), np.where(deviation < 1e-4, 1.0, deviation).astype(np.float32)


def _statistics(train: Examples, item_features: Floats) -> Statistics:
    rows = np.unique(np.linspace(0, len(train) - 1, min(len(train), _N_MEASURED)).astype(np.int64))
    inputs = train.take(rows).inputs
    found: Statistics = {}
    columns = {"user": inputs.user, "item": item_features, "match": inputs.match[inputs.items >= 0]}
    for entity, values in columns.items():
        found[f"{entity}_mean"], found[f"{entity}_scale"] = _measured(values)
    return found


def _batches(rows: Longs, size: int, generator: np.random.Generator) -> Iterator[Longs]:
    order = generator.permutation(rows)
    for start in range(0, len(rows), size):
        yield np.sort(order[start : start + size])


def _judge(network: Network, validation: Examples, device: str) -> float:
    """Validation NDCG@10 of START, weighed as the examples are."""
    network.eval()
    network.settle()
    parts = []
    with torch.inference_mode():
        for start in range(0, len(validation), _JUDGED_AT_ONCE):
            batch = _batch(validation, np.arange(start, min(start + _JUDGED_AT_ONCE, len(validation))), device)
            scores = np.full(batch.shape, -np.inf, np.float32)
            scores.flat[batch.slot.cpu().numpy()] = network(*batch.inputs)[:, Objective.START].float().cpu().numpy()
            parts.append(scores)
    started = validation.labels[:, :, Objective.START]
    return mean_ndcg(np.concatenate(parts), started, weight=validation.weight) if parts else 0.0


def _epoch(
    parallel: Callable[..., Tensor],
    optimizer: torch.optim.Optimizer,
    train: Examples,
    fitting: Fitting,
    draws: np.random.Generator,
) -> float:
    """One pass over this process's share of the examples; the mean loss."""
    losses = []
    for rows in _batches(fitting.share, fitting.config.batch_size, draws):
        batch = _batch(train, rows, fitting.device)
        optimizer.zero_grad(set_to_none=True)
        logits, listwise_weight = parallel(*batch.inputs), fitting.config.listwise_weight
        found = loss(logits, batch.labels, batch.weight, batch.slot, batch.shape, listwise_weight)
        found.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        torch.nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], _MAX_NORM)
        optimizer.step()
        losses.append(found.detach())
    return float(torch.stack(losses).mean())


def _seen(train: Examples, n_items: int) -> Bools:
    seen = np.zeros(n_items, np.bool_)
    for numbers in (train.inputs.items, train.inputs.history):
        seen[numbers[(numbers >= 0) & (numbers < n_items)]] = True
    return seen


def fitted_tensors(fitting: Fitting, train: Examples, validation: Examples, report: Report) -> Tensors:
    """Tensors of the best epoch; see `deep.fit`."""
    require_starts(train, "training")
    require_starts(validation, "validation")
    features = item_matrix(fitting.items)
    with torch.random.fork_rng(devices=[torch.device(fitting.device)] if fitting.device.startswith("cuda") else []):
        torch.manual_seed(fitting.seed)
        seen = _seen(train, fitting.items.n)
        network = Network(features, _statistics(train, features), fitting.config, seen).to(fitting.device)
        parallel = fitting.wrap(network)
        optimizer = torch.optim.AdamW(
            network.parameters(), lr=fitting.config.learning_rate, weight_decay=fitting.config.weight_decay
        )
        draws = np.random.default_rng(fitting.seed)
        best, best_epoch, kept = -1.0, 0, network.state_dict()
        for epoch in range(1, fitting.config.epochs + 1):
            network.train()
            train_loss = _epoch(parallel, optimizer, train, fitting, draws)
            ndcg = _judge(network, validation, fitting.device)
            report({"epoch": float(epoch), "train_loss": train_loss, "ndcg": ndcg})
            if ndcg > best:
                best, best_epoch, kept = ndcg, epoch, copy.deepcopy(network.state_dict())
            elif epoch - best_epoch >= _PATIENCE:
                break
    network.load_state_dict(kept)
    network.silence(objective for objective in Objective if not np.isfinite(train.labels[:, :, objective]).any())
    return network.tensors()
