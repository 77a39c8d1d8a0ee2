"""Take the screenshots of the docs anew, on the miniature, at 1400 and 390 pixels (needs what tools/browser.py names).

python -m tools.screenshots                              the studio, light and dark
python -m tools.screenshots --study RUN ROW_A ROW_B      a pair of a study of that bench run
"""

from __future__ import annotations

import argparse
import io
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image

from .browser import browser, served

DOCS = Path(__file__).parent.parent / "docs"
PROMPT = "a red apple to the left of a green car"
SIZES = {1400: 1000, 390: 844}
SCHEMES = ("light", "dark")


def main() -> None:
    """Write docs/studio-WIDTH-SCHEME.webp or docs/study-WIDTH-SCHEME.webp, and say the size of all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", nargs="+", metavar=("RUN", "ROW"))
    if words := parser.parse_args().study:
        study(*words)
    else:
        studio()
    print(f"{sum(path.stat().st_size for path in DOCS.glob('stud*-*.webp')) / 1e6:.2f} MB")


def studio() -> None:
    """The page with an image of the gallery, and while one forms."""
    with (
        tempfile.TemporaryDirectory() as folder,
        browser() as chromium,
        served("studio", "--outdir", folder) as address,
    ):
        page = opened(chromium, 1400, "light", address)
        page.fill("#count", "4")
        page.click("#generate")
        page.wait_for_selector("#status:has-text('Done')")
        for width in SIZES:
            for scheme in SCHEMES:
                page = opened(chromium, width, scheme, address)
                page.locator("#images button").last.click()
                page.wait_for_selector("#before:not([hidden])")
                if width == 1400:
                    page.evaluate("scrollTo(0, 0)")
                keep(page, f"studio-{width}-{scheme}")
        page = opened(chromium, 1400, "light", address)
        page.click("#generate")
        page.wait_for_selector("#wordmaps label:has-text('apple')")
        page.click("#wordmaps label:has-text('apple')")
        page.evaluate("scrollTo(0, 0)")
        page.wait_for_function("() => Number(document.getElementById('step').textContent.match(/[0-9]+/)) >= 12")
        keep(page, "studio-running")


def study(run: str, *rows: str) -> None:
    """The first pair of a rater: on a screen in the light, on a phone in the dark."""
    with tempfile.TemporaryDirectory() as folder, browser() as chromium:
        with served("study", run, *rows, "--answers", f"{folder}/answers.sqlite") as address:
            for width, scheme in zip(SIZES, SCHEMES, strict=True):
                page = new_page(chromium, width, scheme)
                page.goto(address)
                page.click("button.main")
                page.wait_for_selector("#progress")
                keep(page, f"study-{width}-{scheme}")


def opened(chromium: Any, width: int, scheme: str, address: str) -> Any:
    """The studio in a browser of its own, the prompt typed and read."""
    page = new_page(chromium, width, scheme)
    page.goto(address)
    page.wait_for_selector("html[data-ready]", state="attached")
    page.fill("#prompt", PROMPT)
    page.wait_for_selector("#drawn:has-text('apple | car')")
    return page


def new_page(chromium: Any, width: int, scheme: str) -> Any:
    page = chromium.new_context(viewport={"width": width, "height": SIZES[width]}, color_scheme=scheme).new_page()
    page.set_default_timeout(120_000)
    return page


def keep(page: Any, name: str) -> None:
    """The part of the page that is seen, as a small WebP."""
    if page.locator("#stop:visible").count() == 0:  # a run's stream is never idle
        page.wait_for_load_state("networkidle")
    with Image.open(io.BytesIO(page.screenshot())) as image:
        image.convert("RGB").save(DOCS / f"{name}.webp", quality=82, method=6)


if __name__ == "__main__":
    main()
