"""What the application counts about itself, in Prometheus' text format at /metrics. Declared here, once each."""

from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_BUCKETS_MS = (1, 2, 3, 5, 7.5, 10, 15, 20, 25, 35, 50, 75, 100, 150, 250, 500, 1_000, 2_500)


@dataclass
class Counters:
    """The series of one gateway replica, in a registry of its own so that two gateways can live in one process."""

    registry: CollectorRegistry = field(default_factory=CollectorRegistry)

    def __post_init__(self) -> None:
        self.requests = Counter("recray_requests", "Answers by page and status", ("page", "status"), registry=self.registry)
        self.stage_ms = Histogram("recray_stage_ms", "Time per stage", ("stage",), buckets=_BUCKETS_MS, registry=self.registry)
        self.degraded = Counter("recray_degraded", "Answers with a degraded stage", ("stage",), registry=self.registry)
        self.feedback = Counter("recray_feedback", "Feedback events by verdict", ("verdict",), registry=self.registry)
        self.batch = Histogram(
            "recray_batch_requests", "Requests per batch", buckets=(1, 2, 4, 8, 16, 32, 64), registry=self.registry
        )
        self.unlogged = Counter("recray_unlogged_slates", "Slates that could not be logged", registry=self.registry)
        self.sink = Gauge(
            "recray_sink", "Written, quarantined, lag_entries and lag_s of the sink", ("fact",), registry=self.registry
        )
        self.bundle = Gauge("recray_bundle_loaded", "Bundles by alias", ("alias", "bundle"), registry=self.registry)

    def text(self) -> bytes:
        """The exposition."""
        return generate_latest(self.registry)
