"""One training run, from imported history to a promoted bundle: `python train_app.py --data ml-100k`.

The steps are in recray/training/run.py; a search instead of a run: `--search tune_configs/deep.yaml`.
"""

from datetime import datetime

from recray.data.history import open_history
from recray.settings import Settings
from recray.stores.lake import Lake
from recray.stores.online import OnlineStore
from recray.stores.registry import Registry
from recray.training import run
from recray.training.fit_sources import Say, fit_sources
from recray.training.tracking import Tracking


def train(settings: Settings, data: str, store: OnlineStore | None, tracker: Tracking, say: Say, now: datetime) -> run.Outcome:
    """Fit, judge, publish and, if the gate agrees, promote. Ray must be running; without a store no profile is published."""
    history = open_history(Lake(settings.lake_dir), data, settings)
    early = fit_sources(history, history.periods.sources_end_s, settings, say)
    drawn = run.draw_examples(history, early, settings, say)
    rankers = run.fit_rankers(drawn, early, settings, say)
    choice = run.rehearse(history, early, rankers, drawn, settings, say)
    late = fit_sources(history, history.periods.validation_end_s, settings, say, early)
    bundle, files = run.assemble(history, late, rankers, "candidate", choice)
    judged = run.evaluate(bundle, drawn.moments[run.TEST], history, settings)
    registry = Registry(settings.registry_dir)
    champion = run.judge_champion(registry, drawn.moments[run.TEST], history, settings)
    verdict = run.gate(judged, choice.chosen, champion, settings)
    outcome = run.write_bundle(files, history, settings, drawn.examination, run.Judgement(judged, choice, verdict), now)
    n_published = run.publish_profiles(history, settings, store) if store else 0
    say(f"published {n_published} profiles")
    if verdict.passed:
        registry.point("champion", outcome.bundle_id, now)
    tracker.summarize(outcome.figures())
    return outcome


if __name__ == "__main__":
    from recray.cli.train import main

    main()
