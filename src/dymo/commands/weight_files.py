"""What a file of weights is, from its first bytes. Nothing is imported for it, and no tensor is read."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from ..errors import ConfigError
from ..parts import Option, Part

Role = Literal[
    "checkpoint", "LoRA", "LyCORIS", "VAE", "UNet", "text encoder", "ControlNet", "embedding", "IP-Adapter", "unknown"
]

PICKLES = (".ckpt", ".pt", ".pth", ".bin")
FAMILIES = {768: "SD1.5", 1024: "SD2", 1280: "SDXL's refiner", 2048: "SDXL"}
"""Width of the text features that a UNet attends to -> whose it is."""
UNET = "model.diffusion_model."
"""Prefix of the denoiser in a checkpoint of one file."""
VAE = "first_stage_model."

SCALED = (".scale_weight", ".weight_scale", ".scale_input", ".input_scale", "scaled_fp8", ".comfy_quant", ".qweight", ".wscales")
"""Ends of the names of tensors by which other programs scale quantised weights; diffusers does not read them."""

_LARGEST_HEADER = 100_000_000  # bytes; safetensors itself reads no larger one
_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
_ATTENDS = re.compile(
    r"attn2[._](?:processor\.)?to_[kv](?:_lora)?\.(?:lora_A|lora_down|lora\.down|down)(?:\.\w+)?\.weight$"
)
_TRANSFORMERS = {"joint_blocks": "SD3", "double_blocks": "FLUX", "single_transformer_blocks": "FLUX"}
_LORA = ("lora_A.", "lora_B.", "lora_down.", "lora_up.", "lora.down.", "lora.up.", "_lora.down.", "_lora.up.")
_LYCORIS = (".hada_", ".lokr_", ".oft_blocks", ".diff_b", "glora_")


@dataclass(frozen=True)
class Header:
    """The tensors of a safetensors file: name -> shape, and name -> the file's word for the precision (F16, BF16, ...)."""

    shapes: Mapping[str, tuple[int, ...]]
    dtypes: Mapping[str, str]

    def has(self, prefix: str) -> bool:
        """Whether any tensor's name begins so."""
        return any(name.startswith(prefix) for name in self.shapes)

    def precision(self, prefix: str = "") -> str:
        """The word for what most numbers below `prefix` have; "" where there are none."""
        found: Counter[str] = Counter()
        for name, dtype in self.dtypes.items():
            if name.startswith(prefix) and dtype in _BYTES:
                found[dtype] += math.prod(self.shapes[name])
        return found.most_common(1)[0][0] if found else ""

    @cached_property
    def role(self) -> Role:
        """What the tensors' names say the file is. Of a LyCORIS: LoHa, LoKr and other forms than LoRA's two matrices."""
        names = list(self.shapes)
        if _any(names, _LYCORIS):
            return "LyCORIS"
        if _any(names, _LORA):
            return "LoRA"
        if _any(names, ("ip_adapter.", "image_proj.")):
            return "IP-Adapter"
        if _any(names, ("control_model.", "controlnet_cond_embedding", "input_hint_block")):
            return "ControlNet"
        if self.has(UNET):
            return "checkpoint"
        if _any(names, ("joint_blocks.", "double_blocks.", "transformer_blocks.0.attn.")):
            return "checkpoint"
        if _any(names, ("down_blocks.0.attentions", "down_blocks.1.attentions", "output_blocks.")):
            return "UNet"
        if _any(names, ("decoder.up", "decoder.mid", "decoder.layers", VAE)):
            return "VAE"
        if _any(
            names, ("text_model.encoder.", "encoder.layers.0.self_attn", "transformer.resblocks.", "encoder.block.0.")
        ):
            return "text encoder"
        if names and len(names) <= 4 and all(len(shape) <= 2 for shape in self.shapes.values()):
            return "embedding"
        return "unknown"

    @cached_property
    def transformer(self) -> str:
        """ "FLUX", "SD3" or "a transformer" where the file belongs to a denoiser that is no UNet; else ""."""
        for part, family in _TRANSFORMERS.items():
            if any(part in name for name in self.shapes):
                return family
        of_one = (
            "transformer.",
            "diffusion_model.layers",
            "lora_transformer_",
            f"{UNET}layers",
            "transformer_blocks.0.attn.",
        )
        return "a transformer" if self.role in ("LoRA", "checkpoint") and _starts(self.shapes, of_one) else ""

    @cached_property
    def width(self) -> int | None:
        """The width of the text features that the UNet attends to, or a LoRA's UNet; None where no tensor tells."""
        whole = re.compile(r"attn2\.to_[kv]\.weight$")
        for name, shape in self.shapes.items():
            if (_ATTENDS.search(name) or (self.role != "LoRA" and whole.search(name))) and len(shape) > 1:
                return shape[1]
        if self.role == "LoRA":
            second = any("lora_te2_" in name or name.startswith("text_encoder_2.") for name in self.shapes)
            # SDXL alone has more than one transformer block in an attention.
            deep = any(re.search(r"transformer_blocks[._][2-9]", name) for name in self.shapes)
            return 2048 if second or deep else None
        return None

    @cached_property
    def channels(self) -> int | None:
        """How many channels a checkpoint's UNet reads: 4 from noise alone, 9 for inpainting."""
        shape = self.shapes.get(f"{UNET}input_blocks.0.0.weight")
        return shape[1] if shape else None


