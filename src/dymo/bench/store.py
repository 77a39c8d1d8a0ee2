"""Results of a comparison on disk, shared by any number of processes and machines.

    RUN/plan.json                             the comparison
    RUN/results.sqlite                        one row an image: what it cost, its scores, or why it failed
    RUN/images/CONFIGURATION/SEED-PROMPT.png
    RUN/claims/*.lock                         the locks of what is being generated

An image is in the table only once its file is whole. A claim is a lock of the operating system, which is released however
its process ends, so that a killed process loses the images that it was generating and nothing else.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock, Timeout

from ..errors import ConfigError, DyMOError
from ..report.atomic import write_bytes, write_text

_TABLES = """
CREATE TABLE IF NOT EXISTS images (configuration TEXT, prompt TEXT, seed INTEGER, record TEXT, failure TEXT,
    PRIMARY KEY (configuration, prompt, seed));
CREATE TABLE IF NOT EXISTS notes (name TEXT PRIMARY KEY, value TEXT);
"""


class StoreError(DyMOError, OSError):
    """A result cannot be written or read. What was written before is whole."""


class Key(NamedTuple):
    """What a result belongs to: the hash of its configuration, the prompt and the seed."""

    configuration: str
    prompt: str
    seed: int


class Store:
    """The results in a folder. One object a process; processes and machines may share the folder."""

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        with self._guarded():
            self.folder.mkdir(parents=True, exist_ok=True)
            # Not in WAL mode: its index is in shared memory, which other machines do not see.
            self._db = sqlite3.connect(self.folder / "results.sqlite", timeout=60, isolation_level=None)
            self._db.executescript(_TABLES)

    def image_path(self, key: Key) -> Path:
        """Where the PNG file of an image lies; two prompts with the same first words differ by a hash."""
        mark = hashlib.sha256(key.prompt.encode()).hexdigest()[:8]
        words = re.sub(r"[^a-z0-9]+", "-", key.prompt.lower())[:60].strip("-")
        return self.folder / "images" / key.configuration / f"{key.seed:04d}-{words}-{mark}.png"

    def put(self, key: Key, record: dict[str, Any], png: bytes | None = None) -> None:
        """Keep what is to be said of an image, in the place of what was said; and the image, where it is new."""
        with self._guarded():
            if png is not None:
                write_bytes(self.image_path(key), png)
        self._rows("INSERT OR REPLACE INTO images VALUES (?, ?, ?, ?, NULL)", (*key, json.dumps(record)))

    def fail(self, key: Key, reason: str) -> None:
        """Note why an image could not be generated or measured; the next run tries it again."""
        update = "ON CONFLICT DO UPDATE SET failure = excluded.failure"
        self._rows(f"INSERT INTO images VALUES (?, ?, ?, NULL, ?) {update}", (*key, reason))

    def record(self, key: Key) -> dict[str, Any] | None:
        """What was put of the image; None where it is not there, be it that its file was deleted."""
        query = "SELECT record FROM images WHERE configuration = ? AND prompt = ? AND seed = ? AND record IS NOT NULL"
        found = self._rows(query, key)
        return json.loads(found[0][0]) if found and self.image_path(key).is_file() else None

    def images(self, configuration: str) -> Iterator[tuple[Key, dict[str, Any] | None, str | None]]:
        """Every image of a configuration: its key, its record or None, and its last failure or None."""
        query = "SELECT prompt, seed, record, failure FROM images WHERE configuration = ?"
        for prompt, seed, record, failure in self._rows(query, (configuration,)):
            yield Key(configuration, prompt, seed), json.loads(record) if record else None, failure

    def move(self, old: str, new: str) -> None:
        """Keep the images of a configuration under another name, but for those that are there under it."""
        if old == new or not self._rows("SELECT 1 FROM images WHERE configuration = ? LIMIT 1", (old,)):
            return
        with self.claimed(f"move {old}") as mine, self._guarded():
            if not mine:
                return
            folder = self.folder / "images" / new
            folder.mkdir(parents=True, exist_ok=True)
            for path in (self.folder / "images" / old).glob("*.png"):
                if not (folder / path.name).exists():
                    path.rename(folder / path.name)
            self._rows("UPDATE OR IGNORE images SET configuration = ? WHERE configuration = ?", (new, old))
            self._rows("DELETE FROM images WHERE configuration = ?", (old,))
            with contextlib.suppress(OSError):  # some are there under both names, or a file of another kind
                (self.folder / "images" / old).rmdir()

    def note(self, name: str, value: Any) -> None:
        """Keep something of the whole run under a name."""
        self._rows("INSERT OR REPLACE INTO notes VALUES (?, ?)", (name, json.dumps(value)))

    def noted(self, name: str) -> Any:
        """What was noted under a name, as JSON gives it back; None where nothing was."""
        found = self._rows("SELECT value FROM notes WHERE name = ?", (name,))
        return json.loads(found[0][0]) if found else None

    @contextlib.contextmanager
    def claimed(self, name: str) -> Iterator[bool]:
        """Whether this process alone may work on `name`, until the end of the block."""
        path = self.folder / "claims" / f"{hashlib.sha256(name.encode()).hexdigest()[:24]}.lock"
        lock = FileLock(path)
        with self._guarded(), contextlib.suppress(Timeout):
            path.parent.mkdir(exist_ok=True)
            lock.acquire(blocking=False)
        try:
            yield lock.is_locked
        finally:
            if lock.is_locked:
                path.unlink(missing_ok=True)
                lock.release()

    def _rows(self, query: str, values: tuple) -> list[tuple]:
        with self._guarded():
            return self._db.execute(query, values).fetchall()

    @contextlib.contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ConfigError, sqlite3.Error, NotImplementedError) as error:
            remedy = "make room, or choose a folder on another disk, and run the same command again to continue"
            raise StoreError(f"{self.folder}: {error}. Results written before are whole: {remedy}") from error


def _held(path: Path) -> str:
    """The plan in a folder as it is written there. Raises ConfigError where it is no comparison's, so that it is not replaced."""
    try:
        text = path.read_text(encoding="utf-8")
        plan = json.loads(text)
    except (OSError, ValueError, RecursionError):
        text, plan = "", None
    if not isinstance(plan, dict) or "rows" not in plan:
        raise ConfigError(f"--outdir {path.parent}: its plan.json is not one that dymo bench wrote; choose another folder, or move the file away")
    return text


