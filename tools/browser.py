"""A headless Chromium of the system, and the studio or a study served beside it: for the browser tests and the screenshots.

apt install chromium; pip install '.[browser]'; npm install --no-save axe-core
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome")
AXE = ("node_modules/axe-core/axe.min.js", "/usr/share/javascript/axe-core/axe.min.js")


def chromium() -> str | None:
    """The path of the browser: $CHROMIUM, or what is installed under a usual name."""
    return os.environ.get("CHROMIUM") or next((found for name in NAMES if (found := shutil.which(name))), None)


def missing() -> str:
    """Why no browser can be driven here; "" where one can."""
    if find_spec("playwright") is None:
        return "Playwright is not installed: pip install '.[browser]'"
    return "" if chromium() else "there is no Chromium: apt install chromium, or set CHROMIUM"


def axe() -> Path | None:
    """The script of axe-core: $AXE_CORE, or where npm puts it."""
    return next(
        (path for name in (os.environ.get("AXE_CORE", ""), *AXE) if name and (path := Path(name)).is_file()), None
    )


@contextmanager
def browser() -> Iterator[Any]:
    """A Playwright browser."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox", "--disable-gpu"])
        try:
            yield found
        finally:
            found.close()


@contextmanager
def served(*words: str) -> Iterator[str]:
    """The address of a `dymo` command that serves pages, as `served("studio", "--outdir", "out")`; ended with the block."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen([sys.executable, "-m", "dymo", *words, "--port", str(port)], stdout=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(1200):
            if process.poll() is not None:
                raise RuntimeError(f"dymo {' '.join(words)} ended with exit code {process.returncode}")
            try:
                urllib.request.urlopen(address)
                break
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.1)
        yield address
    finally:
        process.terminate()
        process.wait()
