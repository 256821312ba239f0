"""The deep ranker's loops over candidates, compiled: what lies between its matrix products.

Rows are independent of one another and integers are summed exactly, so a batch gives bit for bit what its requests give alone.
"""

from typing import Any, Final

import numpy as np

from recray.features.compiled import compiled, inner_product
from recray.schema import Floats, Ints, Longs

LEVELS: Final = 127
"""Largest magnitude of a signed byte that its negative has too."""
_AT_ONCE: Final = 4
"""Features whose weights are added in one pass over a hidden layer."""


FirstLayer = tuple[tuple[Longs, Ints, Floats], tuple[Floats, Floats], tuple[Floats, Floats], Any]
"""What the first layer of n candidates of B requests over N titles is made of:

(request [n], title [n], match [n, n_match]), (user_half [B, width], taste [B, d]), (item_half [N, width], embedding [N, d]),
(weights [n_match + 1, width], mean [n_match], scale [n_match], clip).
"""


@compiled
def _absent(mean: Any, scale: Any, clip: Any) -> Any:
    """Match features of zero, standardised, and room for what a candidate adds: rows of the weights and their factors."""
    n = len(mean) + _AT_ONCE + 1
    absent = np.empty(len(mean), np.float32)
    for feature in range(len(mean)):
        absent[feature] = min(max(-mean[feature] / scale[feature], -clip), clip)
    return absent, np.empty(n, np.int64), np.empty(n, np.float32)


@compiled
def _sum(first: FirstLayer, place: int, scratch: Any, total: Any) -> None:
    """First layer of one candidate into `total` [width], before its rectifier."""
    (whose, titles, match), (user_half, taste), (item_half, embedding), (weights, mean, scale, clip) = first
    absent, rows, factors = scratch
    which, title = whose[place], titles[place]
    n = 0
    for feature in range(match.shape[1]):
        # `item_half` holds what absent features add, and most are absent: a source that did not propose the title.
        if match[place, feature] != 0:
            given = min(max((match[place, feature] - mean[feature]) / scale[feature], -clip), clip)
            rows[n], factors[n] = feature, given - absent[feature]
            n += 1
    rows[n], factors[n] = match.shape[1], inner_product(taste[which], embedding[title])
    rows[n + 1 : n + _AT_ONCE], factors[n + 1 : n + _AT_ONCE] = 0, 0
    for column in range(len(total)):
        total[column] = item_half[title, column] + user_half[which, column]
    for at in range(0, n + 1, _AT_ONCE):
        a, b, c, d = weights[rows[at]], weights[rows[at + 1]], weights[rows[at + 2]], weights[rows[at + 3]]
        p, q, r, s = factors[at], factors[at + 1], factors[at + 2], factors[at + 3]
        for column in range(len(total)):
            total[column] += (p * a[column] + q * b[column]) + (r * c[column] + s * d[column])


@compiled
def item_halves(inputs: Floats, weights: Floats, bias: Floats, halves: Floats) -> None:
    """What titles add to the first layer: inputs [m, n_in] times weights [n_in, width], plus bias [width], into [m, width]."""
    n_in = inputs.shape[1]
    for row in range(len(inputs)):
        for column in range(len(bias)):
            halves[row, column] = bias[column]
        for at in range(0, n_in - n_in % _AT_ONCE, _AT_ONCE):
            p, q, r, s = inputs[row, at], inputs[row, at + 1], inputs[row, at + 2], inputs[row, at + 3]
            a, b, c, d = weights[at], weights[at + 1], weights[at + 2], weights[at + 3]
            for column in range(len(bias)):
                halves[row, column] += (p * a[column] + q * b[column]) + (r * c[column] + s * d[column])
        for at in range(n_in - n_in % _AT_ONCE, n_in):
            for column in range(len(bias)):
                halves[row, column] += inputs[row, at] * weights[at, column]


@compiled
def pool(history: Ints, embedding: Floats, attention: tuple[Floats, Any], taste: Floats) -> None:
    """As `Kernel.pool`, into `taste` [B, d] of zeros; attention = (its vector [d], decay)."""
    towards, decay = attention
    weight = np.empty(history.shape[1], np.float32)
    for row in range(len(history)):
        highest = np.float32(-np.inf)
        for place in range(history.shape[1]):
            weight[place] = -np.inf
            if 0 <= history[row, place] < len(embedding):
                recency = decay * np.log1p(np.float32(place))
                weight[place] = inner_product(embedding[history[row, place]], towards) - recency
                highest = max(highest, weight[place])
        total = np.float32(0)
        for place in range(history.shape[1]):
            weight[place] = np.exp(weight[place] - highest) if weight[place] > -np.inf else np.float32(0)
            total += weight[place]
        for place in range(history.shape[1]):
            if weight[place] > 0:
                for column in range(taste.shape[1]):
                    taste[row, column] += weight[place] / total * embedding[history[row, place], column]


@compiled
def _quantize(values: Any, codes: Any) -> Any:
    """Positive values as bytes 0..LEVELS, negative ones as 0; returns what one step is worth."""
    # As integers the bits of positive floats order as they do, and integers are compared many at a time.
    bits = values.view(np.int32)
    largest = np.int32(0)
    for column in range(len(values)):
        largest = max(largest, bits[column])
    if largest == 0:
        codes[:] = 0
        return np.float32(0)
    step = np.int32(largest).view(np.float32) / np.float32(LEVELS)
    per_step = np.float32(1) / step
    for column in range(len(values)):
        codes[column] = np.int8(max(values[column], np.float32(0)) * per_step + np.float32(0.5))
    return step


@compiled
def first_layer(first: FirstLayer, hidden: Floats) -> None:
    """The first layer of n candidates [n, width] float32, before its rectifier."""
    scratch = _absent(first[3][1], first[3][2], first[3][3])
    for place in range(len(hidden)):
        _sum(first, place, scratch, hidden[place])


@compiled
def first_codes(first: FirstLayer, out: tuple[Any, Floats]) -> None:
    """As `first_layer`, then rectified and quantized: out = (codes [n, width] int8, step [n] float32)."""
    codes, step = out
    total, scratch = np.empty(codes.shape[1], np.float32), _absent(first[3][1], first[3][2], first[3][3])
    for place in range(len(codes)):
        _sum(first, place, scratch, total)
        step[place] = _quantize(total, codes[place])


@compiled
def next_codes(sums: Ints, step: Floats, layer: tuple[Floats, Floats], out: tuple[Any, Floats]) -> None:
    """Integer sums [n, width] of a layer = (weight_step, bias) [width] to its rectified, quantized values."""
    weight_step, bias = layer
    codes, out_step = out
    total = np.empty(codes.shape[1], np.float32)
    for place in range(len(sums)):
        for column in range(len(total)):
            total[column] = sums[place, column] * (step[place] * weight_step[column]) + bias[column]
        out_step[place] = _quantize(total, codes[place])


@compiled
def logits(sums: Ints, step: Floats, layer: tuple[Floats, Floats], last: tuple[Floats, Floats], out: Floats) -> None:
    """Integer sums [n, width] to the logits [n, n_objectives] of the last layer = (weight [n_objectives, width], bias)."""
    weight_step, bias = layer
    weight, last_bias = last
    total = np.empty(sums.shape[1], np.float32)
    for place in range(len(sums)):
        for column in range(len(total)):
            value = sums[place, column] * (step[place] * weight_step[column]) + bias[column]
            total[column] = max(value, np.float32(0))
        for objective in range(len(weight)):
            out[place, objective] = inner_product(total, weight[objective]) + last_bias[objective]
