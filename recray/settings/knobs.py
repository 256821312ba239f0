"""Every knob once, with its unit, bound and default. Values only: nothing here reads a file or the environment."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Count = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0.0)]
Scale = Literal["smoke", "laptop", "cluster"]


class Knobs(BaseModel):
    """Frozen, and refuses names it does not know, so that a typo is an error and not a default."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class SplitSettings(Knobs):
    """Shares of the time axis, by event count: sources learn from the first, rankers from the second."""

    sources: Share = 0.70
    rankers: Share = 0.10
    validation: Share = 0.10
    gap_s: Annotated[float, Field(ge=0.0)] = 0.0


class SourceSettings(Knobs):
    """Candidate sources: how many each may propose and how each is fitted.

    A `*_half_life` without a unit counts positions of the history: the weight of a title halves every so many titles.
    """

    quota: Count = 120
    n_candidates: Count = 500
    popularity_half_life_days: Seconds = 180.0
    trending_half_life_days: Seconds = 7.0
    new_release_days: Seconds = 365.0
    n_neighbours: Count = 100
    cowatch_window: Count = 10
    history: Count = 30
    history_half_life: Annotated[float, Field(gt=0)] = 4.0
    factors: Count = 64
    als_iterations: Count = 15
    als_regularization: Annotated[float, Field(gt=0)] = 1.0
    als_alpha: Annotated[float, Field(gt=0)] = 10.0
    n_reference_profiles: Count = 4000
    n_similar_profiles: Count = 80
    similar_history: Count = 30
    similar_history_half_life: Annotated[float, Field(gt=0)] = 5.0
    factors_history: Count = 20
    factors_history_half_life: Annotated[float, Field(gt=0)] = 4.0
    content_dim: Count = 64
    content_half_life: Annotated[float, Field(gt=0)] = 3.0
    content_appeal: Annotated[float, Field(ge=0)] = 0.2


class SequenceSettings(Knobs):
    """The causal transformer over a profile's history (SASRec with full cross-entropy)."""

    dim: Count = 64
    blocks: Count = 2
    heads: Count = 1
    dropout: Share = 0.2
    max_length: Count = 100
    batch_size: Count = 32
    epochs: Count = 25
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    patience: Count = 3


class DeepSettings(Knobs):
    """The deep ranker: embeddings and features into dense layers, one sigmoid per objective."""

    hidden: tuple[Count, ...] = (512, 256, 128)
    embedding_dim: Count = 32
    dropout: Share = 0.3
    batch_size: Count = 32
    epochs: Count = 6
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    weight_decay: Annotated[float, Field(ge=0)] = 1e-5
    listwise_weight: Share = 0.5


class BoostedSettings(Knobs):
    """The tree ranker: XGBoost `rank:ndcg`."""

    n_trees: Count = 300
    max_depth: Count = 6
    learning_rate: Annotated[float, Field(gt=0)] = 0.08
    min_child_weight: Annotated[float, Field(ge=0)] = 5.0
    subsample: Share = 0.8
    column_share: Share = 0.8
    pairs_per_query: Count = 16
    early_stopping_rounds: Count = 30


class ExampleSettings(Knobs):
    """How ranker examples are drawn from history that recray did not serve."""

    n_requests: Count = 12_000
    per_profile: Count = 12
    n_negatives: Count = 60
    horizon: Count = 5


class SlateSettings(Knobs):
    """How scores become a slate: business weights of the objectives, diversity, exploration."""

    weights: dict[str, float] = {"start": 1.0, "completion": 0.3, "dislike": -0.3}
    diversity: Share = 0.1
    exploration: Share = 0.0
    row_size: Annotated[int, Field(ge=1, le=100)] = 20
    n_rows: Annotated[int, Field(ge=1, le=40)] = 10


class TrainingSettings(Knobs):
    """Ray Train and Tune."""

    n_workers: Count = 1
    cpus_per_worker: Annotated[float, Field(gt=0)] = 0.5
    cpus_per_fit: Annotated[float, Field(gt=0)] = 2.0
    use_gpu: bool = False
    seed: int = 20261122
    n_trials: Count = 8
    max_concurrent_trials: Count = 1
    n_blocks: Count = 2
    data_cpus: Annotated[float, Field(gt=0)] | None = 2.0
    logical_cpus: Count = 4
    object_store_bytes: Annotated[int, Field(ge=78_643_200)] = 1_000_000_000


