"""The report in a real browser, on a phone and on a desk: Chromium, without a window."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.reports import report

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


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Start Chromium once for all tests; it reaches no host."""
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=BROWSER,
            args=["--no-sandbox", "--disable-gpu", "--host-resolver-rules=MAP * ~NOTFOUND"],
        )
        yield browser
        browser.close()


@pytest.mark.parametrize("width", [390, 820, 1440])
def test_a_report_fits_its_screen(
    browser: Any, loose_run: Path, tmp_path: Path, width: int
) -> None:
    report(loose_run, out=tmp_path, images=True)
    page = browser.new_page(viewport={"width": width, "height": 800})
    page.goto((tmp_path / "report.html").as_uri())
    assert not page.evaluate("document.documentElement.scrollWidth > innerWidth")
    page.evaluate("scrollTo(0, document.body.scrollHeight)")
    contents = page.locator("nav").bounding_box()
    assert 0 <= contents["y"] < 100, "the list of contents stays"
    # What a link of it leads to is not under it.
    page.locator("nav a[href='#captions']").click()
    head = page.locator("#captions h2").bounding_box()
    if contents["x"] + contents["width"] > head["x"]:
        assert head["y"] >= contents["y"] + contents["height"]
    # A count and its part of all keep a gap.
    gaps = page.locator("table.bars td:has(small:not(:empty))").evaluate_all(
        """cells => cells.filter((cell) => cell.checkVisibility()).map((cell) => {
          const [count, part] = [cell.firstChild, cell.lastChild.firstChild].map((node) => {
            const range = document.createRange();
            range.selectNodeContents(node);
            return range.getBoundingClientRect();
          });
          return part.left - count.right;
        })"""
    )
    assert min(gaps) >= 4
    shown = page.locator("#inside .samples li:visible")
    if width < 640:
        assert shown.count() == 6
        page.locator("#inside .rest").click()
    assert shown.count() == 24
    page.close()
