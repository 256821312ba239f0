"""[Ray] Every candidate source, fitted on what was known before a moment."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import ray

from recray.candidates.registered import chosen
from recray.candidates.sequence import Sequence
from recray.candidates.source import CandidateSource
from recray.data.history import History
from recray.errors import DataError
from recray.features.interactions import Interactions
from recray.features.items import Items
from recray.settings import Settings
from recray.training.fit_one import fit_one
from recray.training.fit_sequence import fit_sequence_on_ray
from recray.training.trainer import Fitted as Trained

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Fitted:
    """Sources fitted on everything before a moment, and the catalogue as of it."""

    items: Items
    sources: dict[str, CandidateSource]


def fit_sources(history: History, moment_s: int, settings: Settings, say: Say, former: Fitted | None = None) -> Fitted:
    """The chosen candidate sources, fitted on what was known before a moment: each in a Ray task, sequence by Ray Train.

    The sequence model goes on from that of `former`, fitted to an earlier moment; without it, it begins anew.
    """
    names = chosen(settings.sources)
    items = history.catalogue(moment_s)
    plays = history.until(moment_s)
    if not len(plays):
        raise DataError(f"{history.name} has no watching event before the end of the first period; import more data")
    shared = ray.put(plays), ray.put(items)
    task = ray.remote(fit_one).options(num_cpus=settings.training.cpus_per_fit)
    under_way = {task.remote(name, *shared, settings): name for name in names if name != "sequence"}
    sources: dict[str, CandidateSource] = {}
    while under_way:
        done, _ = ray.wait(list(under_way), num_returns=1)
        name = under_way.pop(done[0])
        sources[name], seconds = ray.get(done[0])
        say(f"fitted source {name} in {seconds:.1f} s")
    if "sequence" in names:
        start = None if former is None else former.sources["sequence"]
        assert start is None or isinstance(start, Sequence)
        fitted = _fit_sequence(plays, items, settings, start, heard("source sequence", say))
        sources["sequence"] = fitted.model
        say(f"fitted source sequence: {shown(fitted.metrics)}")
    return Fitted(items, {name: sources[name] for name in names})


def heard(what: str, say: Say) -> Callable[[dict[str, float]], None]:
    """What a fit reports, said by name."""
    return lambda figures: say(f"fitting {what}: {shown(figures)}")


def _fit_sequence(
    plays: Interactions, items: Items, settings: Settings, start: Sequence | None, report: Callable[[dict[str, float]], None]
) -> Trained[Sequence]:
    """Stop by the newest tenth; or, where a former fit was stopped so, go on from it with everything."""
    if start is not None:
        return fit_sequence_on_ray(plays, items, settings, start=start, say=report)
    recent = plays.at_s >= np.quantile(plays.at_s, 1 - settings.split.validation)
    return fit_sequence_on_ray(plays.where(~recent), items, settings, plays.where(recent), say=report)


def shown(figures: Mapping[str, float]) -> str:
    """Figures as a person reads them."""
    return ", ".join(f"{name} {value:.4g}" for name, value in figures.items())
