"""Environment variables that make Ray behave otherwise than one may think."""

from collections.abc import Iterator, Mapping
from typing import Final

from recray.operations.finding import Finding, fail, ok, warn

_ON: Final = ("1", "true", "True")


def conflicts(environment: Mapping[str, str], n_cpus: int, has_token: bool) -> Iterator[Finding]:
    """What in the environment contradicts itself or this machine, or one finding that nothing does.

    `has_token` says whether a Ray authentication token lies in the home folder.
    """
    found = [*_authentication(environment, has_token), *_serve(environment), *_elsewhere(environment, n_cpus)]
    yield from found or [ok("environment", "no conflicts")]


def _authentication(environment: Mapping[str, str], has_token: bool) -> Iterator[Finding]:
    mode = environment.get("RAY_AUTH_MODE")
    if has_token and mode is None:
        advice = "Ray then asks for it on every cluster it starts: set RAY_AUTH_MODE to token or disabled"
        yield warn("RAY_AUTH_MODE", "not set, and ~/.ray/auth_token exists", advice)
    if mode == "token" and not (has_token or environment.get("RAY_AUTH_TOKEN") or environment.get("RAY_AUTH_TOKEN_PATH")):
        yield fail("RAY_AUTH_MODE", "token, and there is none", "ray get-auth-token --generate, or set RAY_AUTH_MODE=disabled")


def _serve(environment: Mapping[str, str]) -> Iterator[Finding]:
    throughput = environment.get("RAY_SERVE_THROUGHPUT_OPTIMIZED") in _ON
    haproxy = environment.get("RAY_SERVE_ENABLE_HA_PROXY")
    if throughput and haproxy is not None and haproxy not in _ON:
        advice = "Serve then runs one proxy on the head and expects a balancer of yours: set both to 1, or neither"
        yield warn("RAY_SERVE_THROUGHPUT_OPTIMIZED", f"1, with RAY_SERVE_ENABLE_HA_PROXY={haproxy}", advice)
    if "RAY_SERVE_LOG_ENCODING" in environment:
        yield warn("RAY_SERVE_LOG_ENCODING", "set", "Ray 2.60 does not read it: set the encoding in logging_config")


def _elsewhere(environment: Mapping[str, str], n_cpus: int) -> Iterator[Finding]:
    if address := environment.get("RAY_ADDRESS"):
        yield warn("RAY_ADDRESS", address, "commands join that cluster and start none: unset it to work on this machine")
    threads = environment.get("OMP_NUM_THREADS", "")
    if threads.isdigit() and int(threads) > n_cpus:
        advice = "threads then wait for each other in every matrix product: set it to the number of CPUs or less"
        yield warn("OMP_NUM_THREADS", f"{threads}, for {n_cpus} CPUs", advice)
