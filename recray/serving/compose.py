"""Where each part runs: settings -> the bound Serve graph. One request path, two placements.

`fused`: every part of a request inside the gateway's replicas. `composed`: features, candidates and each ranker are deployments
of their own, each with its own autoscaling bounds. The sink is one in both.
"""

import logging
from typing import Any

import ray
from ray import serve
from ray.serve.config import HTTPOptions
from ray.serve.handle import DeploymentHandle
from ray.serve.schema import LoggingConfig

from recray.bundle import RANKERS
from recray.serving.deployments import (
    CandidateGeneratorDeployment,
    FeatureLookupDeployment,
    GatewayDeployment,
    RankerDeployment,
    SinkDeployment,
)
from recray.settings import ReplicaBounds, ServingSettings, Settings

APPLICATION = "recray"
_METRICS_S = 1.0
"""How often replicas and handles tell of their load. Ray 2.60 warns that variables replace the option; they do nothing yet."""
_QUIET = LoggingConfig(enable_access_log=False, log_level="WARNING")


def _options(bounds: ReplicaBounds, serving: ServingSettings) -> dict[str, Any]:
    """Deployment options of one part.

    The gateway's replicas report only requests they have admitted, so the target must lie well below what they admit or
    nothing ever scales up.
    """
    options: dict[str, Any] = {
        "ray_actor_options": {"num_cpus": bounds.cpus, "num_gpus": bounds.gpus},
        "max_ongoing_requests": bounds.max_ongoing,
        "health_check_period_s": serving.health_period_s,
        "health_check_timeout_s": serving.health_timeout_s,
        "graceful_shutdown_wait_loop_s": 0.5,
        "logging_config": _QUIET,
    }
    if bounds.max_replicas == bounds.min_replicas:
        return options | {"num_replicas": bounds.min_replicas}
    scaling = {
        "min_replicas": bounds.min_replicas,
        "max_replicas": bounds.max_replicas,
        "target_ongoing_requests": min(bounds.target_ongoing, bounds.max_ongoing / 2),
        "upscale_delay_s": bounds.upscale_delay_s,
        "downscale_delay_s": bounds.downscale_delay_s,
        "metrics_interval_s": _METRICS_S,
        "look_back_period_s": bounds.look_back_s,
    }
    return options | {"autoscaling_config": scaling}


def compose(settings: Settings) -> serve.Application:
    """The application graph of the settings' topology."""
    given = settings.model_dump(mode="json")
    serving = settings.serving

    def deployment(kind: type, name: str, bounds: ReplicaBounds) -> serve.Deployment:
        return serve.deployment(kind).options(name=name, **_options(bounds, serving))

    gateway = deployment(GatewayDeployment, "Gateway", serving.gateway)
    # Bound to the gateway so that Serve runs it: what viewers do reaches the lake without anyone asking.
    sink: dict[str, Any] = {}
    if settings.sink.served:
        sink["sink"] = deployment(SinkDeployment, "Sink", ReplicaBounds(cpus=settings.sink.cpus)).bind(given)
    if serving.topology == "fused":
        return gateway.bind(given, sink)
    handles: dict[str, Any] = {
        **sink,
        "features": deployment(FeatureLookupDeployment, "FeatureLookup", serving.features).bind(given),
        "candidates": deployment(CandidateGeneratorDeployment, "CandidateGenerator", serving.candidates).bind(given),
        **{name: deployment(RankerDeployment, f"Ranker-{name}", serving.ranker).bind(given) for name in RANKERS},
    }
    return gateway.bind(given, handles)


def launch(settings: Settings) -> str:
    """Start Ray if need be, deploy the application, and return its URL once it answers.

    Listens on the settings' host only: HAProxy's mode would bind every interface if the host were left to its default.
    """
    if not ray.is_initialized():
        training = settings.training
        ray.init(
            num_cpus=training.logical_cpus,
            object_store_memory=training.object_store_bytes,
            include_dashboard=False,
            log_to_driver=False,
            configure_logging=False,
        )
    # It tells of every step that was asked for, up and down.
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    serve.start(http_options=HTTPOptions(host=settings.serving.host, port=settings.serving.port), logging_config=_QUIET)
    handle: DeploymentHandle = serve.run(compose(settings), name=APPLICATION, route_prefix="/")
    del handle
    return f"http://{settings.serving.host}:{settings.serving.port}"


def shut_down() -> None:
    """Take the application down, draining what is under way, and then Ray, if this process started it."""
    serve.delete(APPLICATION)
    ray.shutdown()
