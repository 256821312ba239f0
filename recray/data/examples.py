"""[Ray Data] Ranker examples out of replayed moments: ask the sources as of then, vectorize, label.

Batches of moments go through the candidate stage and the vectorizer of one bundle, held by an actor. Features come from
the same code that serving runs.
"""

import warnings
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import ray
import ray.data
from ray.util.annotations import RayDeprecationWarning

from recray.bundle import Bundle, from_bytes
from recray.candidates.generate import CandidateStage
from recray.data.examination import Examination
from recray.data.grouped import as_moments
from recray.data.leaks import refuse_later_items
from recray.data.replay import Moment, asked
from recray.features.vectorize import RankerInput, ranker_input
from recray.ranking.ranker import Examples
from recray.recommend import N_HISTORY
from recray.schema import NO_ITEM, Floats, Ints, Objective, ProfileKey, ProfileSettings
from recray.settings import ExampleSettings, SourceSettings


@dataclass
class Proposer:
    """Ray Data actor: a batch of moments -> ranker inputs and labels, through one bundle's sources."""

    files: Any
    manifest: dict[str, Any]
    settings: tuple[SourceSettings, ExampleSettings]
    examination: Examination
    profiles: Any
    seed: int
    bundle: Bundle = field(init=False)

    def __post_init__(self) -> None:
        self.bundle = from_bytes("examples", self.manifest, ray.get(self.files), with_rankers=False)
        self.known: Mapping[ProfileKey, ProfileSettings] = ray.get(self.profiles)
        self.stage = CandidateStage(self.bundle.items, self.bundle.text, self.bundle.sources, self.settings[0])

    def __call__(self, table: pa.Table) -> dict[str, Any]:
        """Arrays of the requests that have at least one target among their candidates.

        Raises:
            DataError: a moment's state or the bundle's title features know something later than the moment.
        """
        replayed = as_moments(table)
        refuse_later_items(replayed, self.bundle.items.as_of_s)
        settings = [self.known.get(moment.key, ProfileSettings()) for moment in replayed]
        requests, profiles = asked(replayed, settings, 10)
        candidates = self.stage.generate(requests, profiles)
        batch = ranker_input(requests, profiles, self.bundle.items, candidates, N_HISTORY)
        own = self.settings[1]
        places, labels = drawn(replayed, candidates.items, own.n_negatives, self.seed)
        kept = np.flatnonzero((labels[:, :, Objective.START] == 1).any(axis=1))
        rows = np.arange(len(replayed))[:, None]
        padding = places < 0
        items = np.where(padding, NO_ITEM, batch.items[rows, np.maximum(places, 0)])
        match = np.where(padding[..., None], 0, batch.match[rows, np.maximum(places, 0)])
        return {
            "draw": np.asarray(table["draw"].to_pylist(), dtype=object)[kept],
            "at_s": requests.now_s[kept],
            "user": batch.user[kept],
            "match": match.astype(np.float32)[kept],
            "items": items.astype(np.int32)[kept],
            "history": batch.history[kept],
            "labels": labels[kept],
            "weight": start_weights(replayed, items, self.examination, own.most_start_weight)[kept],
        }


def drawn(replayed: Sequence[Moment], items: Ints, n_negatives: int, seed: int) -> tuple[Ints, Floats]:
    """Places of each request's examples [B, n_targets + n_negatives] and their labels.

    Targets that no source proposed are not examples: a ranker never sees what was not proposed. Negatives are a uniform
    sample of the other candidates, so that their order among themselves stays as in serving.
    """
    width = n_negatives + max(moment.targets.size for moment in replayed)
    places = np.full((len(replayed), width), -1, np.int32)
    labels = np.full((len(replayed), width, len(Objective)), np.nan, np.float32)
    for row, moment in enumerate(replayed):
        draw = np.random.default_rng((seed, moment.at_s, zlib.crc32(str(moment.key).encode())))
        own = items[row]
        target = np.isin(own, moment.targets)
        positive = np.flatnonzero(target)
        others = np.flatnonzero(~target & (own >= 0))
        negative = draw.permutation(others)[:n_negatives]
        # Shuffled, so that the place in an example says nothing about its label.
        chosen = draw.permutation(np.concatenate((positive, negative)))
        places[row, : chosen.size] = chosen
        labels[row, : chosen.size, Objective.START] = 0
        for place, candidate in enumerate(chosen):
            if target[candidate]:
                labels[row, place] = moment.outcomes[np.flatnonzero(moment.targets == own[candidate])[0]]
    return places, labels


