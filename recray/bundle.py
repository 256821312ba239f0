"""A bundle: everything one answer is made from, as files without pickle, and back.

The registry keeps the files, their format version and their digests; this module knows what they mean.
"""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import pyarrow as pa
from safetensors import SafetensorError
from safetensors.numpy import load, save

from recray.candidates.registered import source_classes
from recray.candidates.source import CandidateSource
from recray.catalog.text import TextIndex
from recray.catalog.titles import from_files, to_files
from recray.errors import ModelError
from recray.experiments.assign import DEFAULT_RANKER
from recray.features.items import Items
from recray.features.views import fingerprint
from recray.pages.card import Cards
from recray.ranking.boosted import BoostedRanker
from recray.ranking.deep import DeepRanker
from recray.ranking.prerank import Prerank
from recray.ranking.ranker import Ranker

RANKERS: Final[Mapping[str, type[Ranker]]] = {DeepRanker.name: DeepRanker, BoostedRanker.name: BoostedRanker}
BY_SOURCE: Final = "by-"
"""Before a source's name: lists in the order of that source."""


@dataclass(repr=False)
class Bundle:
    """What is served under one id; immutable once loaded.

    `titles` is the TITLES table in title-number order, `text` its search index. Parts that were not asked for are empty.
    `preranks` are first passes of rankers, by their names; one without sees every candidate.
    """

    id: str
    manifest: dict[str, Any]
    items: Items
    titles: pa.Table
    text: TextIndex
    sources: dict[str, CandidateSource]
    rankers: dict[str, Ranker]
    preranks: dict[str, Prerank] = field(default_factory=dict)
    cards: Cards = field(init=False)

    def __post_init__(self) -> None:
        self.cards = Cards(self.items)

    def order(self, asked: str | None) -> str:
        """By what a list is ordered whose arm asks for `asked`: a ranker's name, or `BY_SOURCE` and a source's.

        An arm gets the ranker that it names if training found that it pays; else, and if it names none, what training chose.
        """
        pays = asked not in RANKERS or asked in self.manifest.get("paying", RANKERS)
        return asked if asked and pays else str(self.manifest.get("chosen", DEFAULT_RANKER))

    def ordered_by(self, ranker: str) -> "Bundle":
        """This bundle as if training had chosen one of its rankers.

        Raises:
            ModelError: it has no such ranker.
        """
        if ranker not in self.rankers:
            raise ModelError(f"bundle {self.id} has no ranker {ranker!r}; expected one of {', '.join(self.rankers)}")
        return dataclasses.replace(self, manifest=self.manifest | {"chosen": ranker})


def to_bytes(
    items: Items,
    titles: pa.Table,
    sources: Mapping[str, CandidateSource],
    rankers: Mapping[str, Ranker],
    preranks: Mapping[str, Prerank] | None = None,
) -> dict[str, bytes]:
    """File name -> content of a bundle."""
    files = to_files(items, titles)
    files["sources.json"] = json.dumps({name: source.config() for name, source in sources.items()}, sort_keys=True).encode()
    for name, source in sources.items():
        files[f"source-{name}.safetensors"] = save(dict(source.tensors()))
    for name, ranker in rankers.items():
        files |= {f"ranker-{name}-{file}": content for file, content in ranker.files().items()}
    return files | {_prerank_of(name): prerank.file() for name, prerank in (preranks or {}).items()}


def facts(**known: Any) -> dict[str, Any]:
    """The manifest entries that bind a bundle to this code, with what the caller knows beside them."""
    return {"views": fingerprint(), **known}


def from_bytes(bundle_id: str, manifest: dict[str, Any], files: Mapping[str, bytes], *, with_rankers: bool = True) -> Bundle:
    """The bundle that `to_bytes` wrote; the registry has verified the digests.

    Raises:
        ModelError: made for other feature views, or a part cannot be restored.
    """
    if manifest.get("views") != fingerprint():
        raise ModelError(
            f"bundle {bundle_id} was made for views {manifest.get('views')!r}; this code has {fingerprint()!r}: train a "
            "new bundle, or serve with the code that made it"
        )
    items, titles = from_files(dict(files))
    try:
        configs = json.loads(files["sources.json"])
        classes = source_classes()
        sources = {
            name: classes[name].restore(load(files[f"source-{name}.safetensors"]), config, items)
            for name, config in configs.items()
        }
    except (KeyError, ValueError, RuntimeError, SafetensorError) as problem:
        raise ModelError(
            f"bundle {bundle_id} has sources that cannot be restored: {problem!r}; train a new bundle"
        ) from problem
    rankers = {name: _ranker(name, files, items) for name in RANKERS if with_rankers and _holds(name, files)}
    preranks = {name: Prerank.restore(files[_prerank_of(name)], items) for name in RANKERS if _prerank_of(name) in files}
    return Bundle(bundle_id, manifest, items, titles, TextIndex.build(titles), sources, rankers, preranks)


def _prerank_of(ranker: str) -> str:
    return f"prerank-{ranker}.safetensors"


def _holds(name: str, files: Mapping[str, bytes]) -> bool:
    return any(file.startswith(f"ranker-{name}-") for file in files)


def _ranker(name: str, files: Mapping[str, bytes], items: Items) -> Ranker:
    prefix = f"ranker-{name}-"
    own = {file.removeprefix(prefix): content for file, content in files.items() if file.startswith(prefix)}
    return RANKERS[name].restore(own, items)
