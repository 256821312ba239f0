"""The pages in a real browser: what a viewer sees, what an action changes, and that nothing leaves the origin."""

import shutil
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    executable = shutil.which("chromium")
    if executable is None:
        pytest.skip("chromium is not installed (apt-get install chromium)")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Any, served: Any) -> Iterator[Any]:
    """A page whose every test also proves: no error in the console, no request to another origin."""
    context = browser.new_context(viewport={"width": 1440, "height": 900}, base_url=served.url, reduced_motion="reduce")
    page = context.new_page()
    errors: list[str] = []
    origins: set[str] = set()
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda request: origins.add("{0.scheme}://{0.netloc}".format(urlsplit(request.url))))
    yield page
    context.close()
    assert errors == []
    assert origins <= {"{0.scheme}://{0.netloc}".format(urlsplit(served.url))}


def visit(page: Any, **viewer: str) -> None:
    page.goto(f"/?{urlencode(viewer)}")
    page.locator("#rows .card").first.wait_for()


def titles(page: Any) -> list[str]:
    return page.eval_on_selector_all("#rows .card", "cards => cards.map(card => card.dataset.contentId)")


def click(card: Any, action: str) -> None:
    """Point at a card and click one of its buttons; point again if the card slid from under the pointer meanwhile."""
    for left in (2, 1, 0):
        card.hover()
        try:
            card.locator(f"[data-action={action}]").click(timeout=8_000)
        except sync_api.TimeoutError:
            if not left:
                raise
        else:
            return


def press(page: Any, card: Any, action: str) -> None:
    """Press a card's button, and return when the page that it leads to has been drawn."""
    with page.expect_response(lambda answer: "/recommendations/homepage" in answer.url):
        click(card, action)
    sync_api.expect(page.locator("#rows[aria-busy]")).to_have_count(0)


def test_rows_show_titles_with_their_reasons(page: Any) -> None:
    page.goto("/")
    page.locator("#rows .card").first.wait_for()

    assert page.locator("#rows .rail").count() >= 2
    assert all(page.locator("#rows .rail h2").all_text_contents())
    card = page.locator("#rows .card").first
    card.hover()
    assert card.locator(".reason").inner_text().strip()
    assert card.locator(".source").inner_text().strip()
    sync_api.expect(page.locator("#took")).to_contain_text("ms")
    sync_api.expect(page.locator("#degraded")).to_be_hidden()
    assert "user_id=" in page.url


def test_a_hidden_title_vanishes_and_stays_away_after_a_reload(page: Any) -> None:
    visit(page, user_id="page-hides", profile_id="main")
    hidden = titles(page)[1]

    press(page, page.locator("#rows .card").nth(1), "hide")

    sync_api.expect(page.locator(f'[data-content-id="{hidden}"]')).to_have_count(0)
    sync_api.expect(page.locator("#toast")).to_contain_text("changed")
    page.reload()
    page.locator("#rows .card").first.wait_for()
    assert hidden not in titles(page)


def test_another_profile_gets_other_rows(page: Any) -> None:
    page.goto("/")
    page.locator("#rows .card").first.wait_for()
    before, address = titles(page), page.url

    page.locator("#viewer").click()
    other = page.locator("#samples .who[aria-pressed=false], #new-viewer").first
    with page.expect_response(lambda answer: "/recommendations/homepage" in answer.url):
        other.click()
    page.locator("#rows .card").first.wait_for()

    assert titles(page) != before
    assert page.url != address
    page.go_back()
    page.wait_for_url(address)


def test_playing_two_titles_changes_a_new_viewers_page(page: Any) -> None:
    visit(page, user_id="page-plays", profile_id="main")
    before = titles(page)

    for _ in range(2):
        played = page.locator("#rows .rail").last.locator(".card").first
        press(page, played, "play")
        with page.expect_response(lambda answer: "/recommendations/post-watch" in answer.url):
            page.locator("#player-end").click()
        sync_api.expect(page.locator("#next .card").first).to_be_visible()
        sync_api.expect(page.locator("#rows[aria-busy]")).to_have_count(0)

    assert titles(page) != before
    sync_api.expect(page.locator("#player")).to_be_hidden()


