"""What became of the titles that followed a replayed moment."""

import numpy as np

from recray.data.replay import Draw, moments
from recray.features import fold
from recray.schema import Action, Device, Objective, ProfileKey, Words

WATCHED, FINISHED, DISLIKED, HIDDEN, POOR = range(5)
DRAW = Draw(start_s=0, end_s=1, horizon=9, share=1.0, per_profile=1, seed=0)


def _word(at_s: int, item: int, action: Action, *, stars: float | None = None, progress: float | None = None) -> Words:
    columns = (np.array([value], np.int64) for value in (at_s, item, action, Device.TV))
    return fold.pack(*columns, np.array([fold.packed_value(action, stars, progress)]))  # type: ignore[arg-type]


def test_a_title_is_disliked_by_its_stars_or_by_name_and_not_by_being_hidden() -> None:
    words = np.concatenate(
        (
            _word(0, WATCHED, Action.PLAY),
            _word(1, FINISHED, Action.COMPLETE, progress=1.0),
            _word(2, DISLIKED, Action.PLAY),
            _word(3, HIDDEN, Action.PLAY),
            _word(4, HIDDEN, Action.HIDE),
            _word(5, POOR, Action.RATE, stars=2.0),
            _word(6, DISLIKED, Action.DISLIKE),
        )
    )
    (moment,) = moments(ProfileKey("1", "main"), words, DRAW)
    assert moment.targets.tolist() == [WATCHED, FINISHED, DISLIKED, HIDDEN, POOR]
    assert moment.outcomes[:, Objective.START].tolist() == [1] * 5
    assert moment.outcomes[:, Objective.DISLIKE].tolist() == [0, 0, 1, 0, 1]
    assert moment.outcomes[:, Objective.COMPLETION].tolist() == [0, 1, 0, 0, 0]
    np.testing.assert_array_equal(moment.outcomes[:, Objective.WATCH_TIME], [np.nan, 1, np.nan, np.nan, np.nan])


def test_what_was_watched_of_a_title_is_its_furthest_point() -> None:
    words = np.concatenate([_word(at, WATCHED, Action.PROGRESS, progress=share) for at, share in enumerate((0.2, 0.6, 0.4))])
    (moment,) = moments(ProfileKey("1", "main"), words, DRAW)
    np.testing.assert_allclose(moment.outcomes[:, Objective.WATCH_TIME], [0.6], atol=1 / 63)
