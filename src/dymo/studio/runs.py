"""Runs: one at a time on each pipeline, the others wait in line. A run belongs to no connection: a reload finds it again."""

from __future__ import annotations

import base64
import io
import logging
import secrets
import threading
import traceback
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from PIL import Image

from ..errors import ConfigError, DyMOError
from .settings import Settings
from .words import words

log = logging.getLogger(__name__)

State = Literal["waiting", "running", "done", "stopped", "failed"]
KEPT, MOST_WAITING = 50, 32
PREVIEW = 512
"""Longest side, in pixels, of the previews that are sent to the page."""


@dataclass
class Run:
    """One press of the button: some seeds of one prompt. The page sees `view()`; `version` counts its changes."""

    settings: Settings
    id: str = field(default_factory=lambda: secrets.token_urlsafe(8))
    state: State = "waiting"
    message: str = ""
    images: list[dict[str, Any]] = field(default_factory=list)
    """Of each seed begun: seed, name, unguided (whether it is there), what it cost."""
    now: dict[str, Any] | None = None
    """What is being generated: seed, phase, step, steps, stage, preview, maps, series."""
    cancel: threading.Event = field(default_factory=threading.Event)
    version: int = 0

    def change(self, **values: Any) -> None:
        """Set attributes; `version` counts the changes, so that a page is sent what is new."""
        for name, value in values.items():
            setattr(self, name, value)
        self.version += 1

    @property
    def over(self) -> bool:
        """Whether it has ended: done, stopped or failed."""
        return self.state in ("done", "stopped", "failed")

    def view(self, place: int) -> dict[str, Any]:
        """What the page shows. place: how many are before it."""
        return {
            "id": self.id, "state": self.state, "message": self.message, "images": self.images, "now": self.now,
            "place": place, "prompt": self.settings.prompt, "pipeline": self.settings.pipeline, "count": self.settings.count,
        }  # fmt: skip


Work = Callable[[Run], None]


class Runs:
    """The lines, one a pipeline. work: generates a run's images, and returns when it is over or was told to stop."""

    def __init__(self, work: Work):
        self.work = work
        self._lock = threading.Condition()
        self._lines: dict[str, deque[Run]] = {}
        self._all: OrderedDict[str, Run] = OrderedDict()

    def add(self, settings: Settings) -> Run:
        """Put a run at the end of its pipeline's line. Raises ConfigError where the line is full."""
        run = Run(settings)
        with self._lock:
            line = self._lines.get(settings.pipeline)
            if line is None:
                line = self._lines[settings.pipeline] = deque()
                threading.Thread(target=self._serve, args=(line,), daemon=True, name="dymo-studio").start()
            if len(line) >= MOST_WAITING:
                raise ConfigError(f"{len(line)} runs are waiting already: try again when some are done")
            line.append(run)
            self._all[run.id] = run
            over = [one.id for one in self._all.values() if one.over]
            for old in over[: max(0, len(self._all) - KEPT)]:
                del self._all[old]
            self._lock.notify_all()
        return run

    def get(self, run: str) -> Run | None:
        """The run of that id; None where there is none."""
        return self._all.get(run)

    def active(self) -> list[Run]:
        """The runs that wait or are at work."""
        return [run for run in list(self._all.values()) if not run.over]

    def place(self, run: Run) -> int:
        """How many runs are before it in its line: 0 for the one that is running."""
        with self._lock:
            line = self._lines.get(run.settings.pipeline, ())
            return line.index(run) if run in line else 0

    def stop(self, run: Run) -> None:
        """End it after the present step, or take it out of the line."""
        run.cancel.set()
        with self._lock:
            if run.state == "waiting":
                self._lines[run.settings.pipeline].remove(run)
                run.change(state="stopped", message="Taken out of the line.")

    def _serve(self, line: deque[Run]) -> None:
        while True:
            with self._lock:
                while not line:
                    self._lock.wait()
                run = line[0]
                run.change(state="running")
            try:
                self.work(run)
                run.change(state="stopped" if run.cancel.is_set() else "done", now=None)
            except DyMOError as error:
                run.change(state="failed", message=str(error.in_words(words)), now=None)
            except Exception as error:  # whatever a model does: this run fails, and the next one is served
                log.error("a run failed: %s", traceback.format_exc())
                what = str(error).splitlines()
                run.change(state="failed", message=f"{type(error).__name__}: {what[0] if what else ''}"[:300], now=None)
            finally:
                with self._lock:
                    line.popleft()


def data_url(image: Image.Image) -> str:
    """A preview small enough to be sent some times a second. Small images are sent without loss."""
    small = max(image.size) <= 256
    if max(image.size) > PREVIEW:
        image = image.copy()
        image.thumbnail((PREVIEW, PREVIEW))
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, **({"format": "PNG"} if small else {"format": "JPEG", "quality": 80}))
    return f"data:image/{'png' if small else 'jpeg'};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
