"""Images in files: found, read, and with the prompt they were generated from."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from ..errors import ConfigError, PromptError
from ..report.png import read_png
from .options import read_file

if TYPE_CHECKING:
    from torch import Tensor

ENDINGS = (".png", ".jpg", ".jpeg", ".webp")
_NAME_KEYS = ("image", "file", "file_name", "path")


def find_images(paths: Sequence[Path]) -> list[Path]:
    """The files named, and the images in the folders named, in order, each once. Raises ConfigError.

    Plots and contact sheets that `dymo generate` wrote into a folder are left out.
    """
    found: list[Path] = []
    for path in paths:
        if not path.exists():
            raise ConfigError(f"{path}: there is no such image or folder")
        inside = [path]
        if path.is_dir():
            inside = sorted(p for p in path.iterdir() if p.suffix.lower() in ENDINGS and not _beside(p))
        if not inside:
            raise ConfigError(f"{path}: no image ({', '.join(ENDINGS)}) in this folder")
        found += inside
    return list(dict.fromkeys(found))


def _beside(path: Path) -> bool:
    """Whether it is a plot or a contact sheet that `dymo generate` put beside its images."""
    return re.fullmatch(r"sheet(-\d+)?\.png", path.name) is not None or (
        path.stem.endswith("-trace") and path.with_stem(path.stem.removesuffix("-trace")).is_file()
    )


def read_image(path: Path) -> Tensor:
    """(3, H, W) in [0, 1], float32; transparent parts on white. Raises ConfigError."""
    try:
        with Image.open(path) as image:
            if "A" in image.getbands() or "transparency" in image.info:
                return pixels(Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA")))
            return pixels(image)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read as an image ({error})") from error


def pixels(image: Image.Image) -> Tensor:
    """(3, H, W) in [0, 1], float32."""
    import torch

    return torch.from_numpy(np.asarray(image.convert("RGB")).copy()).permute(2, 0, 1).float() / 255


def read_prompts_file(path: Path) -> dict[str, str]:
    """File name -> prompt, of lines {"image": "a.png", "prompt": "..."}. Raises ConfigError with the line's number."""
    found = {}
    for number, line in enumerate(read_file(path, "--prompts").splitlines(), 1):
        try:
            if line.strip():
                row = json.loads(line)
                name = next(row[key] for key in _NAME_KEYS if key in row)
                found[Path(name).name] = str(row["prompt"])
        except (ValueError, KeyError, TypeError, StopIteration) as error:
            said = f"--prompts {path}, line {number}"
            raise ConfigError(f'{said}: give {{"image": "a.png", "prompt": "..."}}, not {line[:80]!r}') from error
    return found


def prompt_of(path: Path, prompt: str | None, prompts: dict[str, str]) -> str:
    """The prompt of an image: the one given, the file's, or what the PNG itself carries. Raises PromptError."""
    found = prompt if prompt is not None else prompts.get(path.name)
    if found is None and path.suffix.lower() == ".png":
        try:
            parameters, record = read_png(path)
        except (OSError, ValueError) as error:
            raise PromptError(f"{path}: its parameters cannot be read ({error}); give --prompt or --prompts") from error
        # The record is exact; in the text, a prompt may look like the fields after it.
        found = (record or {}).get("prompt") or (parameters.prompt if parameters is not None else None)
    if not found or not found.strip():
        raise PromptError(f"{path}: no prompt in the file: give --prompt for all, or --prompts with a line for each")
    return found
