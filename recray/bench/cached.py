"""What response caches save: the same few profiles asking again and again, with the caches off and with them full.

Reported apart from every other figure, which is taken with them off. It is the most they can save: nobody sends feedback.
"""

from collections.abc import Sequence
from dataclasses import replace
from http.client import HTTPException
from typing import Any, Final
from urllib.error import URLError
from urllib.request import urlopen

from recray.bench.compare import Plan, Say, measure
from recray.bench.contestants import CONTESTANTS, Running, running
from recray.bench.per_core import HOST
from recray.bench.prepared import Prepared
from recray.errors import ConfigError

_WITH_CACHES: Final = ("fused", "composed", "monolith_tuned")
_PROFILES: Final = 200
_ASK_S: Final = 30.0
_MOST_SECONDS: Final = 60.0
"""Short of the time for which an answer is reused: none has to be made anew while it is measured."""


def gain(prepared: Prepared, plan: Plan, say: Say) -> dict[str, Any]:
    """Figures of one contestant with caches `off` and `on`, their ratios, and the share of answers that were reused.

    Raises:
        ConfigError: no contestant has caches.
    """
    name = next((name for name in _WITH_CACHES if name in plan.contestants), None)
    if name is None:
        raise ConfigError(f"contestants are {list(plan.contestants)}; expected one with caches: {', '.join(_WITH_CACHES)}")
    short = replace(plan, seconds=min(plan.seconds, _MOST_SECONDS))
    paths = prepared.paths(plan.endpoint)[:_PROFILES]
    found: dict[str, dict[str, Any]] = {}
    for side, on in (("off", False), ("on", True)):
        with running(CONTESTANTS[name], replace(prepared, response_cache=on), plan.cores, paths) as server:
            _reused(server, paths)
            found[side] = measure(server, paths, short, plan.seed) | {"reused": _reused(server, paths)}
        say(f"response cache {side}: {found[side]['cpu_ms_per_request']} ms CPU per request")
    ratios = {
        figure: round(found["on"][figure] / found["off"][figure], 3) if found["off"][figure] else None
        for figure in ("requests_per_s", "p50_ms", "p99_ms", "cpu_ms_per_request")
    }
    return {"contestant": name, "profiles": len(paths), **found, "on/off": ratios}


def _reused(server: Running, paths: Sequence[str]) -> float:
    """Share of the requests, each sent once, whose answer had been made before."""
    levels = []
    for path in paths:
        try:
            with urlopen(f"http://{HOST}:{server.port}{path}", timeout=_ASK_S) as reply:  # loopback only
                levels.append(reply.headers.get("X-Cache"))
        except (URLError, OSError, HTTPException):
            levels.append(None)
    return round(sum(level in {"l1", "l2"} for level in levels) / len(levels), 4)
