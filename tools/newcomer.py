"""How long a newcomer waits: from `dymo studio` to the first image, and from the button to the preview's first frame.

python -m tools.newcomer          (needs what tools/browser.py names; the times follow the machine's load)
"""

from __future__ import annotations

import tempfile
import time

from .browser import browser, served


def measure() -> dict[str, float]:
    """Seconds, of a studio that starts cold, with its example prompt and what it does unless told."""
    with tempfile.TemporaryDirectory() as folder, browser() as chromium:
        began, found = time.monotonic(), {}
        with served("studio", "--outdir", folder) as address:
            page = chromium.new_page()
            page.set_default_timeout(300_000)
            page.goto(address)
            page.wait_for_selector("html[data-ready]", state="attached")
            found["the page"] = time.monotonic() - began
            page.click("#generate")
            pressed = time.monotonic()
            page.wait_for_selector("#after[src^='data:']")
            found["the preview's first frame, from the button"] = time.monotonic() - pressed
            page.wait_for_selector("#made:not([hidden])")
            found["the first image, from the command"] = time.monotonic() - began
            page.wait_for_selector("#status:has-text('Done')")
            page.click("#generate")
            pressed = time.monotonic()
            page.wait_for_selector("#after[src^='data:']")
            found["the first frame of a second run, from the button"] = time.monotonic() - pressed
    return found


if __name__ == "__main__":
    for what, seconds in measure().items():
        print(f"{seconds:6.1f} s  {what}")
