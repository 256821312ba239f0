"""Every knob once, with its unit, bound and default. Values only: nothing here reads a file or the environment."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from recray.settings.kinds import Count, Knobs, Scale, Seconds, Share
from recray.settings.online import LiveSettings, ServingSettings, SinkSettings, StoreSettings, TrafficSettings


class SplitSettings(Knobs):
    """Shares of the time axis, by event count: sources learn from the first, rankers from the second."""

    sources: Share = 0.70
    rankers: Share = 0.10
    validation: Share = 0.10
    gap_s: Annotated[float, Field(ge=0.0)] = 0.0


class SourceSettings(Knobs):
    """Candidate sources: how many each may propose and how each is fitted.

    A `*_half_life` without a unit counts positions of the history: the weight of a title halves every so many titles.
    `left_out` names sources that are not fitted and so not served.
    """

    left_out: tuple[str, ...] = ()
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
    als_iterations: Count = 10
    als_regularization: Annotated[float, Field(gt=0)] = 1.0
    als_alpha: Annotated[float, Field(gt=0)] = 10.0
    n_reference_profiles: Count = 4000
    n_similar_profiles: Count = 50
    similar_history: Count = 10
    similar_history_half_life: Annotated[float, Field(gt=0)] = 5.0
    factors_history: Count = 20
    factors_history_half_life: Annotated[float, Field(gt=0)] = 4.0
    ease_titles: Count = 15_000
    ease_regularization: Annotated[float, Field(gt=0)] = 1_000.0
    content_dim: Count = 64
    content_half_life: Annotated[float, Field(gt=0)] = 3.0
    content_appeal: Annotated[float, Field(ge=0)] = 0.2


class SequenceSettings(Knobs):
    """The causal transformer over a profile's history (SASRec with full cross-entropy).

    `learning_rate` is the highest: it is reached in the first steps and falls to nothing at the end of `epochs`.
    A fit that goes on from a former one takes `warm_epochs` instead, with the same rise and fall of the rate.
    `request_time`: the times of the history and the moment of the request are known to the model. `title_dropout`: share of
    titles that content alone stands for at each step. `new_share`: least share of starts that is taken to be of titles nobody
    watched yet.
    """

    dim: Count = 64
    blocks: Count = 2
    heads: Count = 1
    dropout: Share = 0.2
    max_length: Count = 50
    batch_size: Count = 32
    epochs: Count = 12
    learning_rate: Annotated[float, Field(gt=0)] = 2e-3
    warm_epochs: Count = 4
    patience: Count = 3
    request_time: bool = True
    title_dropout: Share = 0.1
    new_share: Share = 0.05


class DeepSettings(Knobs):
    """The deep ranker: embeddings and features into dense layers, one sigmoid per objective."""

    hidden: tuple[Count, ...] = (256, 128, 64)
    embedding_dim: Count = 64
    dropout: Share = 0.26
    batch_size: Count = 16
    epochs: Count = 6
    learning_rate: Annotated[float, Field(gt=0)] = 1.7e-3
    weight_decay: Annotated[float, Field(ge=0)] = 2.3e-3
    listwise_weight: Share = 0.54


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
    """How ranker examples are drawn from history.

    `most_start_weight` bounds what a start counts that came from a seldom-examined place of a slate; 1 counts all alike.
    """

    n_requests: Count = 12_000
    per_profile: Count = 12
    n_negatives: Count = 60
    horizon: Count = 5
    most_start_weight: Annotated[float, Field(ge=1.0)] = 1.0


class SlateSettings(Knobs):
    """How scores become a slate: business weights of the objectives, diversity, exploration.

    `weights` say what a start, a completion, a dislike and an hour of `watch_time` are worth; lists are by the worth that
    showing a title is expected to have, so a weight is the business's own statement of value and no coefficient to be tuned.
    `diversity` is what scores give up for unlike titles (`mmr`, `dpp`) or for the viewer's own mix of genres (`calibration`).
    `ranked_per_place`: candidates that a first pass leaves to the ranker for each title shown; for calibration up to two more.
    """

    weights: dict[str, float] = Field({"start": 1.0, "completion": 0.3, "dislike": -0.3})
    diversity: Share = 0.5
    diversity_by: Literal["mmr", "dpp", "calibration"] = "calibration"
    exploration: Share = 0.0
    row_size: Annotated[int, Field(ge=1, le=100)] = 20
    n_rows: Annotated[int, Field(ge=1, le=40)] = 10
    ranked_per_place: Count = 6


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
    rankers_must_pay: bool = True


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
    sink: SinkSettings = SinkSettings()
    live: LiveSettings = LiveSettings()
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
