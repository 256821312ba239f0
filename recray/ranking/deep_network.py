"""The deep ranker's network and loss in torch, for fitting. `deep_kernel` computes the same function for serving."""

from collections.abc import Iterable
from itertools import pairwise
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from recray.ranking.deep_kernel import CLIP
from recray.schema import Bools, Floats, Objective, Tensors
from recray.settings import DeepSettings

_EMBEDDING_SIGMA: Final = 0.02  # N(0, 1) drives softmax into denormals, which cost tenfold time on CPUs
_UNLIKELY: Final = -1e9
_IMPOSSIBLE: Final = -30.0  # as a logit
_NOT_SERVED: Final = ("item_features", "row")  # buffers that the kernel has from elsewhere, or does without

Statistics = dict[str, Floats]
"""`user`, `item`, `match` each with `_mean` and `_scale`: how inputs are standardised."""


class Network(nn.Module):
    """Logits of a flat list of R candidates that belong to b requests.

    The first layer is one dense layer on [user features | taste | item features | item embedding | match | taste . item],
    computed as a sum so that the user's part is computed once per request.

    Only titles in `seen` [n_items] bool have an embedding of their own: the optimizer pays for every row at each step, and of a
    million titles few are in the examples. The others share the last row, which nothing in the examples reads.
    """

    def __init__(self, item_features: Floats, statistics: Statistics, config: DeepSettings, seen: Bools) -> None:
        super().__init__()
        n_item, n_seen = item_features.shape[1], int(seen.sum())
        n_user, n_match = len(statistics["user_mean"]), len(statistics["match_mean"])
        dim = config.embedding_dim
        self.splits = [n_user + dim, n_item + dim, n_match + 1]
        self.embedding = nn.Embedding(n_seen + 1, dim)
        nn.init.normal_(self.embedding.weight, std=_EMBEDDING_SIGMA)
        row = np.full(len(seen), n_seen, np.int64)
        row[seen] = np.arange(n_seen)
        self.register_buffer("row", torch.from_numpy(row))
        self.attention = nn.Parameter(torch.zeros(dim))
        self.decay = nn.Parameter(torch.tensor(0.5))
        self.first = nn.Linear(sum(self.splits), config.hidden[0])
        sizes = (*config.hidden, len(Objective))
        self.later = nn.ModuleList(nn.Linear(into, out) for into, out in pairwise(sizes))
        self.dropout = nn.Dropout(config.dropout)
        for name, values in statistics.items():
            self.register_buffer(name, torch.from_numpy(values))
        self.register_buffer("item_features", torch.from_numpy(item_features))

    def _standardized(self, values: Tensor, entity: str) -> Tensor:
        mean, scale = self.get_buffer(f"{entity}_mean"), self.get_buffer(f"{entity}_scale")
        return ((values - mean) / scale).clamp(-float(CLIP), float(CLIP))

    def silence(self, objectives: Iterable[Objective]) -> None:
        """Let objectives of which nothing was learnt be as good as impossible, instead of noise."""
        last = self.later[-1]
        assert isinstance(last, nn.Linear)
        for objective in objectives:
            last.weight.data[objective] = 0
            last.bias.data[objective] = _IMPOSSIBLE

    def settle(self) -> None:
        """Give the titles outside `seen` the mean of the others, instead of noise."""
        table = self.embedding.weight.data
        table[-1] = table[:-1].mean(dim=0)

    def _embedded(self, numbers: Tensor) -> Tensor:
        found: Tensor = self.embedding(self.get_buffer("row")[numbers])
        return found

    def taste(self, history: Tensor) -> Tensor:
        """As `Kernel.pool`, for a batch."""
        known = (history >= 0) & (history < len(self.get_buffer("row")))
        seen = self._embedded(torch.where(known, history, 0))
        age = torch.arange(history.shape[1], device=history.device, dtype=seen.dtype)
        logits = (seen * self.attention).sum(dim=2) - self.decay * torch.log1p(age)
        weights = torch.softmax(logits.masked_fill(~known, _UNLIKELY), dim=1) * known
        return (weights[:, :, None] * seen).sum(dim=1)

    def forward(self, user: Tensor, match: Tensor, item: Tensor, history: Tensor, request: Tensor) -> Tensor:
        """Logits [R, n_objectives] from user [b, n_user], match [R, n_match], item [R], history [b, H], request [R]."""
        user_weight, item_weight, match_weight = torch.split(self.first.weight, self.splits, dim=1)
        taste, embedded = self.taste(history), self._embedded(item)
        fit = (taste[request] * embedded).sum(dim=1, keepdim=True)
        features = self._standardized(self.get_buffer("item_features")[item], "item")
        hidden = (
            functional.linear(torch.cat((self._standardized(user, "user"), taste), dim=1), user_weight)[request]
            + functional.linear(torch.cat((features, embedded), dim=1), item_weight, self.first.bias)
            + functional.linear(torch.cat((self._standardized(match, "match"), fit), dim=1), match_weight)
        )
        for layer in self.later:
            hidden = layer(self.dropout(functional.relu(hidden)))
        return hidden

    def tensors(self) -> Tensors:
        """What `Kernel.of` reads: the embedding has a row for every title of the catalogue."""
        self.settle()
        user, item, match = (part.detach().t() for part in torch.split(self.first.weight, self.splits, dim=1))
        found = {
            "embedding": self.embedding.weight[self.get_buffer("row")],
            "attention": self.attention,
            "decay": self.decay,
            "first_user": user,
            "first_item": item,
            "first_match": match,
            "first_bias": self.first.bias,
        }
        found |= {name: buffer for name, buffer in self.named_buffers() if name not in _NOT_SERVED}
        for number, layer in enumerate(self.later):
            assert isinstance(layer, nn.Linear)
            found |= {f"weight_{number}": layer.weight.detach().t(), f"bias_{number}": layer.bias}
        return {name: np.array(tensor.detach().cpu().numpy(), np.float32, order="C") for name, tensor in found.items()}


def loss(  # what a batch is made of, and one knob
    logits: Tensor, labels: Tensor, weight: Tensor, slot: Tensor, shape: tuple[int, int], listwise_weight: float
) -> Tensor:
    """The objective of fitting over logits and labels [R, n_objectives]; `slot` [R] is each candidate's place in `shape`.

    What a start adds to either loss counts `weight` [R] times: inverse propensity scoring [Joachims2017], [Ai2018].
    """
    known = ~torch.isnan(labels)
    each = functional.binary_cross_entropy_with_logits(logits, labels.nan_to_num(), reduction="none")
    counts = torch.ones_like(each)
    counts[:, Objective.START] = weight
    pointwise = ((each * known * counts).sum(dim=0) / known.sum(dim=0).clamp(min=1)).sum()
    start = known[:, Objective.START]
    place = slot[start]
    scores = logits.new_full((shape[0] * shape[1],), _UNLIKELY).scatter(0, place, logits[start, Objective.START])
    empty = logits.new_zeros(shape[0] * shape[1])
    started = labels[start, Objective.START]
    n_started = empty.scatter(0, place, started).view(shape).sum(dim=1)
    counted = empty.scatter(0, place, started * weight[start]).view(shape)
    per_request = -(counted * functional.log_softmax(scores.view(shape), dim=1)).sum(dim=1) / n_started.clamp(min=1)
    n_lists = (n_started > 0).sum().clamp(min=1)
    return pointwise + listwise_weight * per_request.sum() / n_lists