def test_a_new_viewer_is_asked_for_genres_until_something_is_known(page: Any) -> None:
    visit(page, user_id="page-picks", profile_id="main")
    before = titles(page)
    chip = page.locator("#begin .chip").nth(5)

    with page.expect_response(lambda answer: "/recommendations/homepage" in answer.url):
        chip.click()
    sync_api.expect(page.locator("#toast")).to_contain_text(f"Picked: {chip.inner_text()}")
    sync_api.expect(page.locator("#rows[aria-busy]")).to_have_count(0)
    assert titles(page) != before
    sync_api.expect(chip).to_have_attribute("aria-pressed", "true")

    page.locator("#viewer").click()
    sync_api.expect(page.locator("#genres .chip[aria-pressed=true]")).to_have_text([chip.inner_text()])
    page.locator("#profile [data-close]").click()
    press(page, page.locator("#rows .card").first, "like")
    sync_api.expect(page.locator("#begin")).to_be_hidden()
    page.reload()
    page.locator("#rows .card").first.wait_for()
    sync_api.expect(page.locator("#begin")).to_be_hidden()


def test_search_finds_a_title_by_its_name(page: Any) -> None:
    visit(page, user_id="page-searches", profile_id="main")
    wanted = page.locator("#rows .card").first
    name, content_id = wanted.locator(".more-name").text_content(), wanted.get_attribute("data-content-id")

    page.locator("#search").fill(name)

    sync_api.expect(page.locator(f'#results .card[data-content-id="{content_id}"]')).to_be_visible()
    page.keyboard.press("Escape")
    sync_api.expect(page.locator("#results")).to_be_hidden()


def test_why_names_the_sources_and_the_bundle(page: Any) -> None:
    visit(page, user_id="page-asks", profile_id="main")
    card = page.locator("#rows .card").first

    click(card, "why")

    sync_api.expect(page.locator("#why")).to_contain_text("Who proposed it")
    sync_api.expect(page.locator("#why")).to_contain_text("Bundle")
    page.keyboard.press("Escape")
    sync_api.expect(page.locator("#why")).to_be_hidden()


def test_a_maturity_limit_takes_titles_above_it_off_the_page(page: Any) -> None:
    visit(page, user_id="page-limits", profile_id="main")
    page.locator("#viewer").click()
    sync_api.expect(page.locator("#settings-form")).not_to_have_attribute("inert", "")
    page.locator("#maturity-limit").select_option("7")

    with page.expect_response(lambda answer: "/recommendations/homepage" in answer.url):
        page.get_by_role("button", name="Save and ask again").click()
    sync_api.expect(page.locator("#profile")).to_be_hidden()
    sync_api.expect(page.locator("#rows[aria-busy]")).to_have_count(0)

    badges = page.locator("#rows .badge").all_text_contents()
    assert [badge for badge in badges if int(badge.rstrip("+")) > 7] == []


def test_the_keyboard_alone_moves_between_titles_and_acts(page: Any) -> None:
    visit(page, user_id="page-types", profile_id="main")
    first, second = titles(page)[:2]
    page.locator("#rows .card").first.focus()

    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.dataset.contentId") == second
    with page.expect_response(lambda answer: "/recommendations/homepage" in answer.url):
        page.keyboard.press("x")

    sync_api.expect(page.locator(f'[data-content-id="{second}"]')).to_have_count(0)
    sync_api.expect(page.locator(f'#rows [data-content-id="{first}"]')).not_to_have_count(0)


@pytest.mark.parametrize("width", [360, 768, 1920])
def test_no_width_makes_the_page_scroll_sideways(page: Any, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 844})
    for path, landmark in (("/", "#rows .card"), ("/ops", ".tile")):
        page.goto(path)
        page.locator(landmark).first.wait_for()
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_operations_show_readiness_bundles_and_the_champion(page: Any) -> None:
    page.goto("/ops")

    sync_api.expect(page.locator(".tile").first).to_contain_text("Yes")
    sync_api.expect(page.locator(".alias.champion")).to_have_count(1)
    sync_api.expect(page.locator("#series td").first).to_contain_text("recray_")


def test_promoting_a_bundle_asks_first(page: Any) -> None:
    page.goto("/ops")
    champion = page.locator(".panel.in-charge code")
    champion.wait_for()
    before = champion.inner_text()

    page.locator("#rollback").click()
    sync_api.expect(page.locator("#confirm")).to_be_visible()
    page.get_by_role("button", name="Cancel").click()

    sync_api.expect(page.locator("#confirm")).to_be_hidden()
    assert champion.inner_text() == before