def start_weights(replayed: Sequence[Moment], items: Ints, examination: Examination, most: float) -> Floats:
    """What the start of each example counts [B, K] float32: see `Examination.weights`; 1 for what was not started."""
    weights = np.ones(items.shape, np.float32)
    for own, weight, moment in zip(items, weights, replayed, strict=True):
        started, target = np.nonzero(own[:, None] == moment.targets)
        weight[started] = examination.weights(moment.places[target], most)
    return weights


def collect(proposed: "ray.data.Dataset", draws: Sequence[str]) -> dict[str, Examples]:
    """Examples of each draw, gathered from the blocks, in order of time."""
    parts: dict[str, list[Examples]] = {name: [] for name in draws}
    for block in proposed.iter_batches(batch_size=None, batch_format="numpy"):
        for name, examples in _by_draw(block):
            parts[name].append(examples)
    return {name: _concatenate(found) for name, found in parts.items()}


def _by_draw(block: Mapping[str, Any]) -> Iterator[tuple[str, Examples]]:
    # Ray Data may put several batches into a block, each as wide as its own requests need.
    width = np.array([len(items) for items in block["items"]])
    for name, wide in sorted(set(zip(block["draw"].astype(str), width.tolist(), strict=True))):
        rows = np.flatnonzero((block["draw"] == name) & (width == wide))
        inputs = RankerInput(*(np.stack(block[column][rows]) for column in ("user", "match", "items", "history")))
        labels, weight = (np.stack(block[column][rows]) for column in ("labels", "weight"))
        yield str(name), Examples(inputs, labels, block["at_s"][rows].astype(np.int64), weight)


def _concatenate(parts: Sequence[Examples]) -> Examples:
    width = max(part.inputs.items.shape[1] for part in parts)

    def wide(array: Any, fill: float) -> Any:
        missing = width - array.shape[1]
        return np.pad(array, ((0, 0), (0, missing), *((0, 0),) * (array.ndim - 2)), constant_values=fill)

    whole = Examples(
        RankerInput(
            np.concatenate([part.inputs.user for part in parts]),
            np.concatenate([wide(part.inputs.match, 0) for part in parts]),
            np.concatenate([wide(part.inputs.items, NO_ITEM) for part in parts]),
            np.concatenate([part.inputs.history for part in parts]),
        ),
        np.concatenate([wide(part.labels, np.nan) for part in parts]),
        np.concatenate([part.at_s for part in parts]),
        np.concatenate([wide(part.weight, 1) for part in parts]),
    )
    return whole.take(np.argsort(whole.at_s, kind="stable"))


def propose(
    replayed: "ray.data.Dataset", proposer: Mapping[str, Any], *, restarts: int = 0, batch_size: int = 64
) -> "ray.data.Dataset":
    """Ranker inputs and labels of replayed moments, by actors that hold the bundle (`proposer`: arguments of `Proposer`).

    An actor whose machine is lost is started anew up to `restarts` times (-1: always).
    """
    with warnings.catch_warnings():
        # Ray tells that actor options will be named one by one some day; in the release that is pinned there is no other way.
        warnings.simplefilter("ignore", RayDeprecationWarning)
        return replayed.map_batches(
            Proposer,
            fn_constructor_kwargs=dict(proposer),
            batch_size=batch_size,
            batch_format="pyarrow",
            compute=ray.data.ActorPoolStrategy(size=1),
            num_cpus=1,
            max_restarts=restarts,
        )