def family(width: int | None) -> str:
    """The name of a family of UNets by the width of its text features."""
    return FAMILIES.get(width or 0, f"a model with text features of {width} numbers")


def is_gguf(path: Path) -> bool:
    """Whether a file has GGUF's mark, by its first bytes. Raises OSError."""
    with path.open("rb") as file:
        return file.read(4) == b"GGUF"


def is_pickle(path: Path) -> bool:
    """Whether a file is of the form that can run code when it is read, by its ending."""
    return path.suffix.lower() in PICKLES


def read_header(said: object, path: Path) -> Header:
    """The header of a safetensors file. `said`: what names it in messages, a part or several.

    Raises ConfigError that names what the file is instead, or that it is cut off, and what to do.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(512)
            if reason := _other(path, start):
                raise ConfigError(said, ": ", reason)
            length = int.from_bytes(start[:8], "little")
            file.seek(8)
            text = file.read(length) if 2 <= length <= _LARGEST_HEADER else b""
    except OSError as error:
        raise ConfigError(said, f": cannot be read ({error.strerror or error})") from error
    if start[8:9] != b"{" or not text:
        raise ConfigError(said, ": this is no safetensors file; name one, or a diffusers folder")
    cut = said, ": the file is cut off"
    if len(text) < length:
        raise ConfigError(cut, f" ({size} bytes, its header alone has {length}); download it again")
    try:
        tensors = {name: entry for name, entry in json.loads(text).items() if name != "__metadata__"}
        shapes = {name: tuple(map(int, entry["shape"])) for name, entry in tensors.items()}
        dtypes = {name: str(entry["dtype"]) for name, entry in tensors.items()}
        whole = 8 + length + max((int(entry["data_offsets"][1]) for entry in tensors.values()), default=0)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise ConfigError(said, f": its header cannot be read as safetensors ({error}); download it again") from error
    if size < whole:
        raise ConfigError(cut, f" ({_mb(size)} of {_mb(whole)} are there); download it again")
    return Header(shapes, dtypes)


def _other(path: Path, start: bytes) -> str | tuple[str | Part, ...]:
    """What a file is that is no safetensors, with the remedy; "" where it may be one."""
    text = start.lstrip().lower()
    if not start:
        return "the file is empty; download it again"
    if start.startswith(b"GGUF"):
        return "a GGUF file, of which a transformer alone is read: give it with ", Option("transformer"), ", beside a ", Option("model")
    if text.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "a web page, saved in the place of the file; download the file itself"
    if start.startswith(b"version https://git-lfs"):
        return "the pointer of Git LFS, in the place of the file; run git lfs pull, or download the file itself"
    if is_pickle(path) or start.startswith((b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04")):
        ending = path.suffix if is_pickle(path) else "pickled"
        return (
            f"only .safetensors files are read, a {ending} file can run code; name the .safetensors of the same weights"
        )
    return ""


def _any(names: Iterable[str], parts: Iterable[str]) -> bool:
    parts = tuple(parts)
    return any(part in name for name in names for part in parts)


def _starts(names: Iterable[str], prefixes: tuple[str, ...]) -> bool:
    return any(name.startswith(prefixes) for name in names)


def _mb(size: int) -> str:
    return f"{size} bytes" if size < 10**6 else f"{size / 1e6:.0f} MB"
