"""Sessions: the same for a seed, of the length that was promised, reporting only what an answer listed."""

import json
from collections import Counter
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest

from recray.errors import ConfigError
from recray.schema import ProfileKey
from recray.settings import TrafficSettings
from recray.simulation.audience import Item, Seen, invented, placed, zipf_rank
from recray.simulation.sessions import FEEDBACK, NOTHING, Ask, Crowd, Listed, Row, mean_think_s, requests_per_session

N_ROWS, ROW_SIZE = 4, 8


def crowd(seed: int = 1, settings: TrafficSettings | None = None) -> Crowd:
    return Crowd(invented(50, seed), settings or TrafficSettings(), seed, "run")


def answer(number: int) -> Listed:
    """Rows of titles; every answer begins elsewhere in a catalogue of 300."""
    titles = [f"t{(number * 11 + place) % 300}" for place in range(N_ROWS * ROW_SIZE)]
    rows = [titles[start : start + ROW_SIZE] for start in range(0, len(titles), ROW_SIZE)]
    return Listed(
        f"r{number}", rows=[Row([Item(title, f"Name of {title}", ["Drama", title]) for title in row]) for row in rows]
    )


def walked(crowd: Crowd, number: int, *, answers: bool = True) -> list[tuple[float, Ask | None]]:
    """Steps of a session to whose every page something else is answered, or nothing is."""
    session, found, n_pages = crowd.session(number), [], 0
    step = next(session)
    while True:
        found.append((step.think_s, step.ask))
        is_page = step.ask is not None and step.ask.endpoint != FEEDBACK
        n_pages += is_page
        try:
            step = session.send(answer(100 * number + n_pages) if is_page and answers else NOTHING)
        except StopIteration:
            return found


def asks(crowd: Crowd, number: int) -> list[Ask]:
    return [ask for _, ask in walked(crowd, number) if ask is not None]


def events(ask: Ask) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads(ask.body)
    return found


def test_sessions_are_the_same_for_a_seed_and_differ_between_seeds() -> None:
    first, again, other = ([walked(held, n) for n in range(20)] for held in (crowd(1), crowd(1), crowd(2)))
    assert first == again
    assert first != other
    assert first[0] != first[1]


def test_a_session_has_as_many_requests_as_promised() -> None:
    for settings in (TrafficSettings(), TrafficSettings(pages_per_session=8, played=0.8, completed=0.9, liked=0.1, hidden=0.1)):
        held = crowd(3, settings)
        found = [len(asks(held, number)) for number in range(1_500)]
        error = np.std(found) / np.sqrt(len(found))
        assert np.mean(found) == pytest.approx(requests_per_session(settings), abs=4 * error)


def test_thought_is_log_normal_with_the_given_median() -> None:
    held = crowd()
    thought = [think_s for number in range(200) for think_s, _ in walked(held, number) if think_s]
    assert np.median(thought) == pytest.approx(1.0, rel=0.06)
    assert np.std(np.log(thought)) == pytest.approx(0.8, rel=0.06)
    assert np.mean(thought) == pytest.approx(mean_think_s(held.settings), rel=0.08)


def test_a_session_begins_with_the_homepage_and_goes_on_in_the_given_mixture() -> None:
    held = crowd(settings=TrafficSettings(pages={"homepage": 1, "post-watch": 2, "search": 3, "category": 4}))
    pages = [[ask.endpoint for ask in asks(held, number) if ask.endpoint != FEEDBACK] for number in range(800)]
    assert {page[0] for page in pages} == {"homepage"}
    later = Counter(name for page in pages for name in page[1:])
    shares = np.array([later[name] for name in ("homepage", "post-watch", "search", "category")]) / later.total()
    np.testing.assert_allclose(shares, [0.1, 0.2, 0.3, 0.4], atol=0.03)


def test_feedback_speaks_of_what_the_answer_listed_there() -> None:
    held, seen = crowd(), set[str]()
    for number in range(60):
        n_pages = 0
        for ask in asks(held, number):
            if ask.endpoint != FEEDBACK:
                n_pages += 1
                continue
            shown = answer(100 * number + n_pages)
            for event in events(ask):
                row, position = int(str(event["row"])), int(str(event["position"]))
                assert event["content_id"] == shown.rows[row].items[position].content_id
                assert event["recommendation_id"] == shown.recommendation_id
                assert str(event["event_id"]) not in seen
                seen.add(str(event["event_id"]))
    assert len(seen) > 1_000


