"""Which titles a viewer's typed words mean: whole words, beginnings of words, words with typing errors.

Each word of the query is matched to words of the catalogue; shared groups of letters name the misspelt ones. It knows nothing
of taste: rankers order what it finds.
"""

import re
import unicodedata
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import pairwise
from typing import Any, Final, Self

import numpy as np
import pyarrow as pa
from scipy import sparse

from recray.schema import Bools, Floats, Ints, Longs

THRESHOLD: Final = 0.25
"""Lowest score (0..1) of a title that matches at all."""
_NAME_SHARE: Final = 0.2
"""How much of a score is the share of its own name that a title is asked by: The Matrix before its sequels."""
_NAME: Final = 1.0
_JOINED: Final = 0.95
_SECONDARY: Final = 0.5
"""What a word counts for a title where it stands: in a name, as two words of a name in one, elsewhere."""
_WHOLE: Final = 1.0
_PREFIX: Final = 0.9
_TYPO: Final = 0.8
"""How like a word is to itself, to one that almost begins with it, and to one that it almost is."""
_MIN_LIKENESS: Final = 0.72  # one wrong letter in four is 0.75
_MIN_TYPO_LENGTH: Final = 4
_MIN_OVERLAP: Final = 0.25
_N_LOOKALIKES: Final = 24
_MAX_QUERY: Final = 100
_MAX_WORDS: Final = 8

_WORD: Final = re.compile(r"[^\W_]+")
_YEAR: Final = re.compile(r"\((\d{4})\)\s*$")  # MovieLens ends names with it: "Matrix, The (1999)"
_PLAIN: Final = str.maketrans({"ø": "o", "ł": "l", "đ": "d", "ı": "i", "æ": "ae", "œ": "oe", "'": "", "’": ""})
_LAST: Final = "\U0010ffff"

_Row = Mapping[str, Any]
_Matches = tuple[Longs, Floats]
"""Numbers of words and how like they are to the word asked for, in 0..1."""


def words(text: str) -> list[str]:
    """Words of a text in order, without case, accents and apostrophes; none for symbols alone."""
    plain = text.casefold()
    if not plain.isascii():
        plain = unicodedata.normalize("NFKD", plain).casefold()
        plain = "".join(letter for letter in plain if not unicodedata.combining(letter))
    return _WORD.findall(plain.translate(_PLAIN))


