"""One candidate source's fit, as the process of a Ray task runs it.

Apart from `fit_sources`, whose imports such a process does without: torch and Ray Train take it longer than most fits.
"""

from recray.candidates.registered import fit_all
from recray.candidates.source import CandidateSource
from recray.features.interactions import Interactions
from recray.features.items import Items
from recray.settings import Settings


def fit_one(name: str, plays: Interactions, items: Items, settings: Settings) -> tuple[CandidateSource, float]:
    """The source of that name, and the seconds its fit took."""
    took = {name: 0.0}
    fitted = fit_all(plays, items, settings, seed=settings.training.seed, device="cpu", only=[name],
                     report=lambda source, seconds, figures: took.update({source: seconds}))  # fmt: skip
    return fitted[name], took[name]
