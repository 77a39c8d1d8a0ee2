"""A file of lines that grows, and that a killed run leaves in a state from which the next one goes on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ..errors import ConfigError


@dataclass(frozen=True)
class Resumable:
    """A file whose lines end in a line feed each; what stands after the last one was cut off, and does not count."""

    path: Path

    def whole_lines(self) -> list[str]:
        """The lines that are there. Raises ConfigError where the file cannot be read."""
        try:
            content = self.path.read_bytes() if self.path.exists() else b""
            return content[: self._whole(content)].decode("utf-8").split("\n")[:-1]
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{self.path} cannot be read ({error}); name another file") from error

    def append(self, lines: Iterable[str]) -> None:
        """Write each line as soon as it is there; what was cut off before goes. Raises ConfigError."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a+b") as file:
                file.seek(0)
                file.truncate(self._whole(file.read()))
        except OSError as error:
            raise self._unwritable(error) from error
        for line in lines:
            try:
                with self.path.open("ab") as file:
                    file.write(line.encode("utf-8") + b"\n")
            except OSError as error:
                raise self._unwritable(error) from error

    @staticmethod
    def _whole(content: bytes) -> int:
        return content.rfind(b"\n") + 1

    def _unwritable(self, error: OSError) -> ConfigError:
        return ConfigError(f"cannot write {self.path}: {error.strerror or error}; choose another file, or make room")
