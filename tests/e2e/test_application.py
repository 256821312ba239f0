"""The application over plain HTTP: every endpoint, what an action changes, and what no answer may ever hold."""

import json
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pyarrow.compute as pc
import pytest

from recray.schema import Objective, word
from recray.stores.lake import Lake

ITEM = {"content_id", "name", "score", "position", "reason", "source"}
ENVELOPE = {"recommendation_id", "algorithm_version", "experiments", "degraded", "took_ms"}


@pytest.fixture(scope="module")
def http(served: Any) -> Iterator[httpx.Client]:
    with served.client() as client:
        yield client


@pytest.fixture
def viewer(served: Any, http: httpx.Client) -> dict[str, str]:
    """A profile with history, as the demo's page offers them; a different one for each test."""
    samples = http.get("/profiles").json()["profiles"]
    used = _used.setdefault(served.url, iter(samples[1:]))
    chosen = next(used)
    return {"user_id": chosen["user_id"], "profile_id": chosen["profile_id"]}


_used: dict[str, Iterator[dict[str, str]]] = {}


def stranger() -> dict[str, str]:
    return {"user_id": f"new-{uuid.uuid4().hex[:8]}", "profile_id": "main"}


def ask(http: httpx.Client, page: str, who: dict[str, str], **parameters: Any) -> dict[str, Any]:
    for _ in range(3):  # on a machine that something else keeps busy a stage may miss its time, and the answer says so
        answer = http.get(f"/recommendations/{page}", params=who | parameters)
        assert answer.status_code == 200, answer.text
        body: dict[str, Any] = answer.json()
        assert body.keys() >= ENVELOPE
        if not body["degraded"]:
            break
    assert body["degraded"] == []
    return body


def shown(body: dict[str, Any]) -> list[dict[str, Any]]:
    items = [item for row in body.get("rows", []) for item in row["items"]] + body.get("recommendations", [])
    assert all(item.keys() >= ITEM and item["reason"] for item in items)
    return items


def names(body: dict[str, Any]) -> list[str]:
    return [item["content_id"] for item in shown(body)]


def act(http: httpx.Client, who: dict[str, str], content_id: str, action: str, **more: Any) -> dict[str, Any]:
    answer = http.post("/recommendations/feedback", json=who | {"content_id": content_id, "action": action} | more)
    assert answer.status_code == 202, answer.text
    body: dict[str, Any] = answer.json()
    return body


def test_a_homepage_has_rows_with_reasons_and_no_title_twice(http: httpx.Client, viewer: dict[str, str]) -> None:
    page = ask(http, "homepage", viewer)
    assert len(page["rows"]) >= 5
    assert all(row["title"] and row["reason"] and row["items"] for row in page["rows"])
    assert len(set(names(page))) == len(names(page)) > 40


@pytest.mark.parametrize("action", ["hide", "complete"])
def test_what_was_hidden_or_completed_is_gone_from_the_next_homepage(
    http: httpx.Client, viewer: dict[str, str], action: str
) -> None:
    before = names(ask(http, "homepage", viewer))
    assert act(http, viewer, before[12], action)["accepted"] == 1
    after = names(ask(http, "homepage", viewer))
    assert before[12] not in after
    assert before != after


def test_two_plays_change_the_next_page_of_a_new_viewer(http: httpx.Client) -> None:
    who = stranger()
    before = ask(http, "homepage", who)
    assert not before["profile"]["known"]
    for content_id in names(before)[:2]:
        act(http, who, content_id, "complete")
    after = ask(http, "homepage", who)
    assert after["profile"] == {"known": True, "n_events": 2}
    assert any(row["row_id"].startswith(("because-", "top-picks")) for row in after["rows"])


def test_what_a_new_viewer_likes_changes_the_next_page_and_stays_on_offer(http: httpx.Client) -> None:
    who = stranger()
    before = ask(http, "homepage", who)
    liked = [item for item in shown(before) if item["source"] == "popular"][:3]
    for item in liked:
        act(http, who, item["content_id"], "like")
    after = ask(http, "homepage", who)
    assert names(after) != names(before)
    because = {f"Because you liked {item['name']}" for item in liked}
    assert because & {item["reason"] for item in shown(after)}
    assert not any("watched " + item["name"] in told["reason"] for item in liked for told in shown(after))
    assert all(item["progress"] is None for item in shown(after) if item["content_id"] in {one["content_id"] for one in liked})


