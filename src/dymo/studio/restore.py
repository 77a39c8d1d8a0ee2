"""Settings from an image that was dropped on the page."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

from PIL import Image, UnidentifiedImageError

from ..errors import ConfigError
from ..report.png import read_png
from .settings import from_record

MOST_BYTES = 40 * 2**20
MOST_PIXELS = 20_000_000


def restore(content: bytes, pipelines: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Settings, and what could not be taken over. Raises ConfigError where the image is too large or tells nothing.

    The size is read from the file's head, before any pixel is decoded.
    """
    try:
        with Image.open(io.BytesIO(content), formats=["PNG", "JPEG", "WEBP"]) as image:
            width, height, kind = *image.size, image.format
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ConfigError("this is no PNG, JPEG or WebP image that can be read") from error
    if width * height > MOST_PIXELS:
        size, most = f"{width} x {height} pixels", MOST_PIXELS // 10**6
        raise ConfigError(f"the image has {size}; at most {most} megapixels are read: drop one that dymo generated")
    if kind != "PNG":
        raise ConfigError(f"a {kind} file does not carry its settings: drop the PNG that dymo wrote")
    try:
        parameters, record = read_png(io.BytesIO(content))
    except Exception as error:  # a hostile file makes the decoder raise whatever it likes
        raise ConfigError("the image's parameters cannot be read") from error
    if isinstance(record, dict):
        return from_record(record, pipelines)
    if parameters is None:
        raise ConfigError("this image carries no settings: drop a PNG that dymo, or a web UI, wrote")
    call: dict[str, Any] = {"num_inference_steps": parameters.steps, "guidance_scale": parameters.guidance_scale}
    call["negative_prompt"] = parameters.negative_prompt
    found = {"prompt": parameters.prompt, "call": {k: v for k, v in call.items() if v}, "seed": parameters.seed}
    return from_record(found | {"model": parameters.model, "preset": parameters.preset}, pipelines)
