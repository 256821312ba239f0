"""The sequence model's encoder as it is served: compiled, weights folded, only what the last position needs.

One history at a time and without padding, so that a batch gives bit for bit what its requests give alone.
"""

import math
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np

from recray.candidates.sequence_windows import TEMPERATURE
from recray.features.compiled import compiled, held, inner_product
from recray.schema import Floats, Ints, Tensors

_EPSILON: Final = np.float32(1e-5)
_TINY: Final = np.float32(1e-12)
_TEMPERATURE: Final = np.float32(TEMPERATURE)
_LEAST: Final = np.float32(-87)
"""Below it exp is no normal number."""
_PER_LOG2: Final = np.float32(1 / math.log(2))
_LOG2_HIGH: Final = np.float32(0.693359375)
_LOG2_LOW: Final = np.float32(math.log(2) - 0.693359375)
_HALF_ROOT: Final = np.float32(math.sqrt(0.5))

_Weights = tuple[Floats, Floats, Floats, Floats, Floats, Floats, Floats, Floats, Floats, Floats, Floats]


@dataclass(frozen=True, slots=True, repr=False)
class LastVectors:
    """Vectors after the last title of histories: the last position of `Encoder.forward`, but for rounding.

    `weights` are those of every block [n_blocks, in, out] with their biases; what a block's norms scale and shift is part of
    the layer that follows them.
    """

    titles: Floats
    positions: Floats
    gaps: Floats
    weights: _Weights

    @classmethod
    def of(cls, tensors: Tensors) -> Self:
        """The weights of a fitted encoder, as its `state_dict` names them, folded.

        Raises:
            KeyError: one is missing.
        """
        titles = tensors["titles.weight"]
        gaps = tensors.get("gaps.weight", np.zeros((1, titles.shape[1]), np.float32))
        n_blocks = len({name.split(".")[1] for name in tensors if name.startswith("blocks.")})
        parts = [_folded(tensors, f"blocks.{number}.") for number in range(n_blocks)]
        weights: Any = tuple(held(np.stack(part), np.float32) for part in zip(*parts, strict=True))
        positions = tensors["positions.weight"]
        return cls(held(titles, np.float32), held(positions, np.float32), held(gaps, np.float32), weights)

    def __call__(self, history: Ints, gaps: Ints) -> Floats:
        """Vectors [B, dim] float32 of histories [B, L], newest first, padded anywhere; zeros for an empty one.

        L is at most the length that was fitted. `gaps` [B, L] are sizes of the time from each title to what follows it; zeros
        for a model without `request_time`.
        """
        vectors = np.zeros((len(history), self.titles.shape[1]), np.float32)
        read = held(history, np.int32), held(gaps, np.int32)
        _encode(read, (self.titles, self.positions, self.gaps), self.weights, vectors)
        return vectors


def _folded(tensors: Tensors, block: str) -> tuple[Floats, ...]:
    """The weights of the block whose names begin so, in the order of `LastVectors.weights`."""

    def after(norm: str, layer: str) -> tuple[Floats, Floats]:
        weight = tensors[f"{block}{layer}.weight"]
        scale, shift = tensors[f"{block}{norm}.weight"], tensors[f"{block}{norm}.bias"]
        return (weight * scale).T, weight @ shift + tensors[f"{block}{layer}.bias"]

    def plain(layer: str) -> tuple[Floats, Floats]:
        return tensors[f"{block}{layer}.weight"].T, tensors[f"{block}{layer}.bias"]

    return (
        *after("before_attention", "query"),
        *after("before_attention", "key_value"),
        *plain("joined"),
        *after("before_dense", "wider"),
        *plain("narrower"),
        tensors[f"{block}back.weight"].T,
    )


@compiled
def _exp(value: Any) -> Any:
    """Exp of a float32 to within two units in its last place, in steps that a processor takes for many values at once."""
    value = max(value, _LEAST)
    whole = np.floor(value * _PER_LOG2 + np.float32(0.5))
    rest = value - whole * _LOG2_HIGH - whole * _LOG2_LOW
    total = np.float32(1 / 5040)
    total = total * rest + np.float32(1 / 720)
    total = total * rest + np.float32(1 / 120)
    total = total * rest + np.float32(1 / 24)
    total = total * rest + np.float32(1 / 6)
    total = total * rest + np.float32(1 / 2)
    total = total * rest + np.float32(1)
    total = total * rest + np.float32(1)
    return total * np.int32((np.int32(whole) + np.int32(127)) << np.int32(23)).view(np.float32)