def test_genres_that_a_new_viewer_picks_change_the_next_page(http: httpx.Client) -> None:
    who = stranger()
    at = f"/profiles/{who['user_id']}/{who['profile_id']}"
    offered = http.get("/genres").raise_for_status().json()["genres"]
    sizes = [genre["titles"] for genre in offered]
    assert sizes == sorted(sizes, reverse=True)
    picked = [offered[8]["name"], offered[9]["name"]]
    before = ask(http, "homepage", who)

    answer = http.put(at, json={"genres": [picked[0].upper(), picked[1], picked[1]]}).raise_for_status()

    assert answer.json()["genres"] == http.get(at).json()["genres"] == picked
    after = ask(http, "homepage", who)
    assert not after["profile"]["known"]
    first = [(row["title"], row["reason"]) for row in after["rows"][:3]]
    top = ("Top picks for you", "What many watch, with the genres you picked")
    assert first == [top, *((name, f"Because you picked {name}") for name in picked)]
    assert share_of(picked, after["rows"][0]["items"]) > 1.5 * share_of(picked, shown(before)) > 0
    row_ids = [row["row_id"] for row in after["rows"]]
    assert len(set(row_ids)) == len(row_ids)
    why = http.get(f"/recommendations/{after['recommendation_id']}/explain").raise_for_status().json()
    assert why["replayed"]
    http.put(at, json={}).raise_for_status()
    assert not any("picked" in row["reason"] for row in ask(http, "homepage", who)["rows"])


def share_of(genres: list[str], titles: list[dict[str, Any]]) -> float:
    """Share of titles that have one of these genres."""
    return sum(bool(set(genres) & set(title["genres"])) for title in titles) / len(titles)


def test_a_genre_that_no_title_has_is_refused_by_name(http: httpx.Client) -> None:
    who = stranger()
    answer = http.put(f"/profiles/{who['user_id']}/{who['profile_id']}", json={"genres": ["Drama", "Cookery"]})
    assert answer.status_code == 422
    assert "'Cookery'; expected some of " in answer.json()["detail"]
    assert "Drama" in answer.json()["detail"]
    assert http.get(f"/profiles/{who['user_id']}/{who['profile_id']}").json()["genres"] == []


def test_a_limit_of_seven_never_shows_a_title_above_seven(http: httpx.Client) -> None:
    who = stranger()
    http.put(f"/profiles/{who['user_id']}/{who['profile_id']}", json={"maturity_limit": 7}).raise_for_status()
    pages = [
        ask(http, "homepage", who, num_rows=20),
        ask(http, "search", who, query="the"),
        ask(http, "category", who, category="Drama"),
    ]
    assert names(pages[0])
    assert all(item["maturity"] <= 7 for page in pages for item in shown(page))


def test_a_region_without_licence_never_gets_the_title(served: Any, http: httpx.Client) -> None:
    availability = Lake(served.home / "lake").table(served.data, "availability")
    regions = sorted(set(availability["region"].to_pylist()))
    licensed = {
        region: set(availability.filter(pc.equal(availability["region"], region))["content_id"].to_pylist())
        for region in regions
    }
    everything = set().union(*licensed.values())
    for region in regions:
        assert everything - licensed[region], "every title is licensed everywhere: this test would prove nothing"
        for page in ("homepage", "post-watch"):
            more = {"watched_content_id": min(licensed[region])} if page == "post-watch" else {"num_rows": 20}
            assert set(names(ask(http, page, stranger(), region=region, **more))) <= licensed[region]


def test_post_watch_leaves_the_watched_title_out_and_names_it_as_the_reason(http: httpx.Client, viewer: dict[str, str]) -> None:
    watched = shown(ask(http, "homepage", viewer))[15]
    after = ask(http, "post-watch", viewer, watched_content_id=watched["content_id"], num_recommendations=10)
    assert len(names(after)) == 10
    assert watched["content_id"] not in names(after)
    assert any(watched["name"] in item["reason"] for item in shown(after))


