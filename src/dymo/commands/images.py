"""Images in files: found, read, and with the prompt they were generated from."""

from __future__ import annotations

import json
import logging
import os
import re
import struct
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from ..errors import ConfigError, PromptError
from ..pixels import from_pil
from ..report.png import read_png
from .options import read_file

if TYPE_CHECKING:
    from torch import Tensor

logger = logging.getLogger(__name__)

ENDINGS = (".png", ".jpg", ".jpeg", ".webp")
_NAME_KEYS = ("image", "file", "file_name", "path")
Parts = tuple[str, ...]


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
    """(3, H, W) in [0, 1], float32; turned as its EXIF says, transparent parts on white. Raises ConfigError."""
    try:
        with Image.open(path) as file:
            # A PNG has no 32-bit numbers: of Pillow's earlier releases they are 16.
            if file.mode == "F" or (file.mode == "I" and file.format != "PNG"):
                said = f"its pixels are 32-bit numbers (mode {file.mode}), of which nobody can tell what is white"
                raise ConfigError(f"{path}: {said}; save it with 8 or 16 bits")
            image = _turned(file, path)
            if image.mode.startswith("I"):
                image = _of_eight_bits(image)
            if "A" in image.getbands() or "transparency" in image.info:
                image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
            return from_pil([image])[0]
    except (OSError, SyntaxError) as error:  # Pillow's plugins call a broken file the latter
        raise _no_image(path, error) from error


def _no_image(path: Path, error: Exception) -> ConfigError:
    why = "no format of images" if isinstance(error, UnidentifiedImageError) else error
    return ConfigError(f"{path}: cannot be read as an image ({why}); leave it out, or name the whole image")


def _turned(image: Image.Image, path: Path) -> Image.Image:
    """The image as its EXIF says it is to be seen; as it lies, with a warning, where that cannot be read."""
    try:
        return ImageOps.exif_transpose(image)
    except (SyntaxError, ValueError, KeyError, struct.error) as error:
        logger.warning("%s: its EXIF cannot be read (%s), so it is taken as it lies", path, error)
        return image


def _of_eight_bits(image: Image.Image) -> Image.Image:
    """Grey of 16 bits with 8; the value that stands for transparent stays so. Pillow's own way cuts all above 255 off."""
    values = np.asarray(image)
    grey = Image.fromarray(np.rint(values / 257).astype(np.uint8))
    if (clear := image.info.get("transparency")) is not None:
        grey.putalpha(Image.fromarray(np.where(values == clear, 0, 255).astype(np.uint8)))
    return grey


def read_prompts_file(path: Path) -> dict[str, str]:
    """Image as written -> prompt, of lines {"image": "a.png", "prompt": "..."}. Raises ConfigError with the line's number."""
    found: dict[str, str] = {}
    for number, line in enumerate(read_file(path, "--prompts").split("\n"), 1):
        said = f"--prompts {path}, line {number}"
        try:
            if not line.strip():
                continue
            row = json.loads(line)
            name, prompt = next(row[key] for key in _NAME_KEYS if key in row), row["prompt"]
            if not isinstance(name, str) or not isinstance(prompt, str):
                raise TypeError("not texts")
        except (ValueError, KeyError, TypeError, StopIteration, RecursionError) as error:
            raise ConfigError(f'{said}: give {{"image": "a.png", "prompt": "..."}}, not {line[:80]!r}') from error
        if found.setdefault(name, prompt) != prompt:
            raise ConfigError(f"{said}: {name!r} has another prompt in an earlier line; keep one of them")
    return found


def listed_prompts(images: Sequence[Path], file: Path) -> dict[Path, str]:
    """The prompts of the images that a file of prompts has a line for: the line whose path agrees in the most parts, from the end.

    A line that agrees with another image in more parts is that one's. Raises ConfigError where lines with different prompts agree in
    as many.
    """
    listed = read_prompts_file(file)
    lines: dict[Parts, list[str]] = defaultdict(list)
    for name in listed:
        for end in _ends(Path(name)):
            lines[end].append(name)
    agreed = {image: next((end for end in _ends(Path(os.path.abspath(image))) if end in lines), ()) for image in images}
    most: dict[str, int] = {}
    for end in set(agreed.values()):
        most |= {name: max(len(end), most.get(name, 0)) for name in lines.get(end, ())}
    found = {}
    for image, end in agreed.items():
        names = lines.get(end, [])
        if all(most[name] > len(end) for name in names):
            continue
        if other := [name for name in names if listed[name] != listed[names[0]]]:
            remedy = "they have different prompts: write more of the path into the lines"
            raise ConfigError(f"--prompts {file}: {image} could be of the line {names[0]!r} or {other[0]!r}, and {remedy}")
        found[image] = listed[names[0]]
    return found


def ends_apart(paths: Sequence[Path]) -> list[str]:
    """Each path from its end, as short as tells it from the others: ["a/0.png", "b/0.png", "1.png"]."""
    counts = Counter(end for path in paths for end in _ends(path))
    return [str(Path(*next((end for end in reversed(_ends(path)) if counts[end] == 1), path.parts))) for path in paths]


def _ends(path: Path) -> list[Parts]:
    """The parts of a path from each on, the whole first."""
    return [path.parts[i:] for i in range(len(path.parts))]


def prompt_of(path: Path, prompt: str | None = None, listed: str | None = None) -> str:
    """The prompt of an image: the one given, the list's, or what the PNG itself carries. Raises PromptError."""
    found = prompt if prompt is not None else listed
    if found is None and path.suffix.lower() == ".png":
        try:
            parameters, record = read_png(path)
        except (OSError, SyntaxError) as error:
            raise _no_image(path, error) from error
        except ValueError as error:
            raise PromptError(f"{path}: its parameters cannot be read ({error}); give --prompt or --prompts") from error
        # The record is exact; in the text, a prompt may look like the fields after it.
        found = (record or {}).get("prompt")
        if not found or not isinstance(found, str):
            found = parameters.prompt if parameters is not None else None
    if not found or not found.strip():
        raise PromptError(f"{path}: no prompt in the file: give --prompt for all, or --prompts with a line for each")
    return found
