"""A bundle answers before anybody asks: loops are compiled, tables are in memory, and one that cannot answer is refused."""

import fcntl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final

import numpy as np

import recray
from recray.bundle import Bundle
from recray.candidates.generate import CandidateStage
from recray.errors import ModelError
from recray.features.fold import ProfileState, decode, encode, fold, pack
from recray.features.profiles import columns
from recray.features.vectorize import ranker_input
from recray.ranking.calibration import own_mix
from recray.ranking.slate import slate, weigh
from recray.recommend import N_HISTORY
from recray.schema import Action, Device, Page, ProfileSettings
from recray.serving.asking import Asked, one
from recray.settings import Settings

_N_WATCHED = 30
_N_SHOWN = 20
_GAP_S = 86_400
_PACKAGE: Final = Path(recray.__file__).parent


def warm_states(state: ProfileState) -> ProfileState:
    """The state, written and read once."""
    return decode(encode(state))


@contextmanager
def one_compiles(package: Path = _PACKAGE) -> Iterator[None]:
    """On a machine where nothing is compiled yet, one process goes first and the others find it done; later all go at once.

    A minute of a core and more: the replicas of a new machine would each spend it, beside each other. Done is what a mark
    says that is younger than the code.
    """
    mark = package / "__pycache__" / "compiled"
    done = mark.exists() and mark.stat().st_mtime > max(file.stat().st_mtime for file in package.rglob("*.py"))
    with ExitStack() as held:
        if not done:
            with suppress(OSError):  # not ours to write: all go at once
                mark.parent.mkdir(exist_ok=True)
                fcntl.flock(held.enter_context(mark.with_suffix(".lock").open("w")), fcntl.LOCK_EX)
        yield
        if not done:
            with suppress(OSError):
                mark.touch()


@one_compiles()
def warm(bundle: Bundle, settings: Settings) -> None:
    """Answer for a stranger and for somebody who watched the first titles of the catalogue.

    Raises:
        ModelError: a source or ranker fails, or a ranker's probabilities are not finite.
    """
    items = bundle.items
    number = np.arange(min(_N_WATCHED, items.n), dtype=np.int32)
    at_s = items.as_of_s - _GAP_S * (1 + number.astype(np.int64))
    watched = pack(at_s, number, *(np.full(number.size, part, np.int32) for part in (Action.PLAY, Device.TV, 60)))
    someone = warm_states(fold(ProfileState(), np.sort(watched)))
    stage = CandidateStage(items, bundle.text, bundle.sources, settings.sources)
    for state in (ProfileState(), someone):
        requests = one(Asked(Page.HOMEPAGE.name.lower(), "warm", "up", _N_SHOWN), "warm-up", items.as_of_s, items)
        profiles = columns([state], [ProfileSettings()])
        candidates = stage.generate(requests, profiles)
        if candidates.degraded:
            raise ModelError(f"bundle {bundle.id} cannot answer: {', '.join(candidates.degraded)} failed; train a new one")
        given = ranker_input(requests, profiles, items, candidates, N_HISTORY)
        for prerank in bundle.preranks.values():
            prerank.places(given, requests.n_items)
        for name, ranker in bundle.rankers.items():
            p = ranker.predict(given)
            if not np.isfinite(p).all():
                raise ModelError(f"bundle {bundle.id} cannot answer: ranker {name} gave values that are not finite; train anew")
            scores = weigh(p, items, candidates.items, settings.slate)
            about = candidates.items, items, requests.n_items, settings.slate, requests.ids
            slate(scores, *about, mix=own_mix(profiles, bundle.items, settings.slate))
