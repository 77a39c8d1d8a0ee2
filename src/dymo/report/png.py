"""PNG files that carry what made them: the de-facto `parameters` text, and one JSON text named `dymo`."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from .atomic import write_bytes

_FIELD = re.compile(r'\s*([\w ]+):\s*("(?:\\.|[^\\"])*"|[^,]*)(?:,|$)')

_FIELDS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "Steps": ("steps", int), "Sampler": ("sampler", str), "CFG scale": ("guidance_scale", float), "Seed": ("seed", int),
    "Size": ("height", int), "Model": ("model", str), "DyMO preset": ("preset", str),
}  # fmt: skip
"""The text's name of a field -> the attribute, and how it is read; of the size, what stands after the x."""


@dataclass(frozen=True)
class Parameters:
    """What many programs read from an image's `parameters`. None leaves a field out.

    In the text, a prompt with a line that starts like the fields after it cannot be told from them; the JSON text keeps
    what is needed exactly.
    """

    prompt: str
    negative_prompt: str = ""
    steps: int | None = None
    sampler: str | None = None
    guidance_scale: float | None = None
    seed: int | None = None
    width: int | None = None
    height: int | None = None
    model: str | None = None
    preset: str | None = None  # DyMO's; None for an image that was not aligned

    def to_text(self) -> str:
        """Prompt, "Negative prompt: ...", then one line "Steps: 25, Sampler: DDIM, ..."."""
        values = {title: getattr(self, name) for title, (name, _) in _FIELDS.items()}
        if self.guidance_scale is not None:
            values["CFG scale"] = f"{self.guidance_scale:g}"
        values["Size"] = f"{self.width}x{self.height}" if self.width and self.height else None
        negative = [f"Negative prompt: {self.negative_prompt}"] if self.negative_prompt else []
        fields = ", ".join(f"{title}: {_quoted(value)}" for title, value in values.items() if value is not None)
        return "\n".join([self.prompt, *negative, fields])

    @classmethod
    def from_text(cls, text: str) -> Parameters:
        """The inverse of `to_text`; fields it does not know are left out."""
        *words, last = text.split("\n")
        found = {name.strip(): _unquoted(value) for name, value in _FIELD.findall(last)}
        if "Steps" not in found and "Seed" not in found:
            words, found = [*words, last], {}
        start = next((i for i, line in enumerate(words) if line.startswith("Negative prompt: ")), len(words))
        prompts = "\n".join(words[:start]), "\n".join(words[start:]).removeprefix("Negative prompt: ")
        width, _, found["Size"] = found.get("Size", "").partition("x")
        given = {name: read(found[title]) for title, (name, read) in _FIELDS.items() if found.get(title)}
        return cls(*prompts, width=int(width) if "height" in given else None, **given)


def png_bytes(image: Image.Image, parameters: Parameters | None = None, data: dict[str, Any] | None = None) -> bytes:
    """The PNG file of an image with its texts. `data` must be JSON without NaN (ValueError, TypeError)."""
    texts = PngInfo()
    if parameters is not None:
        texts.add_text("parameters", parameters.to_text())
    if data is not None:
        texts.add_text("dymo", json.dumps(data, ensure_ascii=True, allow_nan=False))
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", pnginfo=texts)
    return buffer.getvalue()


def save_png(image: Image.Image, path: str | Path, *texts: Any) -> Path:
    """Write `png_bytes(image, *texts)` to `path`, whole or not at all."""
    return write_bytes(path, png_bytes(image, *texts))


def read_png(path: str | Path | IO[bytes]) -> tuple[Parameters | None, dict[str, Any] | None]:
    """The `parameters` and the `dymo` JSON that a PNG carries; None for what it does not."""
    with Image.open(path) as image:
        image.load()  # texts may stand after the pixels
        texts = dict(getattr(image, "text", {}))
    parameters = Parameters.from_text(texts["parameters"]) if "parameters" in texts else None
    try:
        record = json.loads(texts["dymo"]) if "dymo" in texts else None
    except RecursionError as error:
        raise ValueError("its JSON is too deep") from error
    return parameters, record if isinstance(record, dict) else None  # another program may use the name for something else


def _quoted(value: object) -> str:
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if re.search(r'[,:"\n]', text) else text


def _unquoted(value: str) -> str:
    return json.loads(value) if value.startswith('"') else value.strip()