@compiled
def _gelu(values: Any) -> None:
    """X P(Z <= x) of every value, in place; the error function by [Abramowitz1964] 7.1.26, to within 1.5e-7."""
    for at in range(len(values)):
        x = values[at]
        size = abs(x)
        z = size * _HALF_ROOT
        t = np.float32(1) / (np.float32(1) + np.float32(0.3275911) * z)
        total = np.float32(1.061405429)
        total = total * t - np.float32(1.453152027)
        total = total * t + np.float32(1.421413741)
        total = total * t - np.float32(0.284496736)
        total = total * t + np.float32(0.254829592)
        values[at] = np.float32(0.5) * (x + size * (np.float32(1) - total * t * _exp(-z * z)))


@compiled
def _normalized(x: Any) -> Any:
    """Rows [L, dim] less their mean, over their deviation."""
    normed = np.empty_like(x)
    dim = x.shape[1]
    for row in range(len(x)):
        mean = np.float32(0)
        for column in range(dim):
            mean += x[row, column]
        mean /= np.float32(dim)
        square = np.float32(0)
        for column in range(dim):
            normed[row, column] = x[row, column] - mean
            square += normed[row, column] * normed[row, column]
        scale = np.float32(1) / np.sqrt(square / np.float32(dim) + _EPSILON)
        for column in range(dim):
            normed[row, column] *= scale
    return normed


@compiled
def _attended(query: Any, key_value: Any, bias: Any, first: int) -> Any:
    """What rows [n, dim] of queries, the first of which stands at position `first`, see of keys and values [L, 2 dim].

    `bias` [heads, max_length] is for each title by how far back it is.
    """
    heads = len(bias)
    n, dim = query.shape
    width = dim // heads
    scale = np.float32(1 / math.sqrt(width))
    seen = np.zeros((n, dim), np.float32)
    share = np.empty(len(key_value), np.float32)
    for row in range(n):
        there = first + row + 1
        for head in range(heads):
            at, value_at = head * width, dim + head * width
            largest = np.float32(-np.inf)
            for other in range(there):
                product = inner_product(query[row, at : at + width], key_value[other, at : at + width])
                share[other] = scale * product + bias[head, there - 1 - other]
                largest = max(largest, share[other])
            total = np.float32(0)
            for other in range(there):
                share[other] = _exp(share[other] - largest)
            for other in range(there):
                total += share[other]
            for other in range(there):
                weight = share[other] / total
                for column in range(width):
                    seen[row, at + column] += weight * key_value[other, value_at + column]
    return seen


@compiled
def _encode(
    read: tuple[Ints, Ints],
    inputs: tuple[Floats, Floats, Floats],
    weights: _Weights,
    vectors: Floats,
) -> None:
    """As `LastVectors.__call__`; read = (history, gaps)."""
    history, gaps = read
    titles, positions, after = inputs
    query_w, query_b, key_w, key_b, joined_w, joined_b, wider_w, wider_b, narrower_w, narrower_b, back = weights
    n_blocks = len(query_w)
    scale = np.float32(math.sqrt(titles.shape[1]))
    for row in range(len(history)):
        kept, gap = history[row][history[row] >= 0], gaps[row][history[row] >= 0]
        length = len(kept)
        if length == 0:
            continue
        x = np.empty((length, titles.shape[1]), np.float32)
        for place in range(length):
            newest = length - 1 - place
            x[place] = titles[kept[newest]] * scale + positions[place] + after[gap[newest]]
        for block in range(n_blocks):
            normed = _normalized(x)
            # Nothing reads the other positions of the last block.
            first = length - 1 if block == n_blocks - 1 else 0
            key_value = np.dot(normed, key_w[block]) + key_b[block]
            query = np.dot(normed[first:], query_w[block]) + query_b[block]
            x = x[first:] + (np.dot(_attended(query, key_value, back[block], first), joined_w[block]) + joined_b[block])
            wide = np.dot(_normalized(x), wider_w[block]) + wider_b[block]
            _gelu(wide.reshape(-1))
            x = x + (np.dot(wide, narrower_w[block]) + narrower_b[block])
        vectors[row] = x[-1] / max(np.sqrt(inner_product(x[-1], x[-1])) * _TEMPERATURE, _TINY)
