"""Predicted stars as chances of each: a Bayesian factorization machine with ordered probit, sampled by the library myfm.

Its inputs are those of timeSVD++ "flipped" [Rendle2019]: viewer, title, day, every title that the viewer rated and every viewer
who rated the title. Judged on the rating track and not served. myfm is the optional extra `ratings`.
"""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from recray.errors import ConfigError, DataError
from recray.features.interactions import Interactions
from recray.schema import Ints, Longs

Doubles = NDArray[np.float64]

NAME: Final = "probit"
INSTALL: Final = "needs the library myfm: pip install 'recray[ratings]'"
CHOSEN_ON: Final = (
    "nothing: rank and priors as published with myfm, which samples the weights of the priors; fewer rounds than published"
)
_LIBRARY: Final = "myfm"
_DAY_S: Final = 86_400


@dataclass(slots=True, frozen=True)
class Sampling:
    """Gibbs sampling: vectors' length, rounds, how many of the last rounds are averaged, and how often progress is told."""

    dim: int = 32
    n_rounds: int = 400
    n_kept: int = 300
    told_every: int = 25


PUBLISHED: Final = Sampling()


def installed() -> bool:
    """Whether the library is there."""
    return find_spec(_LIBRARY) is not None


@dataclass(slots=True)
class _Inputs:
    """What rows are made of: `viewers` [n_profiles, .] and `titles` [n_items, .] CSR, and the `days` that were learnt from."""

    viewers: Any
    titles: Any
    days: Longs

    def of(self, profile: Ints, item: Ints, at_s: Longs) -> tuple[Any, list[Any]]:
        """Day of each row [n, n_days], zeros for another day, and the blocks of its viewer and title."""
        block = importlib.import_module(_LIBRARY).RelationBlock
        day = at_s // _DAY_S
        place = np.minimum(np.searchsorted(self.days, day), self.days.size - 1)
        known = np.flatnonzero(self.days[place] == day)
        when = sparse.csr_matrix((np.ones(known.size), (known, place[known])), shape=(day.size, self.days.size))
        return when, [block(profile.astype(np.int64), self.viewers), block(item.astype(np.int64), self.titles)]


@dataclass(slots=True)
class ProbitModel:
    """Chances of each star value in `stars` [n_stars], averaged over samples."""

    machine: Any
    inputs: _Inputs
    stars: Doubles

    def chances(self, profile: Ints, item: Ints, at_s: Longs) -> Doubles:
        """P(stars) [n, n_stars] of viewers for titles at moments; rows sum to 1."""
        return self.machine.predict_proba(*self.inputs.of(profile, item, at_s))

    def predict(self, profile: Ints, item: Ints, at_s: Longs) -> Doubles:
        """Expected stars [n], which have the least squared error of all single numbers."""
        return self.chances(profile, item, at_s) @ self.stars


def fit(rated: Interactions, seed: int, say: Callable[[str], None], how: Sampling = PUBLISHED) -> ProbitModel:
    """Sample the model from rows that all have ratings.

    Raises:
        ConfigError: myfm is not installed.
        DataError: fewer than two star values, between which there is nothing to learn.
    """
    if not installed():
        raise ConfigError(f"the model {NAME} {INSTALL}")
    stars, grade = np.unique(rated.rating.astype(np.float64), return_inverse=True)
    if stars.size < 2:
        raise DataError(f"{len(rated)} ratings came with {stars.size} different star values; expected at least 2")
    inputs = _inputs(rated)

    def told(number: int, *_: Any) -> tuple[bool, None]:
        if (number + 1) % how.told_every == 0:
            say(f"{NAME}: round {number + 1} of {how.n_rounds}")
        return False, None

    machine = importlib.import_module(_LIBRARY).MyFMOrderedProbit(rank=how.dim, random_seed=seed)
    when, blocks = inputs.of(rated.profile, rated.item, rated.at_s)
    # Each kind of input has a prior of its own: days, viewers, titles they rated, titles, viewers who rated them.
    groups = [inputs.days.size, rated.n_profiles, rated.n_items, rated.n_items, rated.n_profiles]
    machine.fit(when, grade, X_rel=blocks, group_shapes=groups, n_iter=how.n_rounds, n_kept_samples=how.n_kept, callback=told)
    return ProbitModel(machine, inputs, stars)


def _inputs(rated: Interactions) -> _Inputs:
    shape = rated.n_profiles, rated.n_items
    both = sparse.csr_matrix((np.ones(len(rated)), (rated.profile, rated.item)), shape=shape)
    both.data[:] = 1
    return _Inputs(_beside_itself(both), _beside_itself(sparse.csr_matrix(both.T)), np.unique(rated.at_s // _DAY_S))


def _beside_itself(rows: Any) -> Any:
    """One column for each row, then the row scaled by 1 / sqrt(its number of entries)."""
    scale = 1 / np.sqrt(np.maximum(np.diff(rows.indptr), 1))
    return sparse.hstack((sparse.identity(rows.shape[0]), sparse.diags(scale) @ rows)).tocsr()
