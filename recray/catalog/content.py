"""What a title is like, as a vector: genres, people, places, language, decade, kind and plot, without any viewing.

Latent semantic analysis [Deerwester1990]: TF-IDF weights per field, fields weighted and joined, randomized
truncated SVD [Halko2011].
"""

import re
from collections import Counter
from collections.abc import Callable
from itertools import chain
from typing import Any, Final

import numpy as np
import pyarrow as pa
from scipy import sparse
from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS, TfidfVectorizer
from sklearn.utils.extmath import randomized_svd
from threadpoolctl import threadpool_limits

from recray.schema import Floats

_WORD: Final = re.compile(r"[^\W\d_]{3,}")
_N_CAST: Final = 10
"""Billed names beyond these are in too many scenes of too many titles to say what a title is like."""


def _plot(synopsis: str | None) -> list[str]:
    return [word for word in _WORD.findall((synopsis or "").casefold()) if word not in ENGLISH_STOP_WORDS]


def _one(value: object) -> list[str]:
    return [] if value is None else [str(value)]


def _several(values: list[str] | None) -> list[str]:
    return values or []


_FIELDS: Final[tuple[tuple[float, str, Callable[[Any], list[str]]], ...]] = (
    (1.0, "genres", _several),
    (0.5, "directors", _several),
    (0.5, "cast", lambda names: _several(names)[:_N_CAST]),
    (0.3, "countries", _several),
    (0.3, "original_language", _one),
    (0.4, "release_date", lambda date: _one(date and date.year // 10)),
    (0.6, "synopsis", _plot),
)
_KIND_WEIGHT: Final = 0.4
_NEGLIGIBLE: Final = 1e-6


def content_vectors(titles: pa.Table, dim: int, seed: int) -> Floats:
    """Content vectors [n, dim] float32 of unit length, so that their dot product is a cosine; the same for the same seed.

    Each field is a unit TF-IDF row times its weight, genres heaviest. A title that shares no word but its kind with another
    gets a zero row. Where the catalogue spans fewer than `dim` directions, the columns left over are zero.
    """
    # A column at a time: a million titles as Python rows would be gigabytes.
    blocks = [weight * _weighted([words(value) for value in titles[field].to_pylist()]) for weight, field, words in _FIELDS]
    known = np.any([np.diff(block.indptr) for block in blocks], axis=0)
    kinds = _KIND_WEIGHT * _weighted([_one(kind) for kind in titles["kind"].to_pylist()])
    matrix = sparse.hstack([*blocks, kinds], format="csr", dtype=np.float64)
    vectors = np.zeros((titles.num_rows, dim), np.float32)
    if known.any():
        reduced = _reduced(matrix[known], dim, seed)
        length = np.linalg.norm(reduced, axis=1, keepdims=True)
        vectors[known, : reduced.shape[1]] = np.where(length > _NEGLIGIBLE, reduced / np.maximum(length, _NEGLIGIBLE), 0)
    return vectors


def _weighted(documents: list[list[str]]) -> sparse.csr_array:
    """TF-IDF [n, n_words] of the words that several documents share, rows of unit length or zero.

    A word of one title makes it like no other; without those the matrix has a quarter of its columns.
    """
    n_titles = Counter(chain.from_iterable(map(set, documents)))
    shared = [[word for word in document if n_titles[word] > 1] for document in documents]
    if not any(shared):
        return sparse.csr_array((len(documents), 0))
    return sparse.csr_array(TfidfVectorizer(analyzer=list, sublinear_tf=True).fit_transform(shared))


def _reduced(matrix: sparse.csr_array, dim: int, seed: int) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """Coordinates [n, <= dim] along the strongest directions; directions of no strength are left out."""
    # One thread: many small steps lose more to waiting than they gain (0.4 s against 5 s for 8,807 titles on two busy
    # cores), and the sums do not depend on how many cores there are.
    with threadpool_limits(1):
        left, strength, _ = randomized_svd(matrix, min(dim, *matrix.shape), n_iter=5, random_state=seed)
    kept = strength > _NEGLIGIBLE * strength[0]
    return left[:, kept] * strength[kept]
