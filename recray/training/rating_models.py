"""Predicted stars: means of viewers and titles, and a small matrix factorization over them, both by alternating least squares.

They are the plain baselines of the rating track, fitted in seconds and not served.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from recray.errors import DataError
from recray.evaluation.metrics import rmse
from recray.evaluation.protocol import others, rating_split
from recray.features.interactions import Interactions
from recray.schema import Ints, Longs

Doubles = NDArray[np.float64]

CHOSEN_ON: Final = (
    "regularization and number of rounds by RMSE on a random 10 % of the training ratings, drawn with the seed; then fitted "
    "anew on all of them"
)
_VALIDATION_SHARE: Final = 0.1
_MAX_ROUNDS: Final = 20
_SIGMA: Final = 0.1


@dataclass(slots=True, frozen=True)
class Space:
    """A model of the track: its vectors' length, and the regularizations that are tried."""

    dim: int
    regularizations: tuple[float, ...]


MODELS: Final[dict[str, Space]] = {"bias": Space(0, (0.01, 0.02, 0.04)), "factorization": Space(32, (0.06, 0.08, 0.1))}
"""Models by name: `bias` is the mean plus a number per viewer and per title, `factorization` adds an inner product."""


@dataclass(slots=True)
class RatingModel:
    """Stars as mean + p_u . q_i + b_u + b_i, within the range of the stars it was fitted on.

    `viewers` and `titles` [n, dim + 1] float64 hold vector and number side by side; zeros where nothing is known.
    """

    mean: float
    low: float
    high: float
    viewers: Doubles
    titles: Doubles

    def predict(self, profile: Ints, item: Ints, at_s: Longs) -> Doubles:
        """Stars [n] of viewers for titles; the same at every moment."""
        viewer, title = self.viewers[profile], self.titles[item]
        stars = self.mean + (viewer[:, :-1] * title[:, :-1]).sum(axis=1) + viewer[:, -1] + title[:, -1]
        return np.clip(stars, self.low, self.high)


def rounds(rated: Interactions, dim: int, regularization: float, rng: np.random.Generator) -> Iterator[RatingModel]:
    """The model after each round of alternating least squares over rows that all have ratings; the same object every time.

    Each viewer's and title's squares are weighed by `regularization` times their number of ratings [Zhou2008]; numbers
    and vectors are solved for together.
    """
    stars = rated.rating.astype(np.float64)
    model = RatingModel(
        mean=float(stars.mean()),
        low=float(stars.min()),
        high=float(stars.max()),
        viewers=np.zeros((rated.n_profiles, dim + 1)),
        titles=np.concatenate((rng.normal(0, _SIGMA, (rated.n_items, dim)), np.zeros((rated.n_items, 1))), axis=1),
    )
    by_viewer = np.argsort(rated.profile, kind="stable")
    by_title = np.argsort(rated.item, kind="stable")
    centred = stars - model.mean
    while True:
        _solve(model.viewers, rated.profile[by_viewer], model.titles[rated.item[by_viewer]], centred[by_viewer], regularization)
        _solve(model.titles, rated.item[by_title], model.viewers[rated.profile[by_title]], centred[by_title], regularization)
        yield model


def _solve(side: Doubles, own: Ints, known: Doubles, centred: Doubles, regularization: float) -> None:
    """Least squares of every owner of rows, which are sorted by `own`, given the other side [n_rows, dim + 1]; in place."""
    inputs = np.concatenate((known[:, :-1], np.ones((own.size, 1)), (centred - known[:, -1])[:, None]), axis=1)
    owners, starts, counts = np.unique(own, return_index=True, return_counts=True)
    # The products of inputs with themselves and with what is wanted, of each owner in one multiplication.
    products = np.stack([rows.T @ rows for rows in np.split(inputs, starts[1:])])
    normal = products[:, :-1, :-1] + regularization * counts[:, None, None] * np.eye(side.shape[1])
    side[owners] = np.linalg.solve(normal, products[:, :-1, -1:])[..., 0]


def fit(rated: Interactions, space: Space, seed: int) -> tuple[RatingModel, dict[str, float]]:
    """The model whose regularization and rounds a random part of the ratings chose, and what was chosen.

    Raises:
        DataError: too few ratings to put some aside.
    """
    rng = np.random.default_rng(seed)
    aside = rating_split(rated, rng, _VALIDATION_SHARE)
    if not len(aside):
        raise DataError(f"{len(rated)} ratings came to be learnt from; expected at least {round(1 / _VALIDATION_SHARE)}")
    early = rated.where(others(rated, aside))
    actual = rated.rating[aside.row]
    best: tuple[float, float, int] = (np.inf, space.regularizations[0], 1)
    # Many small products: threads would cost more than they bring.
    with threadpool_limits(1, "blas"):
        for regularization in space.regularizations:
            steps = rounds(early, space.dim, regularization, np.random.default_rng(seed))
            for n_rounds, model in zip(range(1, _MAX_ROUNDS + 1), steps, strict=False):
                best = min(best, (rmse(model.predict(aside.profile, aside.item, aside.at_s), actual), regularization, n_rounds))
        error, regularization, n_rounds = best
        steps = rounds(rated, space.dim, regularization, np.random.default_rng(seed))
        model = [next(steps) for _ in range(n_rounds)][-1]
    return model, {"regularization": regularization, "rounds": float(n_rounds), "validation_rmse": error}