def open_run(folder: Path, plan: str, extend: bool = False) -> Store:
    """The store of a comparison, made for it or with what is there of it; `plan`: its JSON.

    Raises ConfigError where the folder holds something else, unless `extend` replaces another comparison's plan (images
    of configurations that both have are kept). A comparison without an image is replaced unasked.
    """
    path = folder / "plan.json"
    own = ("claims", "results.sqlite", "results.sqlite-journal")
    if not path.is_file() and folder.is_dir() and any(p.name not in own for p in folder.iterdir()):
        raise ConfigError(f"--outdir {folder}: holds other files and no comparison; choose another folder")
    held = _held(path) if path.is_file() else None
    if held not in (None, plan) and not extend and (folder / "images").is_dir():
        old, new = json.loads(held or ""), json.loads(plan)
        # No image depends on `guides`, which releases before filled in otherwise.
        differ = sorted(key for key in {*old, *new} - {"guides"} if old.get(key) != new.get(key))
        remedy = (
            "choose another folder, or add --extend to turn it into this one, which keeps the images that both have"
        )
        if differ:  # not so where the plan of an earlier release lacks keys that this one leaves empty too
            raise ConfigError(
                f"--outdir {folder}: holds another comparison (it differs in: {', '.join(differ)}); {remedy}"
            )
    store = Store(folder)
    if held != plan:
        write_text(path, plan)
    return store
