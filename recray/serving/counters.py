"""What the application counts about itself, in Prometheus' text format at /metrics. Declared here, once each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from recray.pages.answer import Answer
from recray.schema import word

_BUCKETS_MS = (1, 2, 3, 5, 7.5, 10, 15, 20, 25, 35, 50, 75, 100, 150, 250, 500, 1_000, 2_500)

_TENTHS = tuple(tenth / 10 for tenth in range(11))


@dataclass
class Counters:
    """The series of one gateway replica, in a registry of its own so that two gateways can live in one process."""

    registry: CollectorRegistry = field(default_factory=CollectorRegistry)

    def __post_init__(self) -> None:
        self.requests = Counter("recray_requests", "Answers by page and status", ("page", "status"), registry=self.registry)
        self.stage_ms = Histogram(
            "recray_stage_ms", "Time per stage and batch", ("stage",), buckets=_BUCKETS_MS, registry=self.registry
        )
        self.degraded = Counter("recray_degraded", "Answers with a degraded stage", ("stage",), registry=self.registry)
        self.feedback = Counter("recray_feedback", "Feedback events by verdict", ("verdict",), registry=self.registry)
        self.batch = Histogram(
            "recray_batch_requests", "Requests per batch", buckets=(1, 2, 4, 8, 16, 32, 64), registry=self.registry
        )
        self.errors = Counter("recray_errors", "Answers of status 400 and above", ("status",), registry=self.registry)
        self.shed = Counter("recray_shed", "Requests refused because too many were inside", registry=self.registry)
        self.unlogged = Counter("recray_unlogged_slates", "Slates that could not be logged", registry=self.registry)
        self.reused = Counter(
            "recray_response_cache", "Requests by where their answer came from", ("level",), registry=self.registry
        )
        self.joined = Counter("recray_response_cache_joined", "Requests that shared a computation", registry=self.registry)
        self.kept_bytes = Counter("recray_response_cache_kept_bytes", "Bytes kept in the store", registry=self.registry)
        self.copies_bytes = Gauge("recray_response_cache_l1_bytes", "Bytes held in this replica", registry=self.registry)
        self.sink = Gauge(
            "recray_sink", "Written, quarantined, lag_entries and lag_s of the sink", ("fact",), registry=self.registry
        )
        self.tally = Gauge(
            "recray_tally", "Version, age_s, rows, bytes and memory_bytes of live counts", ("fact",), registry=self.registry
        )
        self.shadow = Counter(
            "recray_shadow", "Requests that the challenger was to answer too", ("challenger", "outcome"), registry=self.registry
        )
        self.shadow_ms = Histogram(
            "recray_shadow_ms",
            "Time per request, profile not read",
            ("challenger", "bundle"),
            buckets=_BUCKETS_MS,
            registry=self.registry,
        )
        self.shadow_overlap = Histogram(
            "recray_shadow_overlap", "Share of titles that both show", ("challenger",), buckets=_TENTHS, registry=self.registry
        )
        self.refusals = Counter("recray_bundle_refusals", "Bundles that could not be loaded", registry=self.registry)
        self.refused = Gauge("recray_bundles_refused", "Bundles that this replica refuses now", registry=self.registry)
        self.bundle = Gauge("recray_bundle_loaded", "Bundles by alias", ("alias", "bundle"), registry=self.registry)

    def show(self, named: Mapping[str, str], n_refused: int) -> None:
        """Say which bundle each alias names in this replica, and how many it refuses."""
        self.bundle.clear()
        for alias, bundle_id in named.items():
            self.bundle.labels(alias, bundle_id).set(1)
        self.refused.set(n_refused)

    def count(self, answers: Sequence[Answer]) -> None:
        """Count the answers of one batch; its stages took their time once, however many shared it."""
        for answer in answers:
            self.requests.labels(word(answer.page), "degraded" if answer.degraded else "ok").inc()
            for stage in answer.degraded:
                self.degraded.labels(stage).inc()
            if answer.row == 0:
                for stage, ms in answer.took_ms.items():
                    self.stage_ms.labels(stage).observe(ms)

    def text(self) -> bytes:
        """The exposition."""
        return generate_latest(self.registry)
