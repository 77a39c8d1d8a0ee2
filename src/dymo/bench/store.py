"""Results on disk: one parquet shard a picture, whole or not there, shared by any number of processes and machines.

    RUN/plan.json
    RUN/pictures/CONFIGURATION/KEY.parquet    the picture and its account
    RUN/scores/METRIC/CONFIGURATION/KEY.parquet
    RUN/failures/CONFIGURATION/KEY.json       why a picture could not be painted
    RUN/claims/KEY.json                       who is at work on it

A shard's place follows from its key, so that nothing is there twice. A claim only saves work: it is left behind by a
process that was killed, and taken over when its process is gone or has not touched it for a while.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import ConfigError, DyMOError
from ..report.atomic import write_bytes, write_text
from .needs import need

STALE = 120.0
"""Seconds without a touch after which a claim from another machine is given up for dead."""


class StoreError(DyMOError, OSError):
    """A result cannot be written or read. What was there before is whole."""


@dataclass(frozen=True)
class Key:
    """What a result is of: the configuration's hash, the prompt and the seed."""

    configuration: str
    prompt: str
    seed: int

    @property
    def name(self) -> str:
        text = json.dumps([self.configuration, self.prompt, self.seed])
        return hashlib.sha256(text.encode()).hexdigest()[:24]


class Store:
    """The results of a run in a folder. Safe for threads, processes and machines that share the folder."""

    def __init__(self, folder: str | Path, stale: float = STALE):
        self.folder, self.stale = Path(folder), stale
        self.host = socket.gethostname()

    # Results.

    def has(self, key: Key, metric: str | None = None) -> bool:
        return self._path(key, metric).is_file()

    def put(self, key: Key, columns: dict[str, Any], metric: str | None = None) -> None:
        """Write a shard of one row. Raises StoreError where the disk is full or refuses."""
        arrow, parquet = need("pyarrow"), need("pyarrow.parquet")
        row = {"configuration": key.configuration, "prompt": key.prompt, "seed": key.seed, **columns}
        buffer = io.BytesIO()
        parquet.write_table(arrow.Table.from_pylist([row]), buffer)
        self._write(self._path(key, metric), buffer.getvalue())
        if metric is None:
            self._failure(key).unlink(missing_ok=True)

    def get(self, key: Key, metric: str | None = None) -> dict[str, Any] | None:
        """The shard's row; None where it is not there. One that cannot be read is set aside, as if it were not."""
        path, arrow = self._path(key, metric), need("pyarrow")
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreError(f"cannot read {path}: {error.strerror or error}") from error
        try:
            return need("pyarrow.parquet").read_table(arrow.BufferReader(content)).to_pylist()[0]
        except (arrow.ArrowException, OSError, IndexError):
            with contextlib.suppress(OSError):
                os.replace(path, path.with_suffix(".corrupt"))
            return None

    def fail(self, key: Key, reason: str) -> None:
        """Note why a picture could not be painted; the next run tries it again."""
        note = {"prompt": key.prompt, "seed": key.seed, "reason": reason}
        self._write(self._failure(key), json.dumps(note).encode())

    def failure(self, key: Key) -> str | None:
        try:
            return json.loads(self._failure(key).read_text(encoding="utf-8"))["reason"]
        except (OSError, ValueError, KeyError):
            return None

    def save_plan(self, text: str) -> None:
        try:
            write_text(self.folder / "plan.json", text)
        except ConfigError as error:
            raise StoreError(str(error)) from error

    # Claims.

    @contextlib.contextmanager
    def claimed(self, key: Key) -> Iterator[bool]:
        """Whether this process may work on `key`; while it does the claim is kept fresh, then given back."""
        token = self._claim(key)
        if token is None:
            yield False
            return
        ended = threading.Event()
        path = self._claim_path(key)

        def keep_fresh() -> None:
            while not ended.wait(self.stale / 4):
                with contextlib.suppress(OSError):
                    os.utime(path)

        thread = threading.Thread(target=keep_fresh, daemon=True)
        thread.start()
        try:
            yield True
        finally:
            ended.set()
            thread.join()
            if _token(path) == token:
                path.unlink(missing_ok=True)

    def sweep(self) -> None:
        """Take away the claims of dead processes: one that was killed behind its last write is taken over by nobody."""
        for path in (self.folder / "claims").glob("*.json"):
            dead = self._dead(path)
            if dead is not None:
                self._bury(path, dead)

    def _claim(self, key: Key) -> str | None:
        """The token of a claim that was made; None where another process holds it."""
        path, token = self._claim_path(key), uuid.uuid4().hex
        mine = {"token": token, "host": self.host, "pid": os.getpid(), "born": _born(os.getpid())}
        for _ in range(2):
            if self._make(path, json.dumps(mine)):
                return token
            dead = self._dead(path)
            if dead is None:
                return None
            self._bury(path, dead)
        return None

    def _make(self, path: Path, text: str) -> bool:
        """Create the claim with its content in one step, or not at all."""
        beside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            beside.write_text(text)
            os.link(beside, path)
            return True
        except FileExistsError:
            return False
        except OSError as error:
            raise StoreError(
                f"cannot write {path}: {error.strerror or error}; make room, or choose another folder"
            ) from error
        finally:
            with contextlib.suppress(OSError):
                beside.unlink()

    def _dead(self, path: Path) -> str | None:
        """The token of a claim whose process is gone (this machine) or has not touched it for too long (another one)."""
        try:
            age, found = time.time() - path.stat().st_mtime, json.loads(path.read_text())
        except OSError:
            return None
        gone = _born(found["pid"]) != found["born"] if found["host"] == self.host else age > self.stale
        return found["token"] if gone else None

    def _bury(self, path: Path, dead: str) -> None:
        """Take a dead claim away. One of several that try gets it; a claim made anew in between is put back."""
        buried = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.dead")
        with contextlib.suppress(OSError):
            os.rename(path, buried)
            if _token(buried) != dead:
                os.link(buried, path)
            buried.unlink()

    def _write(self, path: Path, content: bytes) -> None:
        try:
            write_bytes(path, content)
        except ConfigError as error:
            raise StoreError(
                f"{error}. Results written before are whole; run the same command again to go on"
            ) from error

    def _path(self, key: Key, metric: str | None) -> Path:
        part = self.folder / "pictures" if metric is None else self.folder / "scores" / metric.replace("/", "--")
        return part / key.configuration / f"{key.name}.parquet"

    def _failure(self, key: Key) -> Path:
        return self.folder / "failures" / key.configuration / f"{key.name}.json"

    def _claim_path(self, key: Key) -> Path:
        return self.folder / "claims" / f"{key.name}.json"


def _token(path: Path) -> str | None:
    try:
        return json.loads(path.read_text())["token"]
    except (OSError, ValueError, KeyError):
        return None


def _born(pid: int) -> str | None:
    """When the process began, so that a number used again is not taken for it; None where there is none such.

    Where the system does not say, the number alone must do.
    """
    try:
        # The 22nd field of /proc/PID/stat, counted behind the name, which may hold spaces.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if fields[0] == "Z" else fields[19]
    except FileNotFoundError:
        if Path("/proc/self/stat").exists():
            return None
    except OSError:
        pass
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except OSError:
        pass
    return "unknown"
