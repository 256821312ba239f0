"""Settings: every knob once (`knobs`, `online`), and how differences become settings (`resolve`).

The dial `scale` sets data size, epochs, trials and replica bounds together (see `SCALES`); a YAML file holds differences only.
"""

from recray.settings.kinds import Count, Knobs, Scale, Seconds, Share
from recray.settings.knobs import (
    BoostedSettings,
    DeepSettings,
    EvaluationSettings,
    ExampleSettings,
    SequenceSettings,
    Settings,
    SlateSettings,
    SourceSettings,
    SplitSettings,
    TrainingSettings,
)
from recray.settings.online import (
    LiveSettings,
    ReplicaBounds,
    ServingSettings,
    SinkSettings,
    StageBudgets,
    StoreSettings,
    TrafficSettings,
)
from recray.settings.resolve import SCALES, load, merge, resolve

__all__ = [
    "SCALES",
    "BoostedSettings",
    "Count",
    "DeepSettings",
    "EvaluationSettings",
    "ExampleSettings",
    "Knobs",
    "LiveSettings",
    "ReplicaBounds",
    "Scale",
    "Seconds",
    "SequenceSettings",
    "ServingSettings",
    "Settings",
    "Share",
    "SinkSettings",
    "SlateSettings",
    "SourceSettings",
    "SplitSettings",
    "StageBudgets",
    "StoreSettings",
    "TrafficSettings",
    "TrainingSettings",
    "load",
    "merge",
    "resolve",
]
