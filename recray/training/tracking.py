"""Where a training run's figures can be followed: one W&B run, online with a key and a network, otherwise in a folder.

Tracking watches training and never stops it: what fails here is logged once, and the run goes on without it.
"""

import logging
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Literal, Protocol, cast, get_args
from urllib.parse import urlsplit

import wandb

Mode = Literal["online", "offline", "disabled"]
PROJECT: Final = "recray"
_HOST: Final = "https://api.wandb.ai"
_PATIENCE_S: Final = 3.0

_log = logging.getLogger(__name__)


class Tracking(Protocol):
    """One training run as its followers see it."""

    def log(self, figures: Mapping[str, float]) -> None:
        """Add a step with named figures."""
        ...

    def summarize(self, facts: Mapping[str, Any]) -> None:
        """Set what holds of the whole run: metrics, bundle, gate."""
        ...

    def finish(self) -> None:
        """Close the run; nothing may be logged after."""
        ...


class NoTracking:
    """The run that nobody follows."""

    def log(self, figures: Mapping[str, float]) -> None: ...

    def summarize(self, facts: Mapping[str, Any]) -> None: ...

    def finish(self) -> None: ...


class WandbTracking:
    """One W&B run; after the first failure it does nothing more."""

    def __init__(self, run: Any) -> None:
        self._run = run

    def log(self, figures: Mapping[str, float]) -> None:
        self._try("log", lambda: self._run.log(dict(figures)))

    def summarize(self, facts: Mapping[str, Any]) -> None:
        self._try("summarize", lambda: self._run.summary.update(dict(facts)))

    def finish(self) -> None:
        self._try("finish", lambda: self._run.finish())
        self._run = None

    def _try(self, what: str, act: Callable[[], Any]) -> None:
        if self._run is None:
            return
        try:
            act()
        except Exception:  # noqa: BLE001  # whatever breaks in tracking, training goes on
            _log.warning("W&B could not %s; the run goes on without tracking", what, exc_info=True)
            self._run = None


def mode(environment: Mapping[str, str]) -> Mode:
    """How W&B shall run: as WANDB_MODE says; else online with a WANDB_API_KEY whose host answers; else offline."""
    asked = environment.get("WANDB_MODE", "")
    if asked in get_args(Mode):
        return cast("Mode", asked)
    return "online" if environment.get("WANDB_API_KEY") and _answers(environment.get("WANDB_BASE_URL") or _HOST) else "offline"


def _answers(url: str) -> bool:
    parts = urlsplit(url)
    try:
        socket.create_connection((parts.hostname or "", parts.port or 443), _PATIENCE_S).close()
    except OSError:
        return False
    return True


def start(name: str, config: Mapping[str, Any], folder: Path, environment: Mapping[str, str]) -> Tracking:
    """A tracked run, its files under `folder`/wandb; asks nobody anything, and is a null run when W&B cannot start."""
    chosen = mode(environment)
    if chosen == "disabled":
        return NoTracking()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        return WandbTracking(
            wandb.init(
                project=PROJECT,
                name=name,
                config=dict(config),
                dir=str(folder),
                mode=chosen,
                settings=wandb.Settings(silent=True, console="off", init_timeout=30),
            )
        )
    except Exception:  # noqa: BLE001  # whatever breaks in tracking, training goes on
        _log.warning("W&B did not start; the run goes on without tracking", exc_info=True)
        return NoTracking()
