"""The page, clicked through in a real browser: the distribution's Chromium."""

from __future__ import annotations

import re
import shutil

import pytest
import torch

from tests.server.conftest import PATIENCE_SECONDS, TOKENIZER, models, serving

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def test_the_page_asks_nobody_but_its_server(server):
    answer = server.client.get("/")
    assert answer.headers["content-type"].startswith("text/html")
    assert not re.search(r"""(?:src|href)=["'](?!data:)|url\(|@import|https?://""", answer.text)
    assert not re.search(r"""\sstyle=|\son\w+=""", answer.text)  # the policy would forbid them
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


@pytest.fixture(scope="module")
def server():
    """Models that all but never end a text: of 40 tokens to draw from, a score of 0 is not among the best."""
    loaded = models()
    with torch.no_grad():
        for model in loaded.values():
            model.model.tokens.weight[TOKENIZER.end_of_text] = 0
    with serving(loaded=loaded) as started:
        yield started


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine")
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox"], timeout=1000 * PATIENCE_SECONDS
        )
        yield opened
        opened.close()


def new_page(browser):
    """A page that is given the time it needs."""
    opened = browser.new_page()
    opened.set_default_timeout(1000 * PATIENCE_SECONDS)
    return opened


@pytest.fixture
def page(server, browser):
    opened = new_page(browser)
    problems = []
    opened.on("pageerror", lambda problem: problems.append(str(problem)))
    opened.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    opened.goto(server.url)
    opened.locator("#model option").first.wait_for(state="attached")
    yield opened
    opened.close()
    assert not problems
    assert server.settles()


def finished(page, word="done"):
    page.locator("#status", has_text=re.compile(f"^{word}")).wait_for()


def tokens(page, lane=0):
    return page.locator(".lane").nth(lane).locator(".t")


def slide(page, name, value):
    page.locator(f"#{name}").fill(str(value))


def written(page, prompt="the foo", count=20, **sliders):
    page.fill("#prompt", prompt)
    slide(page, "tokens", count)
    for name, value in sliders.items():
        slide(page, name, value)
    page.click("#write")
    finished(page)


def test_two_sizes_write_side_by_side_what_the_api_says(page, server):
    written(page, temperature=0.8, top_k=10)
    assert page.locator(".lane h2").all_inner_texts() == ["2x16", "1x8"]
    for lane, name in enumerate(["2x16", "1x8"]):
        told = server.ask(model=name, prompt="the foo", max_tokens=20, seed=1, temperature=0.8, top_k=10, logprobs=1)
        assert tokens(page, lane).count() == len(TOKENIZER.encode("the foo")) + len(
            told["choices"][0]["logprobs"]["ids"]
        )
        text = page.locator(".lane").nth(lane).locator(".text").evaluate("element => element.textContent")
        if not any(one.startswith("bytes:") for one in told["choices"][0]["logprobs"]["tokens"]):
            assert text == "the foo" + told["choices"][0]["text"]
        shades = tokens(page, lane).evaluate_all("all => all.map(one => one.style.getPropertyValue('--shade'))")
        assert shades[0] == ""
        assert len(set(shades[1:])) > 1
        assert all(0 <= float(shade) <= 1 for shade in shades[1:])


def test_one_goes_on_from_another_token(page, server):
    written(page)
    start = len(TOKENIZER.encode("the foo"))
    kept = tokens(page).all_inner_texts()[: start + 4]
    tokens(page).nth(start + 4).click()
    assert page.locator("#panel").is_visible()
    assert page.locator("#alternatives button").count() == 10
    others = page.locator("#alternatives button:not(.drawn)")
    wanted = others.first.locator("span").nth(1).inner_text()
    others.first.click()
    tokens(page).nth(start + 24).wait_for()
    finished(page)
    assert tokens(page).count() == start + 4 + 1 + 20
    assert tokens(page).all_inner_texts()[: start + 4] == kept
    assert page.locator("#token").inner_text() == wanted
    assert tokens(page).nth(start + 4).get_attribute("class").split()[:2] == ["t", "turned"]


