"""Some profiles worth looking at: what a newcomer is offered to try the engine with."""

from typing import Final

import numpy as np

from recray.data.grouped import settings_of
from recray.data.history import History

_N_SAMPLES: Final = 10
_CHILD_LIMIT: Final = 12


def sample_profiles(history: History) -> list[dict[str, str]]:
    """Up to ten profiles with enough history and tastes that differ, and a child's if there is one; labelled by taste."""
    plays, items = history.plays, history.catalogue(history.periods.end_s + 1)
    settings = settings_of(history.profiles)
    counts = np.bincount(plays.profile, minlength=plays.n_profiles)
    liked = np.zeros((plays.n_profiles, len(items.genre_names)))
    np.add.at(liked, plays.profile, items.genres[plays.item] * plays.weight[:, None])
    # Against the average taste: everybody watches drama, so a raw share would label all profiles alike.
    share = liked / np.maximum(liked.sum(axis=1, keepdims=True), 1e-9)
    lift = share / np.maximum(share.mean(axis=0, keepdims=True), 1e-3)
    enough = np.flatnonzero((counts >= min(40, int(np.median(counts)))) & (counts <= 400))
    chosen: list[tuple[int, str]] = []
    for profile in enough:
        limit = settings[history.keys[profile]].maturity_limit if history.keys[profile] in settings else None
        if limit is not None and limit <= _CHILD_LIMIT:
            chosen.append((int(profile), f"child, up to {limit}"))
            break
    for genre in np.argsort(-items.genres.sum(axis=0), kind="stable"):
        best = [p for p in enough[np.argsort(-lift[enough, genre], kind="stable")] if p not in {q for q, _ in chosen}]
        if best and len(chosen) < _N_SAMPLES:
            chosen.append((int(best[0]), f"likes {items.genre_names[genre]}"))
    return [
        {"user_id": history.keys[p].user_id, "profile_id": history.keys[p].profile_id,
         "label": f"{history.keys[p].user_id} · {label}"} for p, label in chosen
    ]  # fmt: skip
