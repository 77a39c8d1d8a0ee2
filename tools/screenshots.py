"""Take the screenshots of the docs anew: the studio and a study on the miniature, at 1400 and 390 pixels, light and dark.

python -m tools.screenshots          (needs what tools/browser.py names)
"""

from __future__ import annotations

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
    """Write docs/studio-WIDTH-SCHEME.webp and docs/study-WIDTH.webp, and say their size."""
    with (
        tempfile.TemporaryDirectory() as folder,
        browser() as chromium,
        served("studio", "--outdir", folder) as address,
    ):
        page = opened(chromium, 1400, "light", address)
        generate(page)
        for width in SIZES:
            for scheme in SCHEMES:
                page = opened(chromium, width, scheme, address)
                page.locator("#images button").first.click()
                page.wait_for_selector("#before:not([hidden])")
                if width == 1400:
                    page.evaluate("scrollTo(0, 0)")
                keep(page, f"studio-{width}-{scheme}")
        page = opened(chromium, 1400, "light", address)
        page.click("#generate")
        page.wait_for_selector("#wordmaps label:has-text('apple')")
        page.click("#wordmaps label:has-text('apple')")
        keep(page, "studio-running")
    print(f"{sum(path.stat().st_size for path in DOCS.glob('studio-*.webp')) / 1e6:.2f} MB")


def opened(chromium: Any, width: int, scheme: str, address: str) -> Any:
    page = chromium.new_context(viewport={"width": width, "height": SIZES[width]}, color_scheme=scheme).new_page()
    page.set_default_timeout(120_000)
    page.goto(address)
    page.wait_for_selector("html[data-ready]", state="attached")
    page.fill("#prompt", PROMPT)
    page.wait_for_selector("#drawn:has-text('apple | car')")
    return page


def generate(page: Any) -> None:
    page.fill("#count", "4")
    page.click("#generate")
    page.wait_for_selector("#status:has-text('Done')")


def keep(page: Any, name: str) -> None:
    """The part of the page that is seen, as a small WebP."""
    page.wait_for_load_state("networkidle")
    with Image.open(io.BytesIO(page.screenshot())) as image:
        image.convert("RGB").save(DOCS / f"{name}.webp", quality=82, method=6)


if __name__ == "__main__":
    main()