@dataclass(frozen=True, slots=True)
class TextIndex:
    """Words of a catalogue of n titles, and where they stand; immutable.

    `vocabulary` holds V words in alphabetical order, `lengths` [V] int32 their letters, `rarity` [V] float32 their inverse
    document frequency, `stands` [V, n] what a word counts for a title, `name_rarity` [n] float32 the sum over a title's name.
    `group_of` numbers groups of letters, `groups` [n_groups, V] tells which words have them, `n_groups` [V] float32 how many a
    word has (none if it is only two words of names in one: those would pass for misspellings).
    """

    vocabulary: list[str]
    lengths: Ints
    rarity: Floats
    stands: "sparse.csr_array[np.float32]"
    name_rarity: Floats
    group_of: Mapping[str, int]
    groups: "sparse.csr_array[np.float32]"
    n_groups: Floats

    @classmethod
    def build(cls, titles: pa.Table) -> Self:
        """Index names and localized names, and with less weight cast, directors, genres and year, of a TITLES table."""
        wanted = ["name", "localized_names", "cast", "directors", "genres", "release_date"]
        rows = titles.select(wanted).to_pylist()
        indexed = [_indexed(row) for row in rows]
        vocabulary, stands = _incidence(indexed)
        plain = {word for found in indexed for word, count in found.items() if count != _JOINED}
        rarity = np.log1p(len(rows) / np.maximum(np.diff(stands.indptr), 1)).astype(np.float32)
        number_of = {word: number for number, word in enumerate(vocabulary)}
        named = [[number_of[word] for word in set(_name_words(row["name"]))] for row in rows]
        group_names, groups = _incidence(
            [dict.fromkeys(_letter_groups(word) if word in plain else (), 1.0) for word in vocabulary]
        )
        return cls(
            vocabulary=vocabulary,
            lengths=np.array([len(word) for word in vocabulary], np.int32),
            rarity=rarity,
            stands=stands,
            name_rarity=np.array([rarity[numbers].sum() for numbers in named], np.float32),
            group_of={name: number for number, name in enumerate(group_names)},
            groups=groups,
            n_groups=np.bincount(groups.indices, minlength=len(vocabulary)).astype(np.float32),
        )

    def search(self, query: str, k: int) -> tuple[Ints, Floats]:
        """Numbers and scores of the k titles that match best, best first, ties by lower number; fewer where fewer match."""
        score = self._scores(query)
        found = np.flatnonzero(score >= THRESHOLD)
        best = found[np.argsort(-score[found], kind="stable")[:k]]
        return best.astype(np.int32), score[best]

    def mask(self, query: str, n_items: int) -> Bools:
        """Titles [n_items] bool that match with a score of at least `THRESHOLD`; a title that is not indexed does not."""
        matching = np.zeros(n_items, np.bool_)
        score = self._scores(query)[:n_items]
        matching[: score.size] = score >= THRESHOLD
        return matching

    def _scores(self, query: str) -> Floats:
        """Score [n] float32 in 0..1: the share of the query a title answers to, and of the title's name that is asked."""
        n = len(self.name_rarity)
        asked = list(dict.fromkeys(words(query[:_MAX_QUERY])))[:_MAX_WORDS]
        answered, covered = np.zeros(n, np.float32), np.zeros(n, np.float32)
        if not asked or not self.vocabulary:
            return answered
        total = 0.0
        for numbers, likeness in self._matches(asked):
            weight = float(self.rarity[numbers[np.argmax(likeness)]]) if numbers.size else float(np.log1p(n))
            total += weight
            anywhere, in_name = self._best(numbers, likeness)
            answered += weight * anywhere
            covered += weight * in_name
        share = np.minimum(covered / np.maximum(self.name_rarity, 1e-6), 1)
        return ((1 - _NAME_SHARE) * answered / total + _NAME_SHARE * share).astype(np.float32)

    def _matches(self, asked: Sequence[str]) -> list[_Matches]:
        """Words of the vocabulary that each word of a query may mean."""
        matches = [self._alike(word) for word in asked]
        for place, (one, other) in enumerate(pairwise(asked)):
            number = bisect_left(self.vocabulary, one + other)
            if self.vocabulary[number : number + 1] == [one + other]:
                joined = (np.array([number]), np.array([_JOINED], np.float32))
                matches[place] = _both(matches[place], joined)
                matches[place + 1] = _both(matches[place + 1], joined)
        return matches

    def _best(self, numbers: Longs, likeness: Floats) -> tuple[Floats, Floats]:
        """What the best match of one asked word counts for each title [n], anywhere and in its names."""
        rows = self.stands[numbers]
        counts = rows.data * np.repeat(likeness, np.diff(rows.indptr))
        anywhere, in_name = np.zeros_like(self.name_rarity), np.zeros_like(self.name_rarity)
        np.maximum.at(anywhere, rows.indices, counts)
        named = rows.data > _SECONDARY
        np.maximum.at(in_name, rows.indices[named], counts[named])
        return anywhere, in_name

    def _alike(self, word: str) -> _Matches:
        """The word itself and words that begin with it, likelier the less is missing; misspelt ones unless it is there."""
        first = bisect_left(self.vocabulary, word)
        last = bisect_left(self.vocabulary, word + _LAST)
        likeness = (_PREFIX * (1 + len(word) / self.lengths[first:last]) / 2).astype(np.float32)
        if self.vocabulary[first : first + 1] == [word]:
            likeness[0] = _WHOLE
        elif len(word) >= _MIN_TYPO_LENGTH:
            return _both((np.arange(first, last), likeness), self._misspelt(word))
        return np.arange(first, last), likeness

    def _misspelt(self, word: str) -> _Matches:
        """Words that share many groups of letters with a word, and of those the ones in which few letters differ."""
        groups = _letter_groups(word)
        known = [self.group_of[group] for group in groups if group in self.group_of]
        shared = np.bincount(self.groups[known].indices, minlength=len(self.vocabulary))
        overlap = 2 * shared / (len(groups) + self.n_groups)
        close = np.flatnonzero(overlap >= _MIN_OVERLAP)
        close = close[np.argsort(-overlap[close], kind="stable")[:_N_LOOKALIKES]]
        compare = SequenceMatcher(None, "", word, autojunk=False)
        likeness = np.zeros(close.size, np.float32)
        for place, number in enumerate(close.tolist()):
            compare.set_seq1(self.vocabulary[number])
            likeness[place] = compare.ratio() if compare.quick_ratio() >= _MIN_LIKENESS else 0
        near = likeness >= _MIN_LIKENESS
        return close[near], _TYPO * likeness[near]


def _both(some: _Matches, more: _Matches) -> _Matches:
    return np.concatenate((some[0], more[0])), np.concatenate((some[1], more[1]))


def _name_words(name: str) -> list[str]:
    return words(_YEAR.sub("", name))


def _indexed(row: _Row) -> dict[str, float]:
    """Words of one title with what they count."""
    names = [_name_words(name) for name in (row["name"], *dict(row["localized_names"] or ()).values()) if name]
    year = _YEAR.search(row["name"])
    elsewhere = [*(row["cast"] or ()), *(row["directors"] or ()), *(row["genres"] or ())]
    elsewhere += [year[1]] if year else []
    elsewhere += [str(row["release_date"].year)] if row["release_date"] else []
    found = dict.fromkeys(words(" ".join(filter(None, elsewhere))), _SECONDARY)
    found |= {one + other: _JOINED for name in names for one, other in pairwise(name)}
    return found | {word: _NAME for name in names for word in name}


def _letter_groups(word: str) -> set[str]:
    """Pairs and triples of neighbouring letters, the word's ends counting as letters."""
    closed = f" {word} "
    return {closed[at : at + size] for size in (2, 3) for at in range(len(closed) - size + 1)}


def _incidence(documents: Sequence[Mapping[str, float]]) -> "tuple[list[str], sparse.csr_array[np.float32]]":
    """Distinct words in alphabetical order, and the weight [n_words, n_documents] of each in each document."""
    vocabulary = sorted(set().union(*documents))
    number_of = {word: number for number, word in enumerate(vocabulary)}
    sizes = np.array([len(document) for document in documents], np.int64)
    rows = np.fromiter(_numbers(documents, number_of), np.int32, int(sizes.sum()))
    columns = np.repeat(np.arange(len(documents), dtype=np.int32), sizes)
    weights = np.fromiter((weight for document in documents for weight in document.values()), np.float32, rows.size)
    return vocabulary, sparse.csr_array((weights, (rows, columns)), shape=(len(vocabulary), len(documents)))


def _numbers(documents: Sequence[Mapping[str, float]], number_of: Mapping[str, int]) -> Iterable[int]:
    return (number_of[word] for document in documents for word in document)