def test_viewers_act_like_viewers() -> None:
    held = crowd()
    reported = [event for number in range(400) for ask in asks(held, number) if ask.body for event in events(ask)]
    counts = Counter(str(event["action"]) for event in reported)
    assert counts.keys() == {"impression", "click", "play", "progress", "complete", "like", "hide"}
    assert counts["click"] == counts["play"] == counts["progress"]
    assert counts["complete"] / counts["play"] == pytest.approx(0.5, abs=0.06)
    played = Counter((int(str(e["row"])), int(str(e["position"]))) for e in reported if e["action"] == "play")
    assert played[0, 0] > played[0, 3] > played[0, 5]
    assert sum(n for (row, _), n in played.items() if row == 0) > sum(n for (row, _), n in played.items() if row == 2)


def test_without_an_answer_nothing_is_reported_and_the_time_passes_all_the_same() -> None:
    for number in range(20):
        full, empty = walked(crowd(), number), walked(crowd(), number, answers=False)
        assert [think_s for think_s, _ in full] == [think_s for think_s, _ in empty]
        assert all(ask is None or not ask.body for _, ask in empty)


def test_post_watch_follows_what_was_played_and_search_names_what_was_seen() -> None:
    held = crowd(settings=TrafficSettings(played=1.0, liked=0.0, hidden=0.0))
    last = None
    for number in range(30):
        for ask in asks(held, number):
            asked = parse_qs(urlsplit(ask.path).query)
            if ask.body:
                last = next((event["content_id"] for event in events(ask) if event["action"] == "play"), last)
            elif ask.endpoint == "post-watch":
                assert asked["watched_content_id"] == [last]
            elif ask.endpoint == "search":
                assert asked["query"][0] in {"Name", *(title.content_id for title in held.seen.titles)}
            elif ask.endpoint == "category":
                assert asked["category"][0] in held.seen.genres


def test_ranks_are_zipf() -> None:
    uniform = (np.arange(100_000) + 0.5) / 100_000
    for exponent, ratio in ((1.0, 1.710), (0.0, 1.0), (1.5, 2.257)):
        drawn = np.bincount([zipf_rank(50, exponent, float(u)) for u in uniform], minlength=50)
        assert len(drawn) == 50
        assert drawn.min() > 0
        assert drawn[0] / drawn[1] == pytest.approx(ratio, rel=0.02)
    assert zipf_rank(1, 1.0, 0.999) == 0


def test_titles_are_seen_once_in_the_order_of_their_appearance() -> None:
    seen = Seen()
    seen.add([Item("b", genres=["X"]), Item("a", genres=["Y", "X"])])
    seen.add([Item("a"), Item("c", genres=["Z"])])
    assert [title.content_id for title in seen.titles] == ["b", "a", "c"]
    assert seen.genres == ["X", "Y", "Z"]


def test_a_viewer_whose_country_is_known_asks_without_a_region() -> None:
    keys = [ProfileKey(str(n), "main") for n in range(400)]
    viewers = placed(keys, ["US" if n % 2 else None for n in range(400)], 1)
    assert all(viewer.region is None for viewer in viewers[1::2])
    shares = Counter(viewer.region for viewer in viewers[::2])
    assert shares.keys() >= {"US", "GB", "DE"}
    assert shares.most_common(1)[0][0] == "US"
    held = Crowd(viewers[1:2], TrafficSettings(), 1, "run")
    assert "region" not in asks(held, 0)[0].path


def test_nobody_is_refused() -> None:
    with pytest.raises(ConfigError, match="there are no viewers"):
        invented(0, 1)


def test_sessions_that_are_already_there_are_as_many_as_their_length_makes() -> None:
    settings = TrafficSettings()
    there = crowd(settings=settings).already_there(20.0)
    # Little's law, with the time between the requests of a session; its first request follows no thought.
    expected = 20.0 * (requests_per_session(settings) - 1) * mean_think_s(settings)
    assert len(there) == pytest.approx(expected, rel=0.15)
    assert all(at_s <= 0 <= at_s + step.think_s for _, _, step, at_s in there)
    numbers = [number for number, *_ in there]
    assert numbers == sorted(set(numbers))
