"""Images on disk with what made them: the history that a reload, or another day, finds again."""

from __future__ import annotations

import itertools
import re
import time
from pathlib import Path
from typing import Any

from PIL import Image

from ..report.atomic import write_text
from ..report.png import Parameters, read_png, save_png
from ..trace import Trace
from .course import course

NAME = re.compile(r"\d{8}-\d{6}-\d{3}-s\d{1,10}")
UNGUIDED = "-unguided"


class Gallery:
    """A folder: NAME.png, NAME-unguided.png, NAME-trace.json; NAME begins with the time, so that names sort by it."""

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        self._count = itertools.count()

    def keep(
        self, image: Image.Image, parameters: Parameters, record: dict[str, Any], trace: Trace | None = None
    ) -> str:
        """Write an aligned image and its trace. Returns its name. Raises ConfigError where the disk refuses."""
        name = f"{time.strftime('%Y%m%d-%H%M%S')}-{next(self._count) % 1000:03d}-s{record['seed']}"
        if trace is not None:
            write_text(self.folder / f"{name}-trace.json", trace.to_json())
        save_png(image, self.folder / f"{name}.png", parameters, record)
        return name

    def keep_unguided(self, name: str, image: Image.Image, parameters: Parameters, record: dict[str, Any]) -> None:
        """Write the unguided image beside the aligned one of that name."""
        save_png(image, self.folder / f"{name}{UNGUIDED}.png", parameters, record)

    def path(self, name: str) -> Path | None:
        """The file of an image's name, with or without "-unguided"; None for any other name or where there is none."""
        if not NAME.fullmatch(name.removesuffix(UNGUIDED)):
            return None
        path = self.folder / f"{name}.png"
        return path if path.is_file() else None

    def entries(self, before: str | None = None, most: int = 24) -> list[dict[str, Any]]:
        """The latest images, or the latest before one: name, prompt, seed, summary, and whether an unguided one is there."""
        names = sorted((path.stem for path in self.folder.glob("*.png") if NAME.fullmatch(path.stem)), reverse=True)
        found: list[dict[str, Any]] = []
        for name in names:
            if (before is None or name < before) and len(found) < most and (entry := self.entry(name)):
                found.append(entry)
        return found

    def course(self, name: str) -> dict[str, Any] | None:
        """How the guidance of an image went, from its trace; None where that is not there."""
        try:
            return course(Trace.from_json((self.folder / f"{name}-trace.json").read_text(encoding="utf-8")).steps)
        except (OSError, ValueError, KeyError, TypeError, IndexError):
            return None

    def entry(self, name: str) -> dict[str, Any] | None:
        """What the gallery says of an image; None where it cannot be read."""
        try:
            _, record = read_png(self.folder / f"{name}.png")
        except (OSError, ValueError, SyntaxError):
            return None
        record = record if isinstance(record, dict) else {}
        unguided = (self.folder / f"{name}{UNGUIDED}.png").is_file()
        said = {key: record.get(key) for key in ("prompt", "seed", "evaluations", "seconds", "stopped_after")}
        return {"name": name, "unguided": unguided, **said, "prompt": str(record.get("prompt", ""))}
