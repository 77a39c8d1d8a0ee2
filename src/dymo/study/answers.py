"""The answers of a study in one SQLite file: what is in it survives the end of the process, however it comes."""

from __future__ import annotations

import secrets
import sqlite3
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import ConfigError
from .design import Answer, Design

_TABLES = """
CREATE TABLE IF NOT EXISTS study (name TEXT PRIMARY KEY, value TEXT);
CREATE TABLE IF NOT EXISTS raters (rater TEXT PRIMARY KEY, began REAL);
CREATE TABLE IF NOT EXISTS answers (rater TEXT, trial TEXT, answer TEXT, milliseconds INTEGER, at REAL,
    PRIMARY KEY (rater, trial));
"""


class Given(NamedTuple):
    """One answer: to a rater's trial, in terms of the trial's first and second image, not of the sides shown."""

    rater: str
    trial: str
    answer: Answer
    milliseconds: int


class Answers:
    """The file. One object a process; any thread may use it. Every method that writes returns when it is on the disk."""

    def __init__(self, path: str | Path):
        """Raises ConfigError where the file cannot be opened or is something else."""
        self.path, self._lock = Path(path), threading.Lock()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(self.path, timeout=30, isolation_level=None, check_same_thread=False)
            self._db.executescript("PRAGMA journal_mode = DELETE; PRAGMA synchronous = FULL;" + _TABLES)
        except (OSError, sqlite3.Error) as error:
            raise ConfigError(f"{self.path}: cannot hold the answers ({error}); name another file") from error

    def open(self, design: Design) -> None:
        """Begin the study, or go on with it. Raises ConfigError where the file holds the answers of another one."""
        self._run("INSERT OR IGNORE INTO study VALUES ('design', ?)", design.to_json())
        self._run("INSERT OR IGNORE INTO study VALUES ('secret', ?)", secrets.token_hex(32))
        if self.design != design:
            raise ConfigError(
                f"{self.path}: holds the answers of another study (other rows, pairs, question or seed); name another file "
                "with --answers, or give the options of that one"
            )

    @property
    def design(self) -> Design:
        """What was asked. Raises ConfigError where the file holds no study."""
        held = self._noted("design")
        if held is None:
            raise ConfigError(f"{self.path}: holds no study; run dymo study RUN ROW_A ROW_B first")
        return Design.from_json(held)

    @property
    def secret(self) -> str:
        """What the names of images shown to raters are derived from, so that they tell nothing."""
        return self._noted("secret") or ""

    def enrol(self) -> str:
        """A new rater: the secret word of the link that resumes."""
        rater = secrets.token_urlsafe(12)
        self._run("INSERT INTO raters VALUES (?, ?)", rater, time.time())
        return rater

    def knows(self, rater: str) -> bool:
        """Whether a rater has begun."""
        return bool(self._run("SELECT 1 FROM raters WHERE rater = ?", rater))

    def raters(self) -> list[str]:
        """Every rater who has begun, in that order."""
        return [rater for (rater,) in self._run("SELECT rater FROM raters ORDER BY began")]

    def put(self, given: Given) -> bool:
        """Keep an answer. False where the rater has answered this before, as in another tab: the first answer counts."""
        row = (*given, time.time())
        return bool(self._run("INSERT OR IGNORE INTO answers VALUES (?, ?, ?, ?, ?) RETURNING 1", *row))

    def of(self, rater: str) -> dict[str, Given]:
        """A rater's answers by trial."""
        found = self._run("SELECT rater, trial, answer, milliseconds FROM answers WHERE rater = ?", rater)
        return {row[1]: Given(*row) for row in found}

    def _noted(self, name: str) -> str | None:
        found = self._run("SELECT value FROM study WHERE name = ?", name)
        return found[0][0] if found else None

    def _run(self, query: str, *values: Any) -> list[tuple]:
        with self._lock:
            return self._db.execute(query, values).fetchall()
