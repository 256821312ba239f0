"""The deep ranker's arithmetic at serving time, in NumPy: the first dense layer split, its item half computed beforehand.

`deep_network` computes the same function in torch for fitting; a test holds the two together. Serving needs no torch, which
saves each replica its import time and memory.
"""

from dataclasses import dataclass
from typing import Final, Self

import numpy as np

from recray.errors import ModelError
from recray.features.items import Items
from recray.features.vectorize import RankerInput, item_matrix
from recray.schema import Floats, Ints, Longs, Objective, Tensors

CLIP: Final = np.float32(5.0)
"""Standardised inputs are cut here: a rare flag must not shout louder than the layer was fitted to hear."""
_CHUNK: Final = 128
"""Candidates per matrix product. [128, 512] float32 stays in the second-level cache, and a fixed shape makes BLAS sum each row
in the same order wherever it stands, so that a batch gives bit for bit what its requests give one by one."""
_USER_CHUNK: Final = 8


def standardize(values: Floats, mean: Floats, scale: Floats) -> Floats:
    """(values - mean) / scale, cut at +-CLIP, float32."""
    return np.clip((values - mean) / scale, -CLIP, CLIP, dtype=np.float32)


@dataclass(frozen=True, slots=True)
class Kernel:
    """Arrays of one fitted network over one catalogue of n titles; read-only, so any number of threads may share it.

    `embedding` [n, d]; `item_half` [n, width] is what a title adds to the first layer, bias included; `first_user` and
    `first_match` are the other rows of the first layer; `layers` the (weight [in, out], bias [out]) of the later ones.
    """

    embedding: Floats
    attention: Floats
    decay: float
    user_mean: Floats
    user_scale: Floats
    match_mean: Floats
    match_scale: Floats
    item_half: Floats
    first_user: Floats
    first_match: Floats
    layers: tuple[tuple[Floats, Floats], ...]

    @classmethod
    def of(cls, tensors: Tensors, items: Items) -> Self:
        """Fold fitted tensors with the features of a catalogue; titles beyond the fitted table get the mean embedding.

        Raises:
            ModelError: a tensor is missing, or was fitted to other feature widths.
        """
        try:
            fitted: Floats = tensors["embedding"][: items.n]
            mean = tensors["embedding"].mean(axis=0, dtype=np.float64).astype(np.float32)
            embedding = np.concatenate((fitted, np.tile(mean, (items.n - len(fitted), 1))))
            features = standardize(item_matrix(items), tensors["item_mean"], tensors["item_scale"])
            first_item = tensors["first_item"]
            n_later = sum(name.startswith("weight_") for name in tensors)
            return cls(
                embedding,
                tensors["attention"],
                float(tensors["decay"]),
                tensors["user_mean"],
                tensors["user_scale"],
                tensors["match_mean"],
                tensors["match_scale"],
                np.concatenate((features, embedding), axis=1) @ first_item + tensors["first_bias"],
                tensors["first_user"],
                tensors["first_match"],
                tuple((tensors[f"weight_{i}"], tensors[f"bias_{i}"]) for i in range(n_later)),
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
        user_half = self._user_half(user)
        match = standardize(batch.match[request, candidate], self.match_mean, self.match_scale)
        number = batch.items[request, candidate]
        for start in range(0, len(request), _CHUNK):
            at = slice(start, start + _CHUNK)
            p[request[at], candidate[at]] = self._chunk(user_half, taste, request[at], match[at], number[at])
        return p

    def pool(self, history: Ints) -> Floats:
        """Taste [B, d] float32: embeddings of the history [B, H] weighed by recency and by learnt attention.

        weight(h) is the softmax over the known titles of e_h . attention - decay * log(1 + h), h counting from the newest.
        An empty history gives zeros. One request at a time, so that its neighbours in the batch cannot change a bit of it.
        """
        taste = np.zeros((len(history), self.embedding.shape[1]), np.float32)
        for row, titles in enumerate(history):
            place = np.flatnonzero((titles >= 0) & (titles < len(self.embedding)))
            if place.size:
                seen = self.embedding[titles[place]]
                logit = (seen * self.attention).sum(axis=1) - np.float32(self.decay) * np.log1p(place.astype(np.float32))
                weight = np.exp(logit - logit.max())
                taste[row] = (seen * (weight / weight.sum())[:, None]).sum(axis=0)
        return taste

    def _user_half(self, user: Floats) -> Floats:
        padded = np.zeros((-(-len(user) // _USER_CHUNK) * _USER_CHUNK, user.shape[1]), np.float32)
        padded[: len(user)] = user
        return np.concatenate(
            [padded[start : start + _USER_CHUNK] @ self.first_user for start in range(0, len(padded), _USER_CHUNK)]
        )

    def _chunk(self, user_half: Floats, taste: Floats, request: Longs, match: Floats, number: Ints) -> Floats:
        """Probabilities [n, n_objectives] of up to _CHUNK candidates."""
        n = len(request)
        matched = np.zeros((_CHUNK, len(self.first_match)), np.float32)
        matched[:n, :-1] = match
        matched[:n, -1] = (taste[request] * self.embedding[number]).sum(axis=1)
        hidden = matched @ self.first_match
        hidden[:n] += self.item_half[number]
        hidden[:n] += user_half[request]
        for weight, bias in self.layers:
            np.maximum(hidden, 0, out=hidden)
            hidden = hidden @ weight
            hidden += bias
        # exp overflows to infinity below -88, whose inverse is the zero that is meant
        with np.errstate(over="ignore"):
            return (1 / (1 + np.exp(-hidden[:n]))).astype(np.float32)
