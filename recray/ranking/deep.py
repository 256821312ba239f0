"""The deep ranker: user, title, moment and match into dense layers, one probability per objective.

There are no per-user parameters. The user embedding is a weighted sum of the embeddings of the titles the profile started, so
it exists for a profile that came a second ago, moves with each event, and costs nothing per user: a table for 200 million
users would be stale between trainings and empty for whoever is new.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Self

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from recray.errors import ModelError
from recray.features.items import Items
from recray.features.vectorize import RankerInput
from recray.features.views import width
from recray.ranking.deep_kernel import Kernel
from recray.ranking.ranker import Examples, Report
from recray.schema import Floats, Longs, Objective, Tensors
from recray.settings import DeepSettings

_TENSORS: Final = "deep.safetensors"
_CONFIG: Final = "deep.json"


def _shape() -> dict[str, Any]:
    """What a fitted network and this code must agree on."""
    return {
        "format": 1,
        "objectives": [objective.name.lower() for objective in Objective],
        "n_user": width("user") + width("context"),
        "n_item": width("item"),
        "n_match": width("match"),
    }


@dataclass(frozen=True)
class DeepRanker:
    """P(start), P(completion | start), P(dislike | start) of each candidate; immutable, may be called from any thread."""

    name: ClassVar[str] = "deep"
    tensors: Tensors
    kernel: Kernel

    def predict(self, batch: RankerInput) -> Floats:
        return self.kernel.predict(batch)

    def files(self) -> dict[str, bytes]:
        return {_TENSORS: save(self.tensors), _CONFIG: json.dumps(_shape(), sort_keys=True).encode()}

    @classmethod
    def restore(cls, files: dict[str, bytes], items: Items) -> Self:
        """The ranker over a catalogue; the item half of the first layer is computed here for every title.

        Raises:
            ModelError: a file is missing, truncated, or made for other features or objectives.
        """
        try:
            found = json.loads(files[_CONFIG])
            tensors = load(files[_TENSORS])
        except (KeyError, ValueError, SafetensorError) as problem:
            raise ModelError(f"deep ranker cannot be read: {problem!r}; take the bundle anew or train again") from problem
        if found != _shape():
            raise ModelError(f"deep ranker was fitted for {found}; this code expects {_shape()}: train it anew")
        return cls(tensors, Kernel.of(tensors, items))


def fit(  # noqa: PLR0913  # what every fit takes, and how processes share it; all but the first four by keyword
    train: Examples,
    validation: Examples,
    items: Items,
    config: DeepSettings,
    *,
    seed: int,
    device: str,
    report: Report,
    share: Longs | None = None,
    wrap: Callable[[Any], Any] = lambda network: network,
) -> DeepRanker:
    """Fit on examples, stop when validation NDCG@10 of START no longer rises, and keep the best epoch.

    Loss: binary cross-entropy per objective over the candidates whose outcome is known, plus `listwise_weight` times softmax
    cross-entropy over the candidates of a request [Cao2007], which cares for the top as NDCG does. `report` gets epoch,
    train_loss and ndcg. `wrap` makes the network data-parallel: each process then names its `share` of the rows of `train`, all
    of equal length; which titles are known and how inputs are standardised goes by the whole.

    Raises:
        DataError: `train` or `validation` has no request with a started candidate.
    """
    # torch takes seconds and hundreds of megabytes to import; ranking with a fitted network needs none of it.
    from recray.ranking.deep_fit import Fitting, fitted_tensors

    share = np.arange(len(train)) if share is None else share
    fitting = Fitting(share=share, items=items, config=config, seed=seed, device=device, wrap=wrap)
    tensors = fitted_tensors(fitting, train, validation, report)
    return DeepRanker(tensors, Kernel.of(tensors, items))
