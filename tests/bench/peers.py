"""recray's collaborative filtering beside that of other packages: same split, same requests, same judge, same run.

    python tests/bench/peers.py --home HOME --venv DIR --json docs/results/peers.json

HOME holds the imported data set. Each peer is installed into an environment of its own under DIR, made where it is not there
yet: they want different releases of NumPy. One that does not install is named with its reason. Contestants take turns, each
in a process of its own. Fit times are the least of `--rounds`, in seconds of wall and of processor, with `--threads` threads.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import venv
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import peer_models

from recray.data.history import History, open_history
from recray.evaluation import tracks
from recray.evaluation.protocol import summary
from recray.evaluation.tracks import Track
from recray.settings import Settings, load
from recray.settings.provenance import provenance
from recray.stores.lake import Lake
from recray.training.track_requests import TOP

HERE = Path(__file__).parent
PACKAGES = {
    "implicit": ["implicit==0.7.3"],
    "irspack": ["irspack==0.5.2"],
    "lenskit": ["lenskit==2025.8.1", "torch==2.13.0"],
    "rectools": ["rectools==0.19.0"],
    "recbole": ["recbole==1.2.1", "torch==2.13.0", "setuptools<81"],  # its Ray imports pkg_resources
}
OWN = ("popular", "cowatch", "item_based", "ease", "neighbours", "factors")
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "IRSPACK_NUM_THREADS_DEFAULT", "LK_NUM_THREADS", "LK_NUM_BACKEND_THREADS")
N_VALIDATION = 2_000
N_TEST = 20_000
SEED = 20261122


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--venv", type=Path, required=True)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--data", default="ml-1m")
    parser.add_argument("--tracks", default="B,D")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    peers, refused = install(given.venv)
    at = datetime.now(UTC)
    found: dict[str, Any] = {"seed": SEED, "threads": given.threads, "rounds": given.rounds, "not_run": refused}
    with tempfile.TemporaryDirectory() as folder:
        for name in given.tracks.split(","):
            found[name] = on_track(name, given, peers, Path(folder))
    given.json.write_text(json.dumps(found | provenance(at), indent=2, sort_keys=True) + "\n")


def install(folder: Path) -> tuple[list[str], dict[str, str]]:
    """Names of the packages that are installed there now, and why the others are not."""
    ready, refused = [], {}
    for package, wanted in PACKAGES.items():
        own = folder / package
        if not (own / "bin" / "python").exists():
            venv.create(own, with_pip=True)
        got = subprocess.run([own / "bin" / "pip", "install", "--quiet", *wanted], capture_output=True, text=True, check=False)
        if got.returncode:
            refused[package] = got.stderr.strip().splitlines()[-1]
        else:
            ready.append(package)
    return ready, refused


def on_track(name: str, given: argparse.Namespace, peers: list[str], folder: Path) -> dict[str, Any]:
    """Every contestant's figures on one track."""
    history, _ = opened(given.home, given.data)
    track = asked(name, history)
    split = folder / f"{name}.npz"
    rows = np.flatnonzero(track.validation)
    drawn = np.random.default_rng(SEED).choice(rows, min(N_VALIDATION, rows.size), replace=False)
    plays = track.plays
    np.savez(
        split, profile=plays.profile, item=plays.item, learnt=track.learnt, catalogue=track.catalogue, n_items=plays.n_items,
        n_profiles=plays.n_profiles, validation_rows=np.sort(drawn), test_rows=track.targets.row,
    )  # fmt: skip
    commands = {f"recray {own}": [sys.executable, __file__, "own", given.home, given.data, name, own] for own in OWN}
    for model, (package, _, _) in peer_models.MODELS.items():
        if package in peers:
            python = given.venv / package / "bin" / "python"
            commands[model] = [python, HERE / "peer_models.py", "--split", split, "--model", model]
    models: dict[str, Any] = {}
    for turn in range(given.rounds):
        for model, command in commands.items():
            out = folder / f"{name} {model.replace('/', ' ')}"
            if "failed" in models.get(model, {}):
                continue
            again = [] if turn == 0 else ["--settings", json.dumps(models[model]["settings"])]
            took = ran([*command, "--out", out, *again], given.threads)
            if turn == 0:
                models[model] = took if "failed" in took else judged(took, out, track)
            elif "failed" not in took:
                models[model] |= {key: min(models[model][key], took[key]) for key in ("fit_s", "fit_cpu_s")}
            print(f"{name}, round {turn}: {model} {json.dumps(models[model])}", flush=True)  # noqa: T201  # its progress
    counts = {"requests": len(track.targets), "titles": int(track.catalogue.sum()), "learnt": int(track.learnt.sum())}
    return {"protocol": tracks.PROTOCOLS[name], "data": counts, "models": models}


def opened(home: Path, data: str) -> tuple[History, Settings]:
    settings = load(None, {}, home=home)
    return open_history(Lake(settings.lake_dir), data, settings), settings


def asked(name: str, history: History) -> Track:
    """A track with at most N_TEST of its requests, drawn with the seed."""
    track = tracks.make(name, history.plays)
    if len(track.targets) <= N_TEST:
        return track
    drawn = np.sort(np.random.default_rng(SEED).choice(len(track.targets), N_TEST, replace=False))
    return replace(track, targets=track.targets.take(drawn))


def ran(command: list[Any], threads: int) -> dict[str, Any]:
    """What a contestant wrote of itself, or the last line of what it failed with."""
    held = dict.fromkeys(THREADS, str(threads)) | {"OMP_WAIT_POLICY": "PASSIVE"}
    words = [str(word) for word in command]
    got = subprocess.run(words, env=os.environ | held, check=False, capture_output=True, text=True)
    if got.returncode:
        return {"failed": got.stderr.strip().splitlines()[-1]}
    return json.loads(Path(words[words.index("--out") + 1] + ".json").read_text())


def judged(took: dict[str, Any], out: Path, track: Track) -> dict[str, Any]:
    """Figures of the lists that a contestant wrote, and of its fit; those with recency beside those without."""
    best = took.pop("best")
    figures = {}
    for kind, about in best.items():
        top = np.load(Path(f"{out}.{kind}.npy"))
        hit = top == track.targets.item[:, None]
        ranks = np.where(hit.any(axis=1), hit.argmax(axis=1), TOP) + 1
        shown = np.unique(top[top >= 0]).size / int(track.catalogue.sum())
        figures[kind] = {key: value for key, value in summary(ranks, [TOP]).items() if key[0] != "m"}
        figures[kind] |= {f"coverage@{TOP}": shown, "settings": about["settings"]}
    first = best[min(best, key=lambda kind: kind != "sets")]
    return took | figures | {key: first[key] for key in ("fit_s", "fit_cpu_s", "settings")}


if __name__ == "__main__":
    if sys.argv[1:2] == ["own"]:
        from own_models import run

        run(*sys.argv[2:6], out=sys.argv[7], only_fit="--settings" in sys.argv)
    else:
        main()