def test_attention_shades_what_a_head_looks_at(page, server):
    written(page, prompt="the foo the foo")
    tokens(page).nth(3).click()
    page.check("#attend")
    slide(page, "layer", 2)
    slide(page, "head", 2)
    ids = TOKENIZER.encode("the foo the foo")[:4]
    expected = server.client.post("/v1/attention", json={"prompt": ids, "layer": 1, "head": 1}).json()["weights"]
    best = TOKENIZER.decode([ids[expected.index(max(expected))]]).replace(" ", "\u2423")
    page.locator("#looked code").first.filter(has_text=re.compile(f"^{re.escape(best)}$")).wait_for()
    shades = tokens(page).evaluate_all("all => all.map(one => one.style.getPropertyValue('--look-shade'))")
    assert [float(shade) for shade in shades[:4]] == pytest.approx([one / max(expected) for one in expected], abs=2e-3)
    assert set(shades[4:]) == {"0.000"}


def test_the_keyboard_does_it_all(page):
    page.focus("#prompt")
    page.keyboard.type("the foo")
    slide(page, "tokens", 12)
    page.focus("#prompt")
    page.keyboard.press("Control+Enter")
    finished(page)
    count = tokens(page).count()
    page.focus("#more")
    for key in ("Tab", "End", "ArrowLeft", "ArrowLeft", "Enter"):
        page.keyboard.press(key)
    assert page.locator("#panel").is_visible()
    assert tokens(page).nth(count - 3).get_attribute("aria-selected") == "true"
    page.keyboard.press("ArrowLeft")
    assert tokens(page).nth(count - 4).get_attribute("aria-selected") == "true"
    page.keyboard.press("2")
    tokens(page).nth(count - 4 + 12).wait_for()
    finished(page)
    assert tokens(page).count() == count - 3 + 12
    page.keyboard.press("Tab")  # to the other text, from there into the panel
    page.keyboard.press("Tab")
    page.keyboard.press("Escape")
    assert page.locator("#panel").is_hidden()
    assert focused(page) == count - 4
    page.keyboard.press("Shift+Tab")
    assert page.evaluate("() => document.activeElement.id") == "more"


def focused(page):
    """The number of the token, in its text, that has the focus."""
    return page.evaluate("() => [...document.activeElement.parentElement.children].indexOf(document.activeElement)")


def test_a_screen_reader_is_told_when_it_begins_and_ends_not_every_token(page):
    page.evaluate(
        "() => { window.told = []; new MutationObserver(() => told.push(document.getElementById('spoken').textContent))"
        ".observe(document.getElementById('spoken'), { childList: true }); }"
    )
    written(page, prompt="the \tfoo")
    heard = page.evaluate("() => told")
    assert heard[:-1] == [one for one in ("reading", "writing") if one in heard[:-1]]
    assert heard[-1].startswith("done: 40 tokens")
    assert page.locator(".lane").first.get_by_role("option", name="blank", exact=True).count() >= 1


def test_arrows_move_between_lines(page):
    page.set_viewport_size({"width": 200, "height": 700})
    written(page, prompt="the foo foo the foo " * 3, count=1)
    box = (
        "element => { const box = element.lastChild.getClientRects()[0]; return [box.left + box.width / 2, box.top]; }"
    )
    places = tokens(page).evaluate_all(f"all => all.map({box})")[:-1]
    tops = sorted({top for _, top in places})
    assert len(tops) > 2
    here = next(n for n, (_, top) in enumerate(places) if top == tops[1]) + 1
    tokens(page).nth(here).focus()
    for key, line in (("ArrowDown", 2), ("ArrowUp", 1), ("ArrowUp", 0), ("ArrowUp", 0)):
        if line != tops.index(places[here][1]):
            here = min((abs(left - places[here][0]), n) for n, (left, top) in enumerate(places) if top == tops[line])[1]
        page.keyboard.press(key)
        assert focused(page) == here


