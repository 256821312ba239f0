"""Fits one candidate source of recray with its default settings on a track and writes its lists, as `peer_models` does."""

import json
import time
from pathlib import Path

import numpy as np

from recray.candidates.registered import fit_all
from recray.catalog.titles import build_items
from recray.training.track_requests import rank


def run(home: str, data: str, track_name: str, model: str, *, out: str, only_fit: bool) -> None:
    from peers import asked, opened

    history, settings = opened(Path(home), data)
    track = asked(track_name, history)
    known = track.plays.where(track.learnt)
    items = build_items(history.titles, history.availability, known, int(known.at_s.max()) + 1, history.content)
    fit_all(
        known.where(known.profile < 50), items, settings, seed=1, device="cpu", report=lambda *_: None, only=[model]
    )  # compiles
    wall, cpu = time.perf_counter(), time.process_time()
    about = (known, items, settings)
    source = fit_all(*about, seed=settings.training.seed, device="cpu", report=lambda *_: None, only=[model])[model]
    took = {"fit_s": time.perf_counter() - wall, "fit_cpu_s": time.process_time() - cpu}
    if only_fit:
        Path(f"{out}.json").write_text(json.dumps(took))
        return
    np.save(f"{out}.recent.npy", rank(source, track, items, history.keys).top)
    best = {"recent": {"settings": "defaults", **took}}
    Path(f"{out}.json").write_text(json.dumps({"package": "recray", "tried": 0, "best": best}))
