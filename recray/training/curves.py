"""What each way of reranking gives up in NDCG for what it is for: curves over its strength, through the path that serves.

Every point is asked the same requests of a stored bundle's last period, the earlier half of them apart from the later: a
default is chosen by the first and confirmed by the second.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np

from recray.bundle import Bundle
from recray.data.replay import Moment
from recray.evaluation.beyond import (
    coverage_at,
    effective_catalogue_size,
    genre_shares,
    intra_list_diversity,
    miscalibration,
    novelty,
)
from recray.evaluation.metrics import hit_rate_at, ndcg_at
from recray.schema import Ints, ProfileKey, ProfileSettings
from recray.settings import Settings
from recray.training.ways import Way, halves, lists_by

Say = Callable[[str], None]
Method = Literal["mmr", "dpp", "calibration"]

STRENGTHS: Final[Mapping[Method, Sequence[float]]] = {
    "mmr": (0.05, 0.1, 0.2, 0.3, 0.5, 0.7),
    "dpp": (0.05, 0.1, 0.2, 0.3, 0.5, 0.7),
    "calibration": (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.52, 0.6, 0.7, 0.9),
}
PROTOCOL: Final = (
    "Replayed requests of the bundle's last period, evenly over time, their state folded from what was before; the target is "
    "the title started next, watched titles are excluded. Lists of k by the chosen ranker through the path that serves, "
    "the slate alone changes. ndcg and hit_rate are means over requests; coverage is the share of the catalogue on any list; "
    "diversity is 1 - cosine of content over pairs; miscalibration is C_KL of the list's genres from those of the newest 200 "
    "titles watched. loss is that of ndcg against no reranking, with a 95 % interval over "
    "requests, NaN where nothing was found; reduction is that of C_KL."
)


@dataclass(slots=True, frozen=True)
class _Point:
    """A way of reranking and its strength; strength 0 is the order of scores."""

    method: Method
    strength: float

    def slate(self) -> dict[str, Any]:
        return {"diversity": self.strength, "diversity_by": self.method}


def curves(
    bundle: Bundle,
    moments: Sequence[Moment],
    profiles: Mapping[ProfileKey, ProfileSettings],
    settings: Settings,
    say: Say,
) -> dict[str, Any]:
    """Figures of every point over all requests and over each half, as JSON values; the first point has no reranking."""
    points = [_Point("mmr", 0.0)] + [_Point(method, strength) for method, all_ in STRENGTHS.items() for strength in all_]
    found, watched = lists_by([Way(point.slate()) for point in points], bundle, moments, profiles, settings)
    say(f"asked {len(moments)} requests at {len(points)} points")
    cuts = halves(len(moments))
    figures = {name: _figures(found, watched, [m.targets[:1] for m in moments], bundle, at) for name, at in cuts.items()}
    rows = [{"method": p.method if p.strength else "none", "strength": p.strength} for p in points]
    return {
        "bundle": bundle.id,
        "ranker": bundle.manifest["chosen"],
        "k": settings.evaluation.k,
        "requests": len(moments),
        "protocol": PROTOCOL,
        "points": [row | {name: figures[name][place] for name in cuts} for place, row in enumerate(rows)],
    }


def _figures(
    found: Sequence[Ints], watched: Ints, targets: Sequence[Ints], bundle: Bundle, at: slice
) -> list[dict[str, float]]:
    """Figures of each point over some of the requests, in the points' order."""
    items, own = bundle.items, targets[at]
    taste = genre_shares(watched[at], items.genres)
    plays = items.plays[:, 2].astype(np.int64)
    rows: list[dict[str, float]] = []
    plain = np.empty(0)
    for ranked in (lists[at] for lists in found):
        k = ranked.shape[1]
        ndcg = ndcg_at(ranked, own, k)
        plain = plain if rows else ndcg
        lost, whole = plain - ndcg, plain.mean() or np.nan
        off = float(np.nanmean(miscalibration(taste, genre_shares(ranked, items.genres))))
        row = {
            "ndcg": float(ndcg.mean()),
            "hit_rate": float(hit_rate_at(ranked, own, k).mean()),
            "coverage": coverage_at(ranked, items.n, k),
            "effective_catalogue": effective_catalogue_size(ranked, items.n),
            "diversity": float(np.nanmean(intra_list_diversity(ranked, items.content))),
            "miscalibration": off,
            "novelty_bits": float(np.nanmean(novelty(ranked, plays))),
            "loss": float(lost.mean() / whole),
            "loss_interval": float(1.96 * lost.std(ddof=1) / np.sqrt(lost.size) / whole),
        }
        row["reduction"] = 1 - off / (rows[0]["miscalibration"] if rows else off)
        rows.append({name: round(value, 6) for name, value in row.items()})
    return rows