def test_search_finds_a_title_by_a_part_of_its_name(http: httpx.Client, viewer: dict[str, str]) -> None:
    wanted = shown(ask(http, "homepage", viewer))[20]
    found = ask(http, "search", viewer, query=wanted["name"], num_results=10)
    assert wanted["content_id"] in names(found)
    assert names(ask(http, "search", viewer, query="zzzzqqqq")) == []


def test_a_category_holds_its_genre_only(http: httpx.Client, viewer: dict[str, str]) -> None:
    listed = shown(ask(http, "category", viewer, category="comedy", num_recommendations=10))
    assert listed
    assert all("Comedy" in item["genres"] for item in listed)
    assert shown(ask(http, "category", viewer, category="no such thing")) == []


def test_an_answer_is_explained_by_making_it_again(http: httpx.Client, viewer: dict[str, str]) -> None:
    page = ask(http, "homepage", viewer)
    why = http.get(f"/recommendations/{page['recommendation_id']}/explain").raise_for_status().json()
    assert why["replayed"] is True
    assert [item["content_id"] for item in why["items"]] == names(page)
    assert all(item["sources"] and set(item["p"]) == {word(o) for o in Objective} for item in why["items"])
    assert {reason for item in why["dropped"] for reason in item["reasons"]} >= {"watched"}


def test_an_event_counts_once_however_often_it_is_sent(http: httpx.Client) -> None:
    who, event_id = stranger(), uuid.uuid4().hex
    content_id = names(ask(http, "homepage", who))[0]
    an_hour_ago = int(time.time()) - 3_600
    one = {"content_id": content_id, "action": "complete", "event_id": event_id, "timestamp": an_hour_ago}
    assert act(http, who, **one)["accepted"] == 1
    assert act(http, who, **one)["duplicates"] == 1
    assert ask(http, "homepage", who)["profile"]["n_events"] == 1


def test_what_viewers_do_reaches_the_lake_by_itself_and_leaves_it_when_they_are_erased(http: httpx.Client, served: Any) -> None:
    who, lake = stranger(), Lake(served.home / "lake")
    content_ids = names(ask(http, "homepage", who))[:3]
    for content_id in content_ids:
        act(http, who, content_id, "play", progress=0.5)

    def in_lake() -> list[str]:
        held = lake.events(served.data)
        return held.filter(pc.equal(held["user_id"], who["user_id"]))["content_id"].to_pylist()

    until(lambda: sorted(in_lake()) == sorted(content_ids))
    root = served.url
    until(lambda: httpx.get(f"{root}/readyz").json()["sink"]["lag_entries"] == 0)
    told = httpx.get(f"{root}/readyz").json()["sink"]
    assert told["data"] == served.data
    assert told["written"] >= 3
    assert told["quarantined"] == 0
    assert f'recray_sink{{fact="written"}} {float(told["written"])}' in httpx.get(f"{root}/metrics").text
    http.delete(f"/profiles/{who['user_id']}/{who['profile_id']}").raise_for_status()
    until(lambda: in_lake() == [])


def until(holds: Callable[[], bool]) -> None:
    """Wait for what goes on behind answers."""
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_a_list_of_events_is_judged_one_by_one(http: httpx.Client) -> None:
    who = stranger()
    content_id = names(ask(http, "homepage", who))[0]
    events = [who | {"content_id": c, "action": "play"} for c in (content_id, "no-such-title")]
    answer = http.post("/recommendations/feedback", json=events)
    assert answer.status_code == 202
    assert answer.json()["verdicts"][0] == "accepted"
    assert answer.json()["verdicts"][1].startswith("rejected: content_id 'no-such-title'")


