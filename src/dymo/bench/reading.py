"""The files that say what is compared: YAML, and the paper's tables. Read before slow imports."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..errors import ConfigError
from ..miniature import MINIATURE, WEIGHTS
from .needs import need

TABLES = (1, 2, 3, 4)


def defaults(miniature: bool) -> dict[str, Any]:
    """The reward and the metrics of a comparison that names none, on the miniature or on another pipeline."""
    if miniature:
        return {"reward": "mini-pickscore", "metrics": ["mini-pickscore", "mini-hps", "judge"]}
    return {"reward": "pickscore", "metrics": ["pickscore", "hpsv2.1"]}


def read_yaml(path: Path) -> dict[str, Any]:
    """The object in a YAML (or JSON) file. Raises ConfigError."""
    yaml = need("yaml")
    try:
        text = path.read_text(encoding="utf-8-sig")
        _check_twice(path, yaml.compose(text, yaml.SafeLoader))
        data = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        raise ConfigError(f"{path}: cannot be read ({' '.join(str(error).split())}); name a readable YAML or JSON file") from error
    if not isinstance(data, dict):
        held = "nothing" if data is None else f"a {type(data).__name__}"
        raise ConfigError(f"{path}: holds {held}, not settings (pipeline:, prompts:, rows: ...)")
    return data


def _check_twice(path: Path, root: Any) -> None:
    """Raises ConfigError on a key that stands twice in one table, of which YAML would take the last without a word."""
    nodes, known = [root] if root is not None else [], set()
    while nodes:
        node = nodes.pop()
        if id(node) in known or isinstance(node.value, str):
            continue
        known.add(id(node))  # an alias is the node that it stands for, any number of times
        if node.id == "mapping":
            keys = [key.value for key, _ in node.value]
            for n, (key, value) in enumerate(node.value):
                if isinstance(key.value, str) and key.value in keys[:n]:
                    raise ConfigError(f"{path}, line {key.start_mark.line + 1}: {key.value!r} is there twice; leave out one")
                nodes.append(value)
        else:
            nodes += node.value


def read_table(number: int, pipeline: str | None = None) -> dict[str, Any]:
    """A table of the paper (arXiv 2412.00759) as the data of a comparison; without a pipeline, on the miniature.

    Rows whose trained weights are not in the package are left out, with the reason. Raises ConfigError on another number.
    """
    if number not in TABLES:
        raise ConfigError(f"--table {number}: choose one of {', '.join(map(str, TABLES))}")
    mini = pipeline in (None, MINIATURE)
    data = read_yaml(Path(__file__).parent / "tables" / f"{number}-{'miniature' if mini else 'real'}.yaml")
    data.pop("shared", None)
    if pipeline is not None:
        data["pipeline"] = pipeline
    data["title"] = f"Table {number} on {'the miniature' if mini else data['pipeline']}"
    trained = {row["name"]: row["lora"] for row in data["rows"] if mini and "lora" in row}
    missing = {name: file for name, file in trained.items() if not (WEIGHTS / file).is_file()}
    reasons = {name: f"{file} is not in the package" for name, file in missing.items()}
    data["left_out"] = data.get("left_out", {}) | reasons
    data["rows"] = [row for row in data["rows"] if row["name"] not in missing]
    return data


def located(source: str) -> str:
    """A name of the miniature's weights, as lora/spo.safetensors, as its path; anything else as it is."""
    return str(WEIGHTS / source) if not Path(source).exists() and (WEIGHTS / source).is_file() else source
