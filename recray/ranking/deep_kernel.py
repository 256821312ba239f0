"""The deep ranker's arithmetic at serving time: the first dense layer split, its item half computed beforehand.

`deep_network` computes the same function in torch for fitting; a test holds the two together. The layers after the first
run on signed bytes where the processor multiplies those in one step (VNNI, AMX), which takes a quarter of the time of
float32, and on float32 elsewhere; what is judged offline is what is served, for both run this code.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal, Self

import numpy as np
from llvmlite.binding import get_host_cpu_features

from recray.errors import ModelError
from recray.features.compiled import held
from recray.features.items import Items
from recray.features.vectorize import RankerInput, item_matrix
from recray.ranking import deep_loops
from recray.ranking.deep_loops import FirstLayer
from recray.schema import Floats, Ints, Longs, Objective, Tensors

CLIP: Final = np.float32(5.0)
"""Standardised inputs are cut here: a rare flag must not shout louder than the layer was fitted to hear."""
_AT_ONCE: Final = 512
"""Candidates of several requests per matrix product: their hidden values stay in the second-level cache."""
MOST_HELD: Final = 150_000
"""Titles whose halves are held: of 512 float32 each, 300 MB."""
_USER_CHUNK: Final = 8
"""Rows of a product over users. So few BLAS sums in the same order wherever they stand; of more it may not (AVX2 kernels)."""
Precision = Literal["auto", "float32", "int8"]
_Layer = tuple[Floats, Floats]


def standardize(values: Floats, mean: Floats, scale: Floats) -> Floats:
    """(values - mean) / scale, cut at +-CLIP, float32."""
    return np.clip((values - mean) / scale, -CLIP, CLIP, dtype=np.float32)


def multiplies_bytes() -> bool:
    """Whether this processor has instructions for products of bytes."""
    return bool(get_host_cpu_features().get("avx512vnni", False))  # numba's compiler is asked: torch takes seconds to import


@dataclass(frozen=True, slots=True)
class Float32Layers:
    """The layers after the first, as (weight [in, out], bias [out]) each."""

    layers: tuple[_Layer, ...]

    def logits(self, first: FirstLayer, n: int, width: int) -> Floats:
        """Logits [n, n_objectives] of candidates."""
        hidden = np.empty((n, width), np.float32)
        deep_loops.first_layer(first, hidden)
        out = np.empty((n, self.layers[-1][0].shape[1]), np.float32)
        # A product per request: BLAS sums a row by where it stands and how many there are, which must not depend on the batch.
        for own in _together(first[0][0], 0):
            values = hidden[own]
            for weight, bias in self.layers:
                values = np.maximum(values, 0) @ weight
                values += bias
            out[own] = values
        return out


@dataclass(frozen=True, slots=True)
class Int8Layers:
    """The layers between the first and the last on bytes: a step per output column, and one per candidate for its values.

    `weights` are torch tensors [in, out] int8, `steps` their (step, bias) [out]; `last` is (weight [n_objectives, in], bias).
    """

    weights: tuple[Any, ...]
    steps: tuple[_Layer, ...]
    last: _Layer
    multiply: Callable[[Any, Any], Any]

    @classmethod
    def of(cls, layers: tuple[_Layer, ...]) -> Self:
        """Round the weights to the nearest of 255 levels of their output column."""
        import torch

        weights, steps = [], []
        for weight, bias in layers[:-1]:
            step = np.maximum(np.abs(weight).max(axis=0), 1e-12).astype(np.float32) / np.float32(deep_loops.LEVELS)
            codes = np.ascontiguousarray(np.rint(weight / step).astype(np.int8).T)
            weights.append(torch.from_numpy(codes).t())
            steps.append((step, held(bias, np.float32)))
        last = held(layers[-1][0].T, np.float32), held(layers[-1][1], np.float32)

        def multiply(codes: Any, weight: Any) -> Any:
            return torch._int_mm(torch.from_numpy(codes), weight).numpy()  # what torch's own quantization calls

        return cls(tuple(weights), tuple(steps), last, multiply)

    def logits(self, first: FirstLayer, n: int, width: int) -> Floats:
        """As `Float32Layers.logits`."""
        codes, step = np.empty((n, width), np.int8), np.empty(n, np.float32)
        deep_loops.first_codes(first, (codes, step))
        for number, weight in enumerate(self.weights[:-1]):
            sums = self.multiply(codes, weight)
            codes, given = np.empty(sums.shape, np.int8), step
            step = np.empty(n, np.float32)
            deep_loops.next_codes(sums, given, self.steps[number], (codes, step))
        out = np.empty((n, len(self.last[0])), np.float32)
        deep_loops.logits(self.multiply(codes, self.weights[-1]), step, self.steps[-1], self.last, out)
        return out


@dataclass(frozen=True, slots=True)
class ItemHalves:
    """What titles add to the first layer, bias and absent match features included.

    Held for a catalogue of up to MOST_HELD titles; of a larger one, of which it would take gigabytes, made for the titles of
    each batch out of `inputs` [n, n_in], the standardised features and the embedding of each title.
    """

    held: Floats | None
    inputs: Floats
    weights: Floats
    bias: Floats

    @classmethod
    def of(cls, inputs: Floats, weights: Floats, bias: Floats) -> Self:
        """Take `inputs` [n, n_in], `weights` [n_in, width] and `bias` [width]."""
        given = held(inputs, np.float32), held(weights, np.float32), held(bias, np.float32)
        if len(inputs) > MOST_HELD:
            return cls(None, *given)
        return cls(held(inputs @ weights + bias, np.float32), given[0][:0], *given[1:])

    def about(self, titles: Ints, embedding: Floats) -> tuple[Ints, Floats, Floats]:
        """Rows [R] int32 of the titles [R] in a table of halves [m, width] and in one of embeddings [m, d], and both tables."""
        if self.held is not None:
            return titles, self.held, embedding
        distinct, row = np.unique(titles, return_inverse=True)
        halves = np.empty((distinct.size, len(self.bias)), np.float32)
        deep_loops.item_halves(held(self.inputs[distinct], np.float32), self.weights, self.bias, halves)
        return held(row, np.int32), halves, held(embedding[distinct], np.float32)


@dataclass(frozen=True, slots=True)
class Kernel:
    """Arrays of one fitted network over one catalogue of n titles; read-only, so any number of threads may share it.

    `embedding` [n, d]; `first_user` and `first_match` are the rows of the first layer beside those of titles; `layers` are
    the later ones.
    """

    embedding: Floats
    attention: Floats
    decay: float
    user_mean: Floats
    user_scale: Floats
    match_mean: Floats
    match_scale: Floats
    item_halves: ItemHalves
    first_user: Floats
    first_match: Floats
    layers: Float32Layers | Int8Layers

    @classmethod
    def of(cls, tensors: Tensors, items: Items, precision: Precision = "auto") -> Self:
        """Fold fitted tensors with the features of a catalogue; titles beyond the fitted table get the mean embedding.

        Raises:
            ModelError: a tensor is missing, or was fitted to other feature widths.
        """
        try:
            fitted: Floats = tensors["embedding"][: items.n]
            mean = tensors["embedding"].mean(axis=0, dtype=np.float64).astype(np.float32)
            embedding = np.concatenate((fitted, np.tile(mean, (items.n - len(fitted), 1))))
            features = standardize(item_matrix(items), tensors["item_mean"], tensors["item_scale"])
            absent = standardize(np.zeros_like(tensors["match_mean"]), tensors["match_mean"], tensors["match_scale"])
            bias = tensors["first_bias"] + absent @ tensors["first_match"][:-1]
            halves = ItemHalves.of(np.concatenate((features, embedding), axis=1), tensors["first_item"], bias)
            n_later = sum(name.startswith("weight_") for name in tensors)
            layers = tuple((tensors[f"weight_{i}"], tensors[f"bias_{i}"]) for i in range(n_later))
            return cls(
                held(embedding, np.float32),
                tensors["attention"],
                float(tensors["decay"]),
                tensors["user_mean"],
                tensors["user_scale"],
                held(tensors["match_mean"], np.float32),
                held(tensors["match_scale"], np.float32),
                halves,
                tensors["first_user"],
                held(tensors["first_match"], np.float32),
                _layers(layers, precision),
            )
        except (KeyError, ValueError, IndexError) as problem:
            raise ModelError(f"deep ranker's tensors do not fit this code: {problem}; train it anew") from problem

    def predict(self, batch: RankerInput) -> Floats:
        """Probabilities [B, K, n_objectives] float32; rows of padding are zero."""
        p = np.zeros((*batch.items.shape, len(Objective)), np.float32)
        request, candidate = np.nonzero(batch.items >= 0)
        if not request.size:
            return p
        taste = self.pool(batch.history)
        user = np.concatenate((standardize(batch.user, self.user_mean, self.user_scale), taste), axis=1)
        about = self._user_half(user), taste
        match = held(batch.match[request, candidate], np.float32)
        number = held(batch.items[request, candidate], np.int32)
        first = self.first_match, self.match_mean, self.match_scale, CLIP
        for at in _together(request, _AT_ONCE):
            titles, halves, embedding = self.item_halves.about(number[at], self.embedding)
            given = (request[at], titles, match[at]), about, (halves, embedding), first
            logits = self.layers.logits(given, len(titles), halves.shape[1])
            # exp overflows to infinity below -88, whose inverse is the zero that is meant
            with np.errstate(over="ignore"):
                p[request[at], candidate[at]] = 1 / (1 + np.exp(-logits))
        return p

    def pool(self, history: Ints) -> Floats:
        """Taste [B, d] float32: embeddings of the history [B, H] weighed by recency and by learnt attention.

        weight(h) is the softmax over the known titles of e_h . attention - decay * log(1 + h), h counting from the newest.
        An empty history gives zeros. One request at a time, so that its neighbours in the batch cannot change a bit of it.
        """
        taste = np.zeros((len(history), self.embedding.shape[1]), np.float32)
        attention = held(self.attention, np.float32), np.float32(self.decay)
        deep_loops.pool(held(history, np.int32), self.embedding, attention, taste)
        return taste

    def _user_half(self, user: Floats) -> Floats:
        padded = np.zeros((-(-len(user) // _USER_CHUNK) * _USER_CHUNK, user.shape[1]), np.float32)
        padded[: len(user)] = user
        return np.concatenate(
            [padded[start : start + _USER_CHUNK] @ self.first_user for start in range(0, len(padded), _USER_CHUNK)]
        )


def _together(request: Longs, most: int) -> Iterator[slice]:
    """Slices of candidates, whose requests [n] ascend, that hold whole requests: as many as come to `most`, or one."""
    ends = np.flatnonzero(np.diff(request, append=-1)) + 1
    start = 0
    for place, end in enumerate(ends):
        if place + 1 == len(ends) or ends[place + 1] - start > most:
            yield slice(start, int(end))
            start = int(end)


def _layers(layers: tuple[_Layer, ...], precision: Precision) -> Float32Layers | Int8Layers:
    """A network of one hidden layer has nothing between its first and its last, and stays in float32."""
    if precision == "int8" or (precision == "auto" and len(layers) > 1 and multiplies_bytes()):
        return Int8Layers.of(layers)
    return Float32Layers(layers)
