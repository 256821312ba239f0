"""Knobs of what runs: the online store, the sink, the Serve application, and traffic against it."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from recray.settings.kinds import Count, Knobs, Seconds, Share


class StoreSettings(Knobs):
    """The online store. `url` empty starts the embedded Valkey under `home`; `n_shards` is what an empty store begins with."""

    url: str = ""
    port: Annotated[int, Field(ge=0, le=65535)] = 0
    n_shards: Count = 16
    dedup_ttl_s: Count = 7 * 86_400
    record_ttl_s: Count = 6 * 3_600
    slates_max_length: Count = 200_000
    timeout_s: Seconds = 0.25
    max_future_s: Annotated[int, Field(ge=0)] = 300

    @property
    def max_late_s(self) -> int:
        """How old an event may be when it comes: while younger, a copy of it still meets the dedup mark of the first.

        A mark is set at most `max_future_s` before the event's own time; clocks of two gateways may differ by as much again.
        """
        return max(self.dedup_ttl_s - 2 * self.max_future_s, 0)


class SinkSettings(Knobs):
    """What carries the event log into the lake: when a batch is full, and when its small files are merged.

    With `served` every application that is served has one; without, `recray sink` has to run beside it. An entry that cannot be
    read is tried `tries` times, `max_age_s` apart, before it is set aside. Files that a merge or an erasure replaced stay for
    `retired_s`, for readers that are under way.
    """

    served: bool = True
    max_rows: Count = 20_000
    max_bytes: Count = 16_000_000
    max_age_s: Seconds = 5.0
    poll_s: Seconds = 0.25
    claim_idle_s: Seconds = 15.0
    tries: Count = 3
    merge_parts: Annotated[int, Field(ge=2)] = 16
    upkeep_s: Seconds = 60.0
    retired_s: Annotated[float, Field(ge=0.0)] = 6 * 3_600.0
    cpus: Annotated[float, Field(ge=0)] = 0.1

    @model_validator(mode="after")
    def _claims_only_from_the_dead(self) -> Self:
        if self.claim_idle_s <= self.max_age_s:
            raise ValueError(
                f"claim_idle_s {self.claim_idle_s} must be more than max_age_s {self.max_age_s}, its time with entries"
            )
        return self


class LiveSettings(Knobs):
    """Counts of what is watched and shown right now: who keeps them up, what is held, and how sources read them.

    Beside the sink, every `every_s` what is new in the logs is counted, at most `max_entries` of each log at a time; replicas
    look for a new version every `refresh_s`. Of accounts and titles that were counted the newest `most_pairs` are remembered.
    An account counts for `account_titles` titles a day at most. `windows_h` are half lives that trending looks at beside the
    fitted one, `prior_shown` the accounts that a new title's fitted rate stands for. An answer can be made again exactly while
    its version is among the last `kept_versions`.
    """

    served: bool = True
    every_s: Seconds = 1.0
    refresh_s: Seconds = 1.0
    max_entries: Count = 8_000
    account_titles: Count = 20
    windows_h: tuple[Seconds, ...] = (1.0, 24.0)
    prior_shown: Annotated[float, Field(gt=0)] = 50.0
    keep_days: Annotated[float, Field(gt=2.0)] = 60.0
    most_rows: Count = 1_000_000
    most_pairs: Count = 200_000
    kept_versions: Count = 60


class ReplicaBounds(Knobs):
    """Autoscaling bounds of one deployment.

    Replicas are added once `target_ongoing` requests per replica have been exceeded for `upscale_delay_s`, and taken away once
    fewer would do for `downscale_delay_s`; `look_back_s` is what load is averaged over.
    """

    min_replicas: Count = 1
    max_replicas: Count = 1
    max_ongoing: Count = 512
    target_ongoing: Annotated[float, Field(gt=0)] = 8
    upscale_delay_s: Annotated[float, Field(ge=0)] = 3.0
    downscale_delay_s: Annotated[float, Field(ge=0)] = 120.0
    look_back_s: Annotated[float, Field(gt=1)] = 6.0
    cpus: Annotated[float, Field(ge=0)] = 0.2
    gpus: Annotated[float, Field(ge=0)] = 0.0


class StageBounds(ReplicaBounds):
    """Bounds of a deployment behind the gateway.

    What it has in hand are batches, of which a gateway replica has `max_concurrent_batches` at a time at most: with the
    gateway's target it would never grow.
    """

    target_ongoing: Annotated[float, Field(gt=0)] = 0.8


class StageBudgets(Knobs):
    """Longest time a stage of a batch may take before its fallback answers."""

    features_ms: Annotated[float, Field(gt=0)] = 100.0
    candidates_ms: Annotated[float, Field(gt=0)] = 300.0
    rank_ms: Annotated[float, Field(gt=0)] = 300.0


class ServingSettings(Knobs):
    """The Serve application.

    `max_concurrent_batches` are those of a gateway replica. By default one when it computes everything itself, where a second
    would take from the size of the first, and two when other deployments work for it meanwhile.
    """

    topology: Literal["composed", "fused"] = "fused"
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    max_batch: Count = 32
    max_concurrent_batches: Count | None = None
    most_delay_ms: Annotated[float, Field(gt=0)] = 150.0
    budgets: StageBudgets = StageBudgets()
    breaker_patience: Count = 3
    breaker_rest_s: Seconds = 1.0
    alias_poll_s: Seconds = 1.0
    health_period_s: Seconds = 1.0
    health_timeout_s: Seconds = 3.0
    gateway: ReplicaBounds = ReplicaBounds()
    features: StageBounds = StageBounds()
    candidates: StageBounds = StageBounds()
    ranker: StageBounds = StageBounds()
    shadow_share: Share = 0.0
    default_region: str | None = None
    response_cache: bool = True
    cache_ttl_s: Annotated[int, Field(ge=1, le=3_600)] = 300
    cache_l1_bytes: Annotated[int, Field(ge=0)] = 64 * 2**20
    cache_profile_bytes: Annotated[int, Field(ge=0)] = 64 * 2**10
    admin_token: str = Field(default="", exclude=True, repr=False)

    @property
    def n_batches(self) -> int:
        """Batches of a gateway replica that are under way at a time at most."""
        return self.max_concurrent_batches or (1 if self.topology == "fused" else 2)


class TrafficSettings(Knobs):
    """How the viewers of `recray simulate load` behave, and what bounds their load.

    A session has `pages_per_session` pages on average, the first one a homepage and each of the others drawn from `pages` by
    weight. Think times are log-normal: half of them are shorter than `think_s`, `think_spread` is the deviation of their
    logarithm. On a page a viewer plays a title, or likes or hides one, with the given chance; a title that is played is
    completed with chance `completed`. Titles and genres are drawn again with a weight of rank ** -zipf.
    """

    pages_per_session: Annotated[float, Field(ge=1.0, le=50.0)] = 4.0
    pages: dict[Literal["homepage", "post-watch", "search", "category"], Annotated[float, Field(ge=0.0)]] = Field(
        {
            "homepage": 0.2,
            "post-watch": 0.4,
            "search": 0.2,
            "category": 0.2,
        }
    )
    think_s: Seconds = 1.0
    think_spread: Annotated[float, Field(ge=0.0, le=3.0)] = 0.8
    zipf: Annotated[float, Field(ge=0.0, le=5.0)] = 1.0
    played: Share = 0.35
    completed: Share = 0.5
    liked: Share = 0.05
    hidden: Share = 0.03
    connections: Annotated[int, Field(ge=1, le=4_096)] = 128
    most_under_way: Annotated[int, Field(ge=1, le=100_000)] = 1_000
    most_retry_after_s: Seconds = 30.0
    tries: Count = 3
    drain_s: Seconds = 10.0

    @model_validator(mode="after")
    def _chances_add_up(self) -> "TrafficSettings":
        if self.played + self.liked + self.hidden > 1.0 or not any(self.pages.values()):
            raise ValueError("played, liked and hidden exceed 1 together, or no page has a weight")
        return self
