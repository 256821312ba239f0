"""What a search over title vectors costs and finds, every title or only likely tiles, by the size of the catalogue.

`python tests/bench/search.py --home HOME --sizes 15000,100000,1000000 --json docs/results/search.json`: titles of a data
set and invented ones beside them, as `recray import --pad-to` makes them, and vectors drawn around 500 means in 64 dimensions,
which are harder to tell apart. One thread, batches of 16; a request's vector is the sum of four titles.
"""

import argparse
import json
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from recray.candidates import clusters
from recray.candidates.clusters import ClusteredTable
from recray.candidates.dense import DenseTable
from recray.catalog.content import content_vectors
from recray.schema import Floats
from recray.settings.provenance import provenance
from recray.simulation.world import pad
from recray.stores.lake import Lake

_BATCH, _N_BATCHES, _K, _DIM, _SEED, _ALLOWED = 16, 8, 120, 64, 0, 0.97
_EXAMINED = (8_192, 16_384, 32_768, 65_536)


def drawn(n: int) -> Floats:
    """Unit vectors [n, 64] around 500 means, later dimensions narrower."""
    rng = np.random.default_rng(_SEED)
    scale = np.arange(1, _DIM + 1) ** -0.4
    means = rng.standard_normal((500, _DIM)) * scale
    return unit(means[rng.integers(0, 500, n)] + 0.7 * rng.standard_normal((n, _DIM)) * scale)


def unit(vectors: Any) -> Floats:
    """Rows of length 1, float32."""
    return (vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)).astype(np.float32)


def searched(vectors: Floats) -> dict[str, Any]:
    """Milliseconds of CPU per request and recall among the first 120 and 20, for each number of titles looked at."""
    rng = np.random.default_rng(_SEED)
    n = _BATCH * _N_BATCHES
    asked = unit(vectors[rng.integers(0, len(vectors), (n, 4))].sum(axis=1)).reshape(_N_BATCHES, _BATCH, _DIM)
    eligible = rng.random((_BATCH, len(vectors))) < _ALLOWED

    def measured(table: DenseTable | ClusteredTable) -> tuple[float, Any]:
        def one(batch: Floats) -> Any:
            return table.best(batch, np.ones(_BATCH, np.bool_), eligible, _K).items

        one(asked[0])
        began_s = time.thread_time()
        found = np.concatenate([one(batch) for batch in asked])
        return 1e3 * (time.thread_time() - began_s) / n, found

    exact_ms, best = measured(DenseTable(vectors))
    report: dict[str, Any] = {"exact_ms": exact_ms, "default_examined": clusters.EXAMINED, "examined": {}}
    began_s = time.thread_time()
    ClusteredTable(vectors)
    report["build_s"] = time.thread_time() - began_s
    for examined in _EXAMINED:
        ms, found = measured(ClusteredTable(vectors, examined=examined))
        recall = {f"recall@{k}": float(np.mean([np.isin(w[:k], f).mean() for w, f in zip(best, found, strict=True)]))
                  for k in (20, _K)}  # fmt: skip
        report["examined"][str(examined)] = {"ms": ms, **recall}
    return report


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--data", default="ml-1m")
    parser.add_argument("--sizes", default="15000,100000,1000000")
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    at, report = datetime.now(UTC), {}
    titles = Lake(chosen.home / "lake").table(chosen.data, "titles")
    with threadpool_limits(1):
        for n in map(int, chosen.sizes.split(",")):
            catalogue = titles.slice(0, n) if n <= len(titles) else pad(titles, n, _SEED)
            for kind, vectors in (("content", content_vectors(catalogue, _DIM, _SEED)), ("drawn", drawn(n))):
                report[f"{kind} {n}"] = searched(vectors)
                sys.stdout.write(f"{kind} {n} {json.dumps(report[f'{kind} {n}'])}\n")
                sys.stdout.flush()
    if chosen.json:
        chosen.json.write_text(json.dumps(report | provenance(at), indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
