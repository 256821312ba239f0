"""Work on what an earlier run left: judging a stored bundle, and the data that searches fit on."""

from dataclasses import dataclass

from recray.bundle import Bundle, from_bytes
from recray.data.grouped import replay
from recray.data.history import History, open_history
from recray.data.replay import Moment
from recray.settings import Settings
from recray.stores.lake import Lake
from recray.stores.registry import Registry
from recray.training.fit_sources import Say, fit_sources
from recray.training.run import (
    TEST,
    TRAIN,
    VALIDATION,
    bound_data,
    draw_examples,
    draw_of,
    evaluate,
    limited,
)
from recray.training.trial import SearchData


@dataclass(frozen=True, slots=True)
class Stored:
    """A stored bundle and a data set."""

    bundle: Bundle
    history: History


@dataclass(frozen=True, slots=True)
class Replayed(Stored):
    """A stored bundle, a data set, and moments of its last period."""

    moments: list[Moment]


def evaluate_stored(settings: Settings, data: str, name: str, say: Say) -> dict[str, dict[str, float]]:
    """Figures of a stored bundle on the last period of a data set."""
    there = replayed(settings, data, name, say)
    judged = evaluate(there.bundle, there.moments, there.history, settings)
    return {name: one.figures for name, one in judged.items()}


def stored(settings: Settings, data: str, name: str) -> Stored:
    """A stored bundle, and a data set that it may be judged on.

    Raises:
        ModelError: no such bundle, or one of other feature views.
        DataError: no such set.
    """
    registry = Registry(settings.registry_dir)
    bundle_id = registry.resolve(name)
    manifest, files = registry.read(bundle_id)
    return Stored(from_bytes(bundle_id, manifest, files), open_history(Lake(settings.lake_dir), data, settings))


def replayed(settings: Settings, data: str, name: str, say: Say) -> Replayed:
    """A stored bundle and the moments on which it is judged, the same ones every time.

    Raises:
        As `stored`.
    """
    there = stored(settings, data, name)
    history = there.history
    draw = {
        TEST: draw_of(
            history, history.periods.validation_end_s, history.periods.end_s + 1, settings.evaluation.n_requests, settings
        )
    }
    bound_data(settings)
    rows = replay(history.snapshot, history.number_of, draw, settings.training.n_blocks)
    moments = limited(rows, TEST, settings.evaluation.n_requests)
    say(f"replayed {len(moments)} moments")
    return Replayed(there.bundle, history, moments)


def search_data(settings: Settings, data: str, say: Say) -> SearchData:
    """What trials are fitted on: examples of the second period, and the interactions before it; made once per data set."""
    history = open_history(Lake(settings.lake_dir), data, settings)
    folder = settings.home / "examples" / data
    items = history.catalogue(history.periods.sources_end_s)
    if not (folder / TRAIN).is_dir() or not (folder / VALIDATION).is_dir():
        early = fit_sources(history, history.periods.sources_end_s, settings, say)
        draw_examples(history, early, settings, say)
    known = history.until(history.periods.sources_end_s)
    recent = history.between(history.periods.sources_end_s, history.periods.rankers_end_s)
    return SearchData(items, folder, known, recent)
