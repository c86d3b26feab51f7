"""The page in a real browser: Chromium, without a window, that can reach this machine alone."""

from __future__ import annotations

import base64
import csv
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import httpx2 as httpx
import orjson
import pytest
from support.hostile_rows import CAPTIONS, TAGS, write_hostile
from support.served_folders import listening

from webpairs.search.index.build import build_index
from webpairs.search.options import IndexOptions

sync_api: Any = pytest.importorskip(
    "playwright.sync_api", reason="needs playwright: run with uv run --group browser"
)
BROWSER = next(
    (
        one
        for name in ("chromium", "chromium-browser", "google-chrome")
        if (one := shutil.which(name))
    ),
    None,
)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="needs Chromium: apt-get install chromium")

Page = Any
WAIT_MS = 6_000
expect = sync_api.expect


@pytest.fixture(scope="module")
def site(indexed_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve the run as `loose`, one with hostile rows and tags, and one whose model is nowhere."""
    folder = tmp_path_factory.mktemp("site")
    hostile = write_hostile(indexed_run, folder / "hostile")
    modelless = Path(shutil.copytree(indexed_run, folder / "modelless"))
    manifest = orjson.loads((modelless / "manifest.json").read_bytes())
    manifest["model"] |= {"spec": "hf:nobody/none", "weights_sha256": "0" * 64}
    (modelless / "manifest.json").write_bytes(orjson.dumps(manifest))
    for changed in (hostile, modelless):
        shutil.rmtree(changed / "index")
        build_index(IndexOptions(source=str(changed)))
    replay = "https://replay.example/{timestamp}/{url}"
    with listening(indexed_run, hostile, modelless, replay_url=replay) as (host, port):
        # The process for filters is there, as it is a second after a server's start.
        asked = {"where": "similarity > 0.999"}
        httpx.get(f"http://{host}:{port}/api/loose/search", params=asked, timeout=60)
        yield f"http://{host}:{port}"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Start Chromium once for all tests."""
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=BROWSER,
            args=[
                *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
                *("--disable-background-networking", "--disable-component-update"),
                *("--disable-sync", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"),
            ],
        )
        yield browser
        browser.close()


@pytest.fixture
def new_page(browser: Any, site: str) -> Iterator[Callable[..., Page]]:
    """Return what opens a page; none may fail, break its policy, or ask anybody but the server."""
    contexts: list[Any] = []
    faults: list[str] = []

    def note(message: Any) -> None:
        # What the server refuses is logged by the browser as well; the page says it in words.
        if message.type == "error" and "the server responded with a status" not in message.text:
            faults.append(message.text)

    def check(request: Any) -> None:
        if not request.url.startswith((site, "data:", "blob:")):
            faults.append(f"asked {request.url}")

    def open_page(**options: Any) -> Page:
        context = browser.new_context(base_url=site, reduced_motion="reduce", **options)
        contexts.append(context)
        context.set_default_timeout(WAIT_MS)
        page = context.new_page()
        page.on("console", note)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("request", check)
        page.on("dialog", lambda dialog: (faults.append("a dialog"), dialog.dismiss()))
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not faults


@pytest.fixture
def page(new_page: Callable[..., Page]) -> Page:
    """Return an open page."""
    return new_page()


def visit(page: Page, path: str) -> None:
    """Open an address and wait until results are there."""
    page.goto(path)
    page.locator("html.js #shown > *").first.wait_for()


def search(page: Page, typed: str) -> None:
    """Type a search, and wait for what is found."""
    page.get_by_label("Describe a picture").fill(typed)
    settle(page, lambda: page.keyboard.press("Enter"))


def settle(page: Page, act: Callable[[], Any]) -> None:
    """Do something that searches, and wait for the answer to be shown."""
    with page.expect_response(re.compile(r"/api/[^/]+/(search|random|near-threshold)")):
        act()
    page.locator("body:not(.busy)").wait_for()


def keys(page: Page) -> list[str]:
    return page.locator("#shown .card").evaluate_all("cards => cards.map(c => c.dataset.key)")


def asked(page: Page) -> dict[str, list[str]]:
    return parse_qs(urlsplit(page.url).query)


def found(site: str, dataset: str = "loose", **query: Any) -> list[str]:
    """Return the keys that the API finds, folded as the page folds them."""
    query = {"unique": "auto", **query}
    reply = httpx.get(f"{site}/api/{dataset}/search", params=query).json()
    return [hit["key"] for hit in reply["hits"]]


def num_samples(site: str) -> int:
    return httpx.get(f"{site}/api/datasets").json()[0]["samples"]


def test_a_search_works_without_javascript(new_page: Callable[..., Page], site: str) -> None:
    page = new_page(java_script_enabled=False)
    page.goto("/")
    page.get_by_label("Describe a picture").fill("a red circle")
    page.get_by_role("button", name="Search", exact=True).click()
    first = found(site, q="a red circle")
    assert keys(page) == first
    page.get_by_role("link", name="Next").click()
    assert keys(page) == found(site, q="a red circle", offset=40)
    page.get_by_role("link", name="Previous").click()
    page.locator(".choice").first.click()
    assert asked(page)["q"] == ["a red circle"]
    assert keys(page) == found(site, q="a red circle", where=asked(page)["where"][0])
    page.get_by_role("link", name="More like this").first.click()
    assert len(asked(page)["like"]) == 1
    key = keys(page)[0]
    page.locator(".card .picture").first.click()
    assert page.url == f"{site}/sample/loose/{key}"
    assert key in page.locator("main dl").all_inner_texts()[-1]
    shown = page.locator("main img").first
    assert shown.evaluate("image => image.complete && image.naturalWidth > 0")


def test_signs_make_terms(page: Page, site: str) -> None:
    visit(page, "/")
    search(page, "a red circle -blue +many stars")
    assert asked(page) == {
        "index": ["loose"],
        "q": ["a red circle", "many stars"],
        "not": ["blue"],
    }
    assert keys(page) == found(site, q=["a red circle", "many stars"], **{"not": "blue"})
    settle(page, page.get_by_role("button", name="Unlike blue: turn to like it").click)
    assert sorted(asked(page)["q"]) == ["a red circle", "blue", "many stars"]
    settle(page, page.get_by_role("button", name="Remove many stars").click)
    assert keys(page) == found(site, q=["a red circle", "blue"])
    page.get_by_role("button", name="Edit blue").or_(page.get_by_title("Edit")).first.click()
    expect(page.get_by_label("Describe a picture")).to_have_value("a red circle +blue")
    page.get_by_label("Describe a picture").fill("night")
    settle(page, page.get_by_role("button", name="Unlike this").click)
    assert asked(page)["not"] == ["night"]
    expect(page.get_by_label("Describe a picture")).to_have_value("")


WRITTEN: list[list[list[str]]] = [
    [],
    [["a = 1"]],
    [["a = 1", "b = ')'"]],
    [["a = 1"], ["b = 2"]],
    [["a >= 1 and a < 2", "(c) or (d)x"], ["f(x) = 'it''s (' or g"], ['"odd)" = 1']],
]
READ = {
    "(a) and (b or c)": [["a"], ["b or c"]],
    "((a) and (b)) and (c)": [["(a) and (b)"], ["c"]],
    "(a) and b": [["(a) and b"]],
    "(a": [["(a"]],
    "a) and (b": [["a) and (b"]],
}


def test_filters_come_back_from_their_expression(page: Page) -> None:
    visit(page, "/")
    both = """async (all) => {
      const { readWhere, writeWhere } = await import("/static/address.js");
      return all.map((groups) => readWhere(writeWhere(groups)));
    }"""
    assert page.evaluate(both, WRITTEN) == WRITTEN
    read = """async (all) => {
      const { readWhere } = await import("/static/address.js");
      return Object.fromEntries(all.map((one) => [one, readWhere(one)]));
    }"""
    assert page.evaluate(read, list(READ)) == READ


def test_more_comes_as_one_scrolls(page: Page, site: str) -> None:
    visit(page, "/?q=a+star&unique=0")
    total = num_samples(site)
    expect(page.locator("#status")).to_have_text(f"The 40 nearest of {total} samples")
    while len(keys(page)) < total:
        before = len(keys(page))
        page.mouse.wheel(0, 20_000)
        page.locator("#shown .card").nth(before).wait_for()
    assert keys(page) == found(site, q="a star", k=total, unique=0)
    expect(page.locator("#more")).to_have_count(0)
    expect(page.locator("#status")).to_have_text(f"The {total} nearest of {total} samples")


def test_filters_have_counts_that_hold(page: Page, site: str) -> None:
    visit(page, "/?index=loose")
    licence = page.get_by_role("group", name="Licence")
    first, second = (licence.locator(".choice").nth(place) for place in (0, 1))
    counts = [int(one.locator(".count").inner_text()) for one in (first, second)]
    settle(page, first.get_by_role("checkbox").check)
    (where,) = asked(page)["where"]
    assert len(found(site, where=where, k=1000)) == counts[0]
    # The other licences are still there, counted as if none was chosen.
    expect(second.locator(".count")).to_have_text(str(counts[1]))
    settle(page, second.get_by_role("checkbox").check)
    (either,) = asked(page)["where"]
    assert len(found(site, where=either, k=1000)) == sum(counts)
    page.get_by_label("Expression").fill("original_width > original_height")
    settle(page, lambda: page.keyboard.press("Enter"))
    (wide,) = asked(page)["where"]
    assert wide == f"{either} and (original_width > original_height)"
    assert keys(page) == found(site, where=wide)
    # An address alone brings back which boxes are ticked.
    page.reload()
    expect(licence.get_by_role("checkbox", checked=True)).to_have_count(2)
    removals = page.get_by_role("list", name="Chosen filters").get_by_role("button")
    expect(removals).to_have_count(3)
    for left in (2, 1, 0):
        settle(page, removals.first.click)
        expect(removals).to_have_count(left)
    assert "where" not in asked(page)


@pytest.mark.parametrize("how", ["chosen", "dropped", "pasted"])
def test_a_picture_finds_itself(page: Page, site: str, how: str) -> None:
    visit(page, "/?unique=0")
    # What is stored has a border unless the picture was square: another picture, to a model.
    key = found(site, where="original_width = original_height and format = 'jpeg'")[0]
    data = httpx.get(f"{site}/api/loose/images/{key}").content
    if how == "chosen":
        file = {"name": "photo.jpg", "mimeType": "image/jpeg", "buffer": data}
        settle(page, lambda: page.locator("#file").set_input_files(file))
    else:
        give = """([data, how]) => {
          const bytes = Uint8Array.from(atob(data), (char) => char.charCodeAt(0));
          const carried = new DataTransfer();
          carried.items.add(new File([bytes], "photo.jpg", { type: "image/jpeg" }));
          const options = { bubbles: true, cancelable: true };
          if (how === "pasted") {
            document.body.dispatchEvent(
              new ClipboardEvent("paste", { ...options, clipboardData: carried }));
          } else {
            for (const type of ["dragenter", "dragover", "drop"]) {
              document.body.dispatchEvent(
                new DragEvent(type, { ...options, dataTransfer: carried }));
            }
          }
        }"""
        settle(page, lambda: page.evaluate(give, [base64.b64encode(data).decode(), how]))
    similarity = page.locator("#shown .card .beside span").first
    assert float(similarity.inner_text()) > 0.999
    assert key in keys(page)[:5]
    expect(page.locator(".chip img")).to_have_count(1)
    expect(page.locator("#drop")).to_be_hidden()
    # Its embedding is in the address, so that a link finds the same.
    before = keys(page)
    assert len(asked(page)["e"]) == 1
    page.reload()
    page.locator("html.js .card").first.wait_for()
    assert keys(page) == before
    settle(page, page.get_by_role("button", name="Like your picture").click)
    assert len(asked(page)["unlike_e"]) == 1


def test_what_is_no_picture_is_told(page: Page) -> None:
    visit(page, "/")
    file = {"name": "photo.jpg", "mimeType": "image/jpeg", "buffer": b"\xff\xd8\xffnothing"}
    page.locator("#file").set_input_files(file)
    expect(page.get_by_role("alert")).to_have_text(
        "photo.jpg cannot be read as a picture: use a JPEG, PNG or WebP file."
    )


def test_a_click_on_a_picture_opens_it_beside_the_results(page: Page, site: str) -> None:
    visit(page, "/?index=loose")
    before = keys(page)
    panel = page.get_by_role("dialog")
    card = page.locator(".card")
    card.nth(2).locator(".picture").click()
    assert asked(page) == {"index": ["loose"], "sample": [before[2]]}
    expect(panel.locator("dl").first).to_be_visible()
    # The results are not covered: another one is a click away, by its caption as well.
    assert keys(page) == before
    beside = page.evaluate("document.querySelector('#detail').getBoundingClientRect().left")
    ends = card.evaluate_all("all => all.map((one) => one.getBoundingClientRect().right)")
    assert max(ends) <= beside
    card.nth(3).locator(".caption").click()
    assert asked(page)["sample"] == [before[3]]
    expect(page.locator(".card.open")).to_have_attribute("data-key", before[3])
    page.go_back()
    expect(panel).to_have_count(0)
    assert asked(page) == {"index": ["loose"]}
    # What is searched from beside it takes the place of both.
    card.nth(3).locator(".picture").click()
    settle(page, card.nth(4).get_by_role("button", name="More like this").click)
    expect(panel).to_have_count(0)
    assert asked(page) == {"index": ["loose"], "like": [before[4]]}
    assert keys(page) == found(site, like=before[4])


def test_a_panel_beside_the_results_leaves_focus_alone(page: Page) -> None:
    visit(page, "/?index=loose")
    order = keys(page)
    panel = page.get_by_role("dialog")
    page.locator(".card .picture").nth(1).click()
    panel.locator("dl").first.wait_for()
    page.keyboard.press("Escape")
    expect(panel).to_have_count(0)
    at = "document.activeElement.closest('.card')?.dataset.key"
    assert page.evaluate(at) == order[1]
    page.keyboard.press("Enter")
    expect(panel).to_be_visible()
    page.keyboard.press("/")
    page.keyboard.type("a star")
    settle(page, lambda: page.keyboard.press("Enter"))
    expect(panel).to_have_count(0)
    assert asked(page) == {"index": ["loose"], "q": ["a star"]}


@pytest.mark.parametrize("scripted", [True, False])
def test_the_results_are_two_keys_away(new_page: Callable[..., Page], scripted: bool) -> None:
    page = new_page(java_script_enabled=scripted)
    page.goto("/?q=a+star")
    page.locator("html.js .choice input" if scripted else ".choice").first.wait_for()
    first = "document.activeElement.closest('.card')?.dataset.key"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the results"
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate(first) == keys(page)[0]
    # The list of filters can be skipped from within, too; a card takes three keys at most.
    page.locator(".skip.inside").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate(first) == keys(page)[0]
    for _ in range(3):
        page.keyboard.press("Tab")
    assert page.evaluate(first) != keys(page)[0]


def test_a_line_tells_where_similarity_says_little(page: Page, site: str) -> None:
    visit(page, "/?q=a+red+circle&unique=0")
    reply = httpx.get(f"{site}/api/loose/search", params={"q": "a red circle", "k": 1000}).json()
    chance, hits = reply["chance"], reply["hits"]
    above = [hit["key"] for hit in hits if hit["similarity"] >= chance]
    assert 0 < len(above) < 40
    line = page.locator(".divide")
    expect(line).to_have_text(
        f"Below {chance:.3f} similarity says little: of pairs chosen at random, 1 in 100 is as "
        "similar."
    )
    before = "line => [...line.parentElement.children].indexOf(line)"
    assert line.evaluate(before) == len(above)
    assert keys(page) == [hit["key"] for hit in hits[:40]]
    while len(keys(page)) < 80:
        page.mouse.wheel(0, 20_000)
        page.locator("#shown .card").nth(len(keys(page))).wait_for()
    expect(line).to_have_count(1)
    search(page, "asdf qwert zxcv")
    expect(line).to_contain_text("Nothing here is clearly alike. Below")
    assert line.evaluate(before) == 0


def test_duplicates_fold_by_themselves_where_there_are_many(page: Page, site: str) -> None:
    visit(page, "/?q=a+red+circle")
    fold = page.get_by_label("Fold duplicates")
    expect(fold).to_be_checked()
    assert "unique" not in asked(page)
    folded = [hit for hit in api_hits(site, q="a red circle", unique=1) if hit["folded"]]
    expect(page.locator(".card .folded")).to_have_count(len(folded))
    settle(page, fold.uncheck)
    assert asked(page)["unique"] == ["0"]
    assert keys(page) == found(site, q="a red circle", unique=0)
    page.reload()
    page.locator("html.js .card").first.wait_for()
    expect(fold).not_to_be_checked()
    # Where few are alike, none is folded.
    page.goto("/?q=a+red+circle&where=" + quote(f"key in ({', '.join(map(repr, apart(site)))})"))
    page.locator("html.js .card").first.wait_for()
    expect(fold).not_to_be_checked()
    expect(page.locator(".card")).to_have_count(len(apart(site)))


def api_hits(site: str, **query: Any) -> list[Any]:
    return httpx.get(f"{site}/api/loose/search", params=query).json()["hits"]


def apart(site: str) -> list[str]:
    """Return keys of samples of which no two show the same."""
    return [hit["key"] for hit in api_hits(site, q="a red circle", unique=1)][:10]


def test_a_slow_search_holds_up_nothing(page: Page, site: str) -> None:
    visit(page, "/?q=a+star")
    held: list[Any] = []
    page.route("**/api/loose/search", lambda route: held.append(route))
    for typed in ("a heart", "a red circle"):
        page.get_by_label("Describe a picture").fill(typed)
        page.keyboard.press("Enter")
    # A sample of what is still there can be looked at, and blurred, in the meantime.
    page.locator(".card .picture").first.click()
    page.keyboard.press("s")
    page.locator("#detail dl").first.wait_for()
    held[-1].continue_()
    page.locator("body:not(.busy)").wait_for(state="attached")
    assert keys(page) == found(site, q="a red circle")
    page.keyboard.press("Escape")
    page.wait_for_url(lambda url: "sample" not in url)
    assert asked(page) == {"index": ["loose"], "q": ["a red circle"], "safe": ["0"]}


def test_back_is_where_one_was(page: Page) -> None:
    visit(page, "/?q=a+star")
    page.mouse.wheel(0, 20_000)
    page.locator(".card").nth(41).scroll_into_view_if_needed()
    before, place = keys(page), page.evaluate("scrollY")
    settle(page, page.locator(".card .like").nth(41).click)
    assert keys(page) != before
    page.go_back()
    expect(page.get_by_label("Describe a picture")).to_have_value("a star")
    assert keys(page) == before
    assert abs(page.evaluate("scrollY") - place) < 5
    page.go_forward()
    expect(page.locator(".chip")).to_have_count(1)


def test_safe_mode_blurs_until_clicked(page: Page, site: str) -> None:
    visit(page, "/?index=hostile")
    tagged = sum(TAGS[number % len(TAGS)] in ("UNSURE", "NSFW") for number in range(40))
    veils = page.get_by_role("button", name="show this picture")
    expect(veils).to_have_count(tagged)
    assert "blur" in page.locator(".veiled img").first.evaluate("e => getComputedStyle(e).filter")
    shown = page.url
    veils.first.click()
    expect(veils).to_have_count(tagged - 1)
    assert page.url == shown
    page.get_by_role("button", name="Safe mode").click()
    expect(veils).to_have_count(0)
    assert asked(page)["safe"] == ["0"]
    page.reload()
    page.locator("html.js .card").first.wait_for()
    expect(veils).to_have_count(0)
    page.keyboard.press("s")
    expect(veils).to_have_count(tagged)
    assert "safe" not in asked(page)
    # What is switched while a sample is open stays so when it is closed.
    page.locator(".card .picture").first.click()
    page.keyboard.press("s")
    page.keyboard.press("Escape")
    page.wait_for_url(lambda url: "sample" not in url and "safe=0" in url)
    expect(veils).to_have_count(0)


def test_safe_mode_needs_no_javascript(new_page: Callable[..., Page]) -> None:
    page = new_page(java_script_enabled=False)
    page.goto("/?index=hostile")
    image = page.locator(".veiled img").first
    key = page.locator(".card:has(.veiled)").first.get_attribute("data-key")
    page.locator(".veil").first.click()
    assert image.evaluate("e => getComputedStyle(e).filter") == "none"
    page.goto(f"/sample/hostile/{key}")
    assert "blur" in page.locator(".stage img").evaluate("e => getComputedStyle(e).filter")


def test_details_have_every_fact(page: Page, site: str) -> None:
    visit(page, "/?q=a+red+circle")
    first, second = keys(page)[:2]
    page.locator(".card .picture").first.click()
    panel = page.get_by_role("dialog")
    row = httpx.get(f"{site}/api/loose/rows/{first}").json()
    panel.locator("dl").first.wait_for()
    shown = panel.inner_text()
    for group in row["groups"]:
        for fact in group["facts"]:
            assert fact["title"] in shown
            assert fact["text"] in (*shown.split("\n"), "–"), fact
    assert asked(page)["sample"] == [first]
    archive = panel.get_by_role("link", name="Page in the archive")
    assert archive.get_attribute("href").startswith("https://replay.example/20")
    assert archive.get_attribute("rel") == "noopener noreferrer nofollow"
    page.keyboard.press("ArrowRight")
    expect(panel.locator("#place")).to_have_text("2 of 40 so far")
    # Behind the last result that is here the next ones are.
    for place in range(3, 42):
        page.keyboard.press("ArrowRight")
        expect(panel.locator("#place")).to_have_text(re.compile(f"^{place} of"))
    for _ in range(39):
        page.keyboard.press("ArrowLeft")
    expect(panel.locator("#place")).to_have_text("2 of 80 so far")
    assert asked(page)["sample"] == [second]
    page.keyboard.press("Escape")
    expect(panel).to_have_count(0)
    page.wait_for_url(lambda url: "sample" not in url)
    assert page.evaluate("document.activeElement.closest('.card').dataset.key") == second
    visit(page, f"/?q=a+red+circle&sample={second}")
    expect(panel).to_be_visible()
    page.go_back()


def test_details_go_with_back(page: Page) -> None:
    visit(page, "/?q=a+red+circle")
    before = page.url
    page.locator(".card .picture").nth(1).click()
    expect(page.get_by_role("dialog")).to_be_visible()
    page.go_back()
    expect(page.get_by_role("dialog")).to_have_count(0)
    assert page.url == before
    page.go_forward()
    expect(page.get_by_role("dialog")).to_be_visible()
    page.get_by_role("dialog").get_by_role("button", name="Close").click()
    page.wait_for_url(before)
    settle(
        page,
        lambda: (
            page.locator(".card .picture").nth(1).click(),
            page.get_by_role("button", name="Keep away").click(),
        ),
    )
    assert asked(page)["q"] == ["a red circle"]
    assert len(asked(page)["unlike"]) == 1


@pytest.mark.parametrize("scripted", [True, False])
def test_hostile_rows_do_nothing(new_page: Callable[..., Page], site: str, scripted: bool) -> None:
    page = new_page(java_script_enabled=scripted)
    page.goto("/?index=hostile&safe=0")
    captions = page.locator(".card .caption")
    expect(captions).to_have_count(40)
    shown = captions.all_inner_texts()
    for number in (0, 1, 2, 3, 6):
        assert shown[number] == CAPTIONS[number]
    assert shown[4] == "turned [U+202E]round[U+202C] and [U+2066]left[U+2069]"
    assert shown[5].count("\u0301") == 4
    assert "\x1b" not in shown[8]
    assert captions.nth(6).bounding_box()["height"] < 60
    assert page.locator("#shown script, #shown img[src=x]").count() == 0
    first = keys(page)[0]
    page.goto(f"/sample/hostile/{first}")
    assert CAPTIONS[0] in page.locator("h1").inner_text()
    if scripted:
        page.goto(f"/?index=hostile&safe=0&sample={first}")
        page.get_by_role("dialog").locator("dl").first.wait_for()
        page.locator(".card .picture").first.hover(force=True)
    links = page.locator("a").evaluate_all("links => links.map((link) => link.protocol)")
    assert set(links) == {"http:"} | ({"https:"} & set(links))
    assert page.title() != "owned"
    # What is typed and what an address holds comes from strangers, too.
    page.goto("/", wait_until="load")
    page.goto(
        "/?index=hostile&q=%3Cimg+src=x+onerror=%22document.title='owned'%22%3E&where=%3Cb%3E"
    )
    expect(page.get_by_role("alert")).to_be_visible()
    assert page.locator("img[src=x], b b, .error b").count() == 0
    assert "= 'owned'" not in page.content()


def test_exclude_list_is_saved(page: Page, site: str) -> None:
    visit(page, "/?index=hostile")
    first, second = keys(page)[:2]
    for place in (0, 1):
        page.locator(".card").nth(place).locator(".veil, .picture").first.focus()
        page.keyboard.press("x")
    button = page.get_by_role("button", name="Excluded")
    expect(button).to_contain_text("2")
    expect(page.locator(".card.out")).to_have_count(2)
    page.reload()
    expect(button).to_contain_text("2")
    button.click()
    with page.expect_download() as saved:
        page.get_by_role("button", name="CSV").click()
    assert saved.value.suggested_filename == "hostile-exclude.csv"
    rows = list(csv.DictReader(Path(saved.value.path()).read_text().splitlines()))
    hits = httpx.get(f"{site}/api/hostile/search", params={"k": 2}).json()["hits"]
    assert [(row["key"], row["uid"], row["url"]) for row in rows] == [
        (hit["key"], hit["uid"], hit["columns"]["url"]) for hit in hits
    ]
    page.get_by_role("button", name=f"Take {first} off the list").click()
    with page.expect_download() as saved:
        page.get_by_role("button", name="Keys", exact=True).click()
    assert Path(saved.value.path()).read_text() == f"{second}\n"
    page.keyboard.press("Escape")
    expect(page.locator(".card.out")).to_have_count(1)
    # Another tab has the same list, and sees what changes.
    other = page.context.new_page()
    visit(other, "/?index=hostile")
    expect(other.locator(".card.out")).to_have_count(1)
    other.locator(".card").nth(3).locator(".veil, .picture").first.focus()
    other.keyboard.press("x")
    expect(page.locator(".card.out")).to_have_count(2)
    other.close()
    # Each dataset has a list of its own.
    page.get_by_label("Dataset").select_option("loose")
    expect(button).to_contain_text("0")


def test_keys_move_and_help(page: Page) -> None:
    visit(page, "/?q=a+star")
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "text"
    page.keyboard.press("Escape")
    at = "document.activeElement.closest('.card')?.dataset.key"
    order = keys(page)
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert page.evaluate(at) == order[1]
    across = page.evaluate(
        "getComputedStyle(document.querySelector('.grid')).gridTemplateColumns.split(' ').length"
    )
    page.keyboard.press("ArrowDown")
    assert page.evaluate(at) == order[1 + across]
    page.keyboard.press("d")
    expect(page.get_by_role("dialog")).to_be_visible()
    assert asked(page)["sample"] == [order[1 + across]]
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys and hints")).to_be_visible()
    page.get_by_label("Single keys are shortcuts").uncheck()
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_duplicates_fold(page: Page, site: str) -> None:
    visit(page, "/?q=a+red+circle")
    settle(page, page.get_by_label("Fold duplicates").uncheck)
    settle(page, page.get_by_label("Fold duplicates").check)
    assert asked(page)["unique"] == ["1"]
    hits = httpx.get(f"{site}/api/loose/search", params={"q": "a red circle", "unique": 1}).json()[
        "hits"
    ]
    assert keys(page) == [hit["key"] for hit in hits]
    one = next(hit for hit in hits if hit["folded"])
    card = page.locator(f'.card[data-key="{one["key"]}"]')
    expect(card.locator(".folded")).to_have_text(f"+{len(one['folded'])} alike")
    card.locator(".picture").click()
    strip = page.get_by_role("dialog").locator(".facts", has_text="Folded under it")
    expect(strip.locator("li")).to_have_count(len(one["folded"]))


def test_both_sides_of_the_threshold(page: Page, site: str) -> None:
    visit(page, "/")
    settle(page, page.get_by_role("button", name="Threshold").click)
    answer = httpx.get(f"{site}/api/loose/near-threshold", params={"k": 24}).json()
    assert keys(page) == [hit["key"] for hit in answer["kept"]]
    expect(page.get_by_role("heading", name="Just dropped")).to_be_visible()
    settle(page, page.get_by_role("button", name="Random").click)
    before, seed = keys(page), asked(page)["seed"]
    assert len(before) == 60
    settle(page, page.reload)
    assert (keys(page), asked(page)["seed"]) == (before, seed)


def test_nothing_found_says_what_to_loosen(page: Page, site: str) -> None:
    visit(page, "/?q=a+star&where=similarity+%3E+2")
    expect(page.get_by_role("heading", name="Nothing was found")).to_be_visible()
    settle(page, page.get_by_role("button", name="Without the filter").click)
    assert keys(page) == found(site, q="a star")
    page.get_by_label("Expression").fill("colour = 'red'")
    settle(page, lambda: page.keyboard.press("Enter"))
    expect(page.get_by_role("alert")).to_contain_text("no column colour")
    settle(page, page.get_by_role("button", name="Without the filter").click)
    expect(page.get_by_role("alert")).to_have_count(0)
    assert len(keys(page)) == 40


def test_without_a_model_captions_are_searched(page: Page) -> None:
    visit(page, "/?index=modelless")
    expect(page.get_by_label("Search with a picture")).to_be_disabled()
    search(page, "circle -red")
    expect(page.locator("#note")).to_contain_text("captions were searched")
    captions = page.locator(".caption").all_inner_texts()
    assert captions
    assert all("circle" in one.lower() and "red" not in one.lower() for one in captions)
    settle(page, page.locator(".like").first.click)
    expect(page.locator("#note")).to_be_hidden()
    expect(page.locator(".beside span").first).to_have_text(re.compile(r"^0\.9|^1\."))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_it_all(new_page: Callable[..., Page], scheme: str) -> None:
    page = new_page(
        viewport={"width": 360, "height": 740},
        color_scheme=scheme,
        has_touch=True,
        is_mobile=True,
        device_scale_factor=2,
    )
    visit(page, "/?index=hostile&q=a+red+circle&not=blue&unique=1")
    wide = "document.documentElement.scrollWidth > innerWidth"
    assert not page.evaluate(wide)
    page.get_by_role("button", name="Filters").tap()
    drawer = page.get_by_role("dialog", name="Filters")
    settle(page, drawer.get_by_role("group", name="NSFW tag").get_by_role("checkbox").first.check)
    drawer.get_by_role("button", name="Show the results").tap()
    expect(page.get_by_role("button", name="Filters (1)")).to_be_visible()
    page.locator(".card .picture").first.tap()
    page.get_by_role("dialog").locator("dl").first.wait_for()
    assert not page.evaluate(wide)
    assert page.get_by_role("dialog").bounding_box()["x"] == 0
    assert not page.evaluate(SMALL_TARGETS)
    page.get_by_role("dialog").get_by_role("button", name="Close").tap()
    expect(page.get_by_role("dialog")).to_have_count(0)
    assert not page.evaluate(SMALL_TARGETS)


SMALL_TARGETS = """() => [...document.querySelectorAll(
    "a[href], button, summary, select, label:has(input), " +
    "input:not([type=hidden], [type=checkbox], [type=radio], [type=file])")]
  .filter((one) => one.checkVisibility({ visibilityProperty: true }) && !one.closest(".skip"))
  .map((one) => [one.outerHTML.slice(0, 90), one.getBoundingClientRect()])
  .filter(([, { width, height }]) => Math.min(width, height) < 43.9)
  .map(([html, { width, height }]) => `${html} ${width}x${height}`)"""


@pytest.mark.parametrize("path", ["/?q=a+red+circle", "/sample/loose/{key}"])
def test_targets_fit_a_finger_without_javascript(
    new_page: Callable[..., Page], site: str, path: str
) -> None:
    """WCAG 2.2, 2.5.5: 44 px at least."""
    page = new_page(
        viewport={"width": 390, "height": 844},
        has_touch=True,
        is_mobile=True,
        java_script_enabled=False,
    )
    page.goto(path.format(key=found(site)[0]))
    assert not page.evaluate(SMALL_TARGETS)
    assert not page.evaluate("document.documentElement.scrollWidth > innerWidth")


def test_everything_has_a_name(page: Page) -> None:
    visit(page, "/?index=hostile&q=a+red+circle&not=blue")
    page.locator(".card .picture").first.click()
    page.get_by_role("dialog").locator("dl").first.wait_for()
    nameless = page.evaluate(
        """() => [...document.querySelectorAll("button, a[href], input:not([type=hidden]), select")]
          .filter((one) => !(one.getAttribute("aria-label") || one.textContent.trim() ||
            one.labels?.length || one.querySelector("img[alt]:not([alt=''])") ||
            one.type === "file"))
          .map((one) => one.outerHTML)"""
    )
    assert not nameless
    images = page.locator("#shown img").evaluate_all("all => all.map((one) => one.alt)")
    assert images
    assert all(images)


STYLE = (Path(__file__).parents[2] / "src/webpairs/serve/page/page.css").read_text()
PAIRS = (
    *(("ink", "paper"), ("muted", "paper"), ("muted", "well"), ("muted", "raised")),
    *(("one", "paper"), ("on-one", "one"), ("plus", "plus-well"), ("minus", "minus-well")),
    *(("plus", "paper"), ("minus", "paper"), ("note", "note-well"), ("ink", "well")),
)


@pytest.mark.parametrize("pair", PAIRS, ids="-on-".join)
@pytest.mark.parametrize("block", [0, 1], ids=["light", "dark"])
def test_colours_can_be_read(pair: tuple[str, str], block: int) -> None:
    """WCAG 2.2, 1.4.3: a contrast of 4.5 at least."""
    colours = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", STYLE.split(":root {")[block + 1]))

    def luminance(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        red, green, blue = (
            one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in parts
        )
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    light, dark = sorted((luminance(colours[name]) for name in pair), reverse=True)
    assert (light + 0.05) / (dark + 0.05) >= 4.5


@pytest.fixture
def elsewhere() -> Iterator[str]:
    """Serve an empty page of another origin, on another port of this machine."""

    class Empty(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Empty) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


FETCHED = """async ([site, path, body]) => {
    const options = body ? {method: "POST", body, headers: {"Content-Type": "text/plain"}} : {};
    try { return (await fetch(site + path, options)).status; } catch (error) { return "blocked"; }
}"""
SHOW = """([site, path]) => new Promise((done) => {
    const image = new Image();
    image.onload = () => done("shown");
    image.onerror = () => done("blocked");
    image.src = site + path;
})"""


def test_a_page_of_another_origin_reads_nothing(
    browser: Any, site: str, elsewhere: str, indexed_run: Path
) -> None:
    key = httpx.get(f"{site}/api/loose/search").json()["hits"][0]["key"]
    picture = f"/api/loose/images/{key}"
    knn = '{"text": "a circle", "modality": "image", "num_images": 1}'
    asked = (("/api/datasets", None), ("/indices-list", None), ("/knn-service", knn))
    context = browser.new_context()
    try:
        page = context.new_page()
        page.goto(elsewhere)
        for path, body in asked:
            assert page.evaluate(FETCHED, [site, path, body]) == "blocked", path
        assert page.evaluate(SHOW, [site, picture]) == "blocked"
        with listening(indexed_run, allow_origin=(elsewhere,)) as (host, port):
            for path, body in asked:
                assert page.evaluate(FETCHED, [f"http://{host}:{port}", path, body]) == 200, path
        # A link leads to the page all the same.
        page.evaluate("(site) => { location.href = site; }", site)
        expect(page.locator("h1, form").first).to_be_visible(timeout=WAIT_MS)
        assert page.url.startswith(site)
    finally:
        context.close()