def test_on_a_phone_the_chosen_token_stays_in_sight(page):
    page.set_viewport_size({"width": 380, "height": 700})
    written(page, count=80)
    last = tokens(page).last
    last.click()
    panel = page.locator("#panel").bounding_box()
    assert panel["y"] >= 700 / 2 - 1
    assert panel["y"] + panel["height"] == pytest.approx(700, abs=1)
    assert last.bounding_box()["y"] + last.bounding_box()["height"] <= panel["y"]
    page.click("#close")
    assert page.locator("#panel").is_hidden()


def test_another_turn_counts_its_own_tokens_only(page):
    written(page, count=7)
    assert page.inner_text("#status").startswith("done: 14 tokens")
    tokens(page).nth(5).click()
    page.locator("#alternatives button").first.click()
    page.locator("#status", has_text=re.compile("^done: 7 tokens")).wait_for()


def test_a_text_that_ended_by_itself_says_so(browser):
    with serving() as server:
        opened = new_page(browser)
        opened.goto(server.url)
        opened.locator("#model option").first.wait_for(state="attached")
        for count, reason in ((400, "stop"), (1, "length")):
            told = server.ask(model="2x16", prompt="the foo", max_tokens=count, top_k=0, seed=1)
            assert told["choices"][0]["finish_reason"] == reason
            written(opened, count=count, top_k=0)
            assert ("ended by itself" in opened.locator(".lane header").first.inner_text()) == (reason == "stop")
        opened.close()


def test_what_a_page_says_whose_server_is_gone(browser):
    opened = new_page(browser)
    with serving(loaded=dict(list(models().items())[:1])) as server:
        opened.goto(server.url)
        opened.locator("#model option").first.wait_for(state="attached")
    opened.click("#write")
    opened.locator("#problem", has_text="is it still running?").wait_for()
    opened.close()


def test_writing_on_and_stopping(page, steps):
    written(page, count=5)
    count = tokens(page).count()
    page.click("#more")
    tokens(page).nth(count + 4).wait_for()
    finished(page)
    assert tokens(page).count() == count + 5
    slide(page, "tokens", 400)
    count = tokens(page).count()
    steps.allow(40)  # of both models, so that neither is done when somebody comes to stop it
    page.click("#more")
    tokens(page).nth(count + 5).wait_for()
    page.click("#stop")
    finished(page, "stopped")
    assert tokens(page).count() < count + 400
    page.click("#more")
    page.keyboard.press("Escape")
    finished(page, "stopped")
    steps.allow()


def test_examples_and_long_beginnings(page):
    page.click("text=Gettysburg")
    assert page.input_value("#prompt").startswith("Four score")
    slide(page, "tokens", 3)
    page.click("#write")  # longer than the context of 32 tokens: its end is gone on from
    finished(page)
    assert tokens(page).count() == 32 + 3
    page.click("[data-example='']")
    page.click("#write")
    finished(page)
    tokens(page).first.click()
    assert page.locator("#token").inner_text() == "<|endoftext|>"
    assert page.locator("#no-alternatives").is_visible()


@pytest.mark.parametrize(("scheme", "dark"), [("light", False), ("dark", True)])
def test_light_and_dark_and_narrow(server, browser, scheme, dark):
    opened = browser.new_page(color_scheme=scheme, viewport={"width": 380, "height": 700})
    opened.goto(server.url)
    opened.locator("#model option").first.wait_for(state="attached")
    background = opened.evaluate("() => getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", background)[:3])) < 200) == dark
    assert opened.evaluate("() => document.documentElement.scrollWidth") <= 380
    opened.close()


def test_the_page_asks_for_the_key(browser):
    with serving(key="sesame", loaded=dict(list(models().items())[:1])) as server:
        opened = new_page(browser)
        opened.goto(server.url)
        opened.locator("#problem", has_text="Bearer").wait_for()
        opened.fill("#key", "sesame")
        opened.keyboard.press("Tab")
        opened.locator("#model option").first.wait_for(state="attached")
        opened.fill("#prompt", "the")
        opened.click("#write")
        finished(opened)
        opened.close()