class EvaluationSettings(Knobs):
    """Offline judgement."""

    k: Count = 10
    n_requests: Count = 2_000
    gate_confidence: Annotated[float, Field(gt=0.5, lt=1.0)] = 0.95
    gate_resamples: Count = 400
    gate_margin: Share = 0.05


class StoreSettings(Knobs):
    """The online store. `url` empty starts the embedded Valkey under `home`."""

    url: str = ""
    port: Annotated[int, Field(ge=0, le=65535)] = 0
    n_shards: Count = 16
    dedup_ttl_s: Count = 7 * 86_400
    record_ttl_s: Count = 6 * 3_600
    slates_max_length: Count = 200_000
    timeout_s: Seconds = 0.25
    max_future_s: Annotated[int, Field(ge=0)] = 300


class ReplicaBounds(Knobs):
    """Autoscaling bounds of one deployment."""

    min_replicas: Count = 1
    max_replicas: Count = 1
    max_ongoing: Count = 512
    target_ongoing: Annotated[float, Field(gt=0)] = 16
    cpus: Annotated[float, Field(ge=0)] = 0.2
    gpus: Annotated[float, Field(ge=0)] = 0.0


class StageBudgets(Knobs):
    """Longest time a stage of a batch may take before its fallback answers."""

    features_ms: Annotated[float, Field(gt=0)] = 100.0
    candidates_ms: Annotated[float, Field(gt=0)] = 300.0
    rank_ms: Annotated[float, Field(gt=0)] = 300.0


class ServingSettings(Knobs):
    """The Serve application."""

    topology: Literal["composed", "fused"] = "fused"
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    max_batch: Count = 32
    max_concurrent_batches: Count = 2
    most_delay_ms: Annotated[float, Field(gt=0)] = 150.0
    budgets: StageBudgets = StageBudgets()
    breaker_patience: Count = 3
    breaker_rest_s: Seconds = 1.0
    alias_poll_s: Seconds = 1.0
    gateway: ReplicaBounds = ReplicaBounds()
    features: ReplicaBounds = ReplicaBounds()
    candidates: ReplicaBounds = ReplicaBounds()
    ranker: ReplicaBounds = ReplicaBounds()
    shadow_share: Share = 0.0
    default_region: str | None = None
    response_cache: bool = True
    cache_ttl_s: Annotated[int, Field(ge=1, le=3_600)] = 300
    cache_l1_bytes: Annotated[int, Field(ge=0)] = 64 * 2**20
    cache_profile_bytes: Annotated[int, Field(ge=0)] = 64 * 2**10
    admin_token: str = Field(default="", exclude=True, repr=False)


class TrafficSettings(Knobs):
    """How the viewers of `recray simulate load` behave, and what bounds their load.

    A session has `pages_per_session` pages on average, the first one a homepage and each of the others drawn from `pages` by
    weight. Think times are log-normal: half of them are shorter than `think_s`, `think_spread` is the deviation of their
    logarithm. On a page a viewer plays a title, or likes or hides one, with the given chance; a title that is played is
    completed with chance `completed`. Titles and genres are drawn again with a weight of rank ** -zipf.
    """

    pages_per_session: Annotated[float, Field(ge=1.0, le=50.0)] = 4.0
    pages: dict[Literal["homepage", "post-watch", "search", "category"], Annotated[float, Field(ge=0.0)]] = {
        "homepage": 0.2,
        "post-watch": 0.4,
        "search": 0.2,
        "category": 0.2,
    }
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


class Settings(Knobs):
    """The whole of recray's configuration, resolved."""

    scale: Scale = "laptop"
    home: Path = Path("var")
    split: SplitSettings = SplitSettings()
    sources: SourceSettings = SourceSettings()
    sequence: SequenceSettings = SequenceSettings()
    deep: DeepSettings = DeepSettings()
    boosted: BoostedSettings = BoostedSettings()
    examples: ExampleSettings = ExampleSettings()
    slate: SlateSettings = SlateSettings()
    training: TrainingSettings = TrainingSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    store: StoreSettings = StoreSettings()
    serving: ServingSettings = ServingSettings()
    traffic: TrafficSettings = TrafficSettings()
    experiments_file: Path | None = None

    @property
    def lake_dir(self) -> Path:
        """Imported data sets, one folder each."""
        return self.home / "lake"

    @property
    def registry_dir(self) -> Path:
        """Bundles and the aliases that name them."""
        return self.home / "registry"
