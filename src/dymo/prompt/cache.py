"""Graphs that a model was once asked for, on disk, each under the hash of what it depends on."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from dymo.errors import ConfigError, PromptError
from dymo.prompt.graph import SemanticGraph


@dataclass(frozen=True)
class GraphCache:
    """A folder of graphs. A file is whole or not there, also when the process is killed; a damaged one counts as absent."""

    folder: Path

    def get(self, prompt: str, *parts: str) -> tuple[SemanticGraph, tuple[str, ...]] | None:
        """What is stored for a prompt under the same parts (model, schema version, ...): its graph and the missing words."""
        try:
            stored = json.loads(self._path(prompt, parts).read_text(encoding="utf-8"))
            graph, missing = SemanticGraph.from_json(stored["graph"]), tuple(map(str, stored["missing"]))
        except (OSError, ValueError, LookupError, TypeError, RecursionError, PromptError):
            return None
        return (graph, missing) if graph.prompt == prompt else None

    def put(self, graph: SemanticGraph, missing: tuple[str, ...], *parts: str) -> None:
        """Store a graph and the words that it lacks. Raises ConfigError where the folder cannot be written."""
        path = self._path(graph.prompt, parts)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            opened = tempfile.NamedTemporaryFile("w", dir=path.parent, suffix=".part", encoding="utf-8", delete=False)
            try:
                with opened as file:
                    json.dump({"graph": json.loads(graph.to_json()), "missing": missing}, file)
                os.replace(file.name, path)
            except BaseException:
                os.unlink(opened.name)
                raise
        except OSError as error:
            problem = f"cannot write the cache of graphs {self.folder}: {error.strerror or error}"
            raise ConfigError(f"{problem}; give another cache= folder, or cache=False") from error

    def _path(self, prompt: str, parts: tuple[str, ...]) -> Path:
        content = json.dumps([prompt, *parts]).encode("utf-8", "surrogatepass")
        name = hashlib.sha256(content).hexdigest()
        return self.folder / name[:2] / f"{name}.json"


def default_folder() -> Path:
    """Where this user's caches belong on this system, by platformdirs. Raises ConfigError where that is not installed."""
    try:
        from platformdirs import user_cache_path
    except ImportError as error:
        need = "the cache's usual place needs platformdirs: pip install 'dymo-diffusion[llm]', or give cache="
        raise ConfigError(need) from error
    return user_cache_path("dymo") / "graphs"
