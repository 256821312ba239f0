"""Every candidate source there is, by name, and the fitting of them all."""

import time
from collections.abc import Callable, Sequence
from typing import Any

from recray.candidates import content, cowatch, ease, factors, item_based, neighbours, popular, sequence
from recray.candidates.resume import Resume
from recray.candidates.source import CandidateSource
from recray.errors import ConfigError
from recray.features.interactions import Interactions
from recray.features.items import Items
from recray.features.views import SOURCES
from recray.settings import Settings, SourceSettings

Report = Callable[[str, float, dict[str, Any]], None]
"""Called with a source's name, seconds since its fit began, and figures: after each epoch of a source that has epochs, and
once, with no figures, when the source is fitted."""


def source_classes() -> dict[str, type[CandidateSource]]:
    """Classes by source name, in the order of `views.SOURCES`."""
    classes: tuple[type[CandidateSource], ...] = (
        popular.Popular,
        popular.Trending,
        popular.NewReleases,
        cowatch.CoWatch,
        item_based.ItemBased,
        ease.Ease,
        neighbours.Neighbours,
        factors.Factors,
        content.Content,
        sequence.Sequence,
        Resume,
    )
    by_name = {kind.name: kind for kind in classes}
    return {name: by_name[name] for name in SOURCES}


def chosen(settings: SourceSettings) -> list[str]:
    """Names of the sources that a bundle is made of, in the order of `views.SOURCES`.

    Raises:
        ConfigError: what is left out is no source, or is `popular`, the last fallback of every request.
    """
    able = [name for name in SOURCES if name != "popular"]
    if strange := sorted(set(settings.left_out) - set(able)):
        raise ConfigError(f"sources.left_out names {', '.join(strange)}; expected some of {', '.join(able)}")
    return [name for name in SOURCES if name not in settings.left_out]


def fit_all(  # noqa: PLR0913  # one run has this many facts; callers name them
    interactions: Interactions,
    items: Items,
    settings: Settings,
    *,
    seed: int,
    device: str,
    report: Report,
    validation: Interactions | None = None,
    only: Sequence[str] | None = None,
) -> dict[str, CandidateSource]:
    """Sources by name in the order of `views.SOURCES`, or those of them that `only` names.

    `validation` continues `interactions` in time and decides when the sequence model has learnt enough. `device` is torch's.
    """
    about = (interactions, items, settings.sources)

    def fit_sequence() -> CandidateSource:
        began = time.perf_counter()
        return sequence.fit(
            interactions,
            items,
            settings.sequence,
            seed=seed,
            device=device,
            report=lambda figures: report("sequence", time.perf_counter() - began, figures),
            validation=validation,
        )

    fits: dict[str, Callable[[], CandidateSource]] = {
        "popular": lambda: popular.fit_popular(*about),
        "trending": lambda: popular.fit_trending(*about),
        "new_releases": lambda: popular.fit_new_releases(*about),
        "cowatch": lambda: cowatch.fit(*about),
        "item_based": lambda: item_based.fit(*about),
        "ease": lambda: ease.fit(*about),
        "neighbours": lambda: neighbours.fit(*about, seed=seed),
        "factors": lambda: factors.fit(*about, seed=seed),
        "content": lambda: content.fit(*about, seed=seed),
        "sequence": fit_sequence,
        "resume": Resume,
    }
    fitted = {}
    for name in SOURCES:
        if only is None or name in only:
            began = time.perf_counter()
            fitted[name] = fits[name]()
            report(name, time.perf_counter() - began, {})
    return fitted