@pytest.mark.parametrize(
    ("page", "parameters", "status", "says"),
    [
        ("homepage", {"num_rows": "many"}, 422, "num_rows"),
        ("homepage", {"user_id": ""}, 422, "user_id"),
        ("homepage", {"region": "Atlantis"}, 422, "region"),
        ("homepage", {"content_types": "opera"}, 422, "content_types"),
        ("search", {"query": ""}, 422, "query"),
        ("post-watch", {"watched_content_id": "no-such-title"}, 404, "no-such-title"),
        ("no-such-id/explain", {}, 404, "no-such-id"),
    ],
)
def test_bad_requests_are_answered_with_a_problem_that_names_the_fault(
    http: httpx.Client, page: str, parameters: dict[str, str], status: int, says: str
) -> None:
    answer = http.get(f"/recommendations/{page}", params={"user_id": "u", "profile_id": "p"} | parameters)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert says in answer.json()["detail"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"action": "explode"}, "action"),
        ({"progress": 2}, "progress"),
        ({"timestamp": "yesterday"}, "timestamp"),
        ({"timestamp": 4_000_000_000}, "future"),
        ({"timestamp": "2019-01-02T03:04:05Z"}, "past"),
        ({"action": "rate"}, "value"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_malformed_feedback_is_refused_by_the_name_of_the_field(http: httpx.Client, change: dict[str, Any], says: str) -> None:
    who = stranger()
    event = who | {"content_id": names(ask(http, "homepage", who))[0], "action": "play"} | change
    answer = http.post("/recommendations/feedback", json=event)
    assert answer.status_code == 422
    assert says in answer.json()["detail"]


def test_a_profile_is_exported_whole_and_erased_whole(http: httpx.Client) -> None:
    who = stranger()
    at = f"/profiles/{who['user_id']}/{who['profile_id']}"
    http.put(at, json={"country": "US", "language": "en"}).raise_for_status()
    act(http, who, names(ask(http, "homepage", who))[0], "complete")
    held = http.get(f"{at}/export").raise_for_status().json()
    assert held["settings"]["country"] == "US"
    assert "complete" in str(held)
    erased = http.delete(at).json()["erased"]
    assert erased["events"] + erased["lake_events"] >= 1
    assert "complete" not in str(http.get(f"{at}/export").json())
    assert ask(http, "homepage", who)["profile"]["n_events"] == 0


def test_a_profile_is_written_as_it_was_read_and_never_under_another_name(http: httpx.Client) -> None:
    who = stranger()
    at = f"/profiles/{who['user_id']}/{who['profile_id']}"
    read = http.get(at).json()
    assert http.put(at, json=read | {"country": "FR"}).json()["country"] == "FR"
    assert http.get(at).json() == read | {"country": "FR"}
    assert http.put(at, json=read | {"user_id": "somebody-else"}).status_code == 422


def test_a_profile_without_consent_is_answered_as_a_new_one(http: httpx.Client, viewer: dict[str, str]) -> None:
    at = f"/profiles/{viewer['user_id']}/{viewer['profile_id']}"
    settings = http.get(at).json()
    kept = {name: settings[name] for name in ("country", "language", "age_group", "maturity_limit")}
    http.put(at, json=kept | {"consent": False}).raise_for_status()
    page = ask(http, "homepage", viewer)
    assert page["profile"]["n_events"] == 0
    assert not any(row["row_id"].startswith("because-") for row in page["rows"])
    http.put(at, json=kept | {"consent": True}).raise_for_status()


def test_operators_see_experiments_and_bundles_and_may_promote(served: Any, http: httpx.Client) -> None:
    assert http.get("/experiments").json()["experiments"][0]["arms"].keys() == {"deep", "boosted"}
    listed = http.get("/bundles").json()
    assert listed["champion"] in {one["id"] for one in listed["bundles"]}
    assert http.post(f"/bundles/{listed['champion']}/promote").status_code == 200
    assert http.post("/bundles/20200101T000000-abcdef/promote").status_code == 409
    manifest = json.loads((served.home / "registry" / "bundles" / listed["champion"] / "manifest.json").read_text())
    for fitted_on_workers in ("sequence", "deep", "boosted"):
        assert 0 < manifest["metrics"][fitted_on_workers]["ndcg@10"] <= 1
    root = served.url
    assert httpx.get(f"{root}/readyz").json()["bundle"] == listed["champion"]
    assert httpx.get(f"{root}/healthz").status_code == 200
    assert "recray_requests_total" in httpx.get(f"{root}/metrics").text
    assert "/api/v1/recommendations/homepage" in httpx.get(f"{root}/openapi.json").json()["paths"]
    assert httpx.get(f"{root}/docs").status_code == 200
