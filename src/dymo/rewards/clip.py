"""PickScore, HPSv2, CLIPScore and every other reward that is a CLIP model: a multiple of the cosine of picture and prompt."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AutoTokenizer, CLIPConfig, CLIPModel

from ..errors import RewardError
from .base import check_pairs, full_precision
from .checkpoint import Difference, State, find_file, fitting, put, read_weights, shapes, without_storage
from .memory import checkpoint_layers
from .open_clip import from_open_clip, open_clip_shapes
from .preprocess import OPENAI_MEAN, OPENAI_STD, longest_side_pad, normalise, shortest_side_crop
from .texts import PromptCache

VIT_H_TOKENIZER = "laion/CLIP-ViT-H-14-laion2B-s32B-b79K"
Prepare = Callable[[Tensor, int], Tensor]
"""Pictures (B, 3, H, W) in [0, 1] and the tower's side -> (B, 3, side, side)."""


class CLIPReward:
    """points x cos(f_V(x), f_T(c)), differentiable from the picture tensor on; text features are kept.

    model: a transformers CLIPModel, frozen here; tokenizer: its tokenizer. points: None for exp(logit_scale), else the
    number (1: the cosine itself). scale: points of score that one unit of a sum of rewards is worth.
    """

    reads_timestep = False
    differentiable = True

    def __init__(
        self,
        model: CLIPModel,
        tokenizer: Any,
        name: str,
        mean: Sequence[float] = OPENAI_MEAN,
        std: Sequence[float] = OPENAI_STD,
        *,
        prepare: Prepare = shortest_side_crop,
        points: float | None = None,
        scale: float = 1.0,
        checkpointing: bool = False,
    ):
        self.model = model.eval().requires_grad_(False)
        self.tokenizer, self.name, self.mean, self.std = tokenizer, name, tuple(mean), tuple(std)
        self.prepare, self.scale = prepare, scale
        self.resolution: int | None = model.config.vision_config.image_size
        self.cosine_scale: float | None = float(model.logit_scale.detach().exp()) if points is None else points
        self._points = points
        self._texts = PromptCache(self._encode)
        if checkpointing:
            checkpoint_layers(model.vision_model.encoder.layers)

    def to(self, device: torch.device | str) -> CLIPReward:
        """Move the model; returns self."""
        self.model.to(device)
        self._texts.to(device)
        return self

    def score(self, images: Tensor, prompts: Sequence[str], timestep: float | None = None) -> Tensor:
        """images (B, 3, H, W) in [0, 1] -> (B,), about 18 to 25 for PickScore. Raises RewardError on a wrong count."""
        check_pairs(self.name, images, prompts)
        pixels = normalise(self.prepare(images, self.model.config.vision_config.image_size), self.mean, self.std)
        pictures = full_precision(self._embed(pixels.to(self.model.dtype), timestep))
        cosine = (F.normalize(pictures, dim=-1) * self._texts(prompts)).sum(-1)
        points = full_precision(self.model.logit_scale).exp() if self._points is None else self._points
        return points * cosine

    def _embed(self, pixels: Tensor, timestep: float | None) -> Tensor:
        """Picture embeddings (B, d) of prepared pixels."""
        return self.model.get_image_features(pixel_values=pixels).pooler_output

    def _encode(self, prompts: list[str]) -> Tensor:
        """Unit text embeddings (n, d)."""
        length = self.model.config.text_config.max_position_embeddings
        tokens = self.tokenizer(prompts, padding="max_length", truncation=True, max_length=length, return_tensors="pt")
        ids, mask = (found.to(self.model.device) for found in (tokens.input_ids, tokens.attention_mask))
        features = self.model.get_text_features(input_ids=ids, attention_mask=mask).pooler_output
        return F.normalize(full_precision(features), dim=-1)


def vit_h_config() -> CLIPConfig:
    """The sizes of PickScore, HPSv2 and the step-aware model: open_clip's ViT-H-14 as transformers names it."""
    both = {"hidden_act": "gelu", "projection_dim": 1024, "layer_norm_eps": 1e-5}
    vision = {
        "hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32, "num_attention_heads": 16,
        "patch_size": 14, "image_size": 224,
    }  # fmt: skip
    # eos_token_id 2 lets transformers pool where the ids are largest, as open_clip does.
    text = {
        "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16,
        "vocab_size": 49408, "max_position_embeddings": 77, "bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 1,
    }  # fmt: skip
    return CLIPConfig(text_config=text | both, vision_config=vision | both, projection_dim=1024)


def clip_from_state(
    state: State, name: str, config: CLIPConfig | None = None, dtype: torch.dtype | None = None
) -> CLIPModel:
    """A CLIPModel (ViT-H/14 unless `config` says otherwise) of weights in transformers' names. Raises RewardError."""
    model = without_storage(lambda: CLIPModel(config or vit_h_config()))
    return put(model, fitting(shapes(model.state_dict()), state, name), dtype)


def clip_from_open_clip(
    state: State, name: str, config: CLIPConfig | None = None, dtype: torch.dtype | None = None
) -> CLIPModel:
    """The same of weights in open_clip's names."""
    model = without_storage(lambda: CLIPModel(config or vit_h_config()))
    return put(model, from_open_clip(fitting(open_clip_shapes(model), state, name)), dtype)


def pretrained(
    kind: type, source: str | Path, name: str, dtype: torch.dtype | None, optional: tuple[str, ...] = ()
) -> Any:
    """`kind.from_pretrained` of a hub id or folder, from safetensors alone, all of the weights or RewardError.

    optional: prefixes of names that the model does not have and the file may.
    """
    try:
        model, report = kind.from_pretrained(  # type: ignore[attr-defined]
            source, use_safetensors=True, dtype=dtype, output_loading_info=True, ignore_mismatched_sizes=True
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise RewardError(
            f"{name}: cannot load a {kind.__name__} from {str(source)!r}: {str(error).splitlines()[0]}; give its folder, "
            "with config.json and model.safetensors, or a hub id, as source="
        ) from error
    unexpected = [k for k in report["unexpected_keys"] if not k.endswith("position_ids") and not k.startswith(optional)]
    misshaped = [f"{key} {tuple(found)}, expected {tuple(own)}" for key, found, own in report["mismatched_keys"]]
    lost = set(report["missing_keys"]) - {key for key, *_ in report["mismatched_keys"]}
    difference = Difference(tuple(sorted(lost)), tuple(sorted(unexpected)), tuple(sorted(misshaped)))
    if difference:
        raise RewardError(f"{name}: the weights in {str(source)!r} do not fit: {difference}")
    return model


TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "vocab.json", "vocab.txt")


def load_tokenizer(name: str, *sources: str | Path) -> Any:
    """The tokenizer that lies in the first of `sources`; the last may be a hub id. Raises RewardError."""
    beside = next((s for s in sources if any((Path(s) / file).is_file() for file in TOKENIZER_FILES)), sources[-1])
    remedy = "put its files (tokenizer.json, tokenizer_config.json) beside the weights"
    # Of a folder without them, transformers makes a tokenizer that knows no words.
    if Path(beside).is_dir() and not any((Path(beside) / file).is_file() for file in TOKENIZER_FILES):
        raise RewardError(f"{name}: no tokenizer in {str(beside)!r}; {remedy}")
    try:
        return AutoTokenizer.from_pretrained(beside)
    except (OSError, ValueError) as error:
        raise RewardError(f"{name}: no tokenizer in {str(beside)!r}: {str(error).splitlines()[0]}; {remedy}") from error


def normalisation(source: str | Path) -> tuple[Sequence[float], Sequence[float]]:
    """Mean and std of the folder's preprocessor_config.json; CLIP's own where it has none."""
    settings = Path(source) / "preprocessor_config.json"
    found = json.loads(settings.read_text(encoding="utf-8")) if settings.is_file() else {}
    return found.get("image_mean", OPENAI_MEAN), found.get("image_std", OPENAI_STD)


def load_clip(
    source: str | Path,
    name: str,
    tokenizer: str | Path | None = None,
    dtype: torch.dtype | None = None,
    **settings: Any,
) -> CLIPReward:
    """A CLIPModel from the hub, a local folder or a single weight file (of a ViT-H/14) as a reward.

    tokenizer: where its tokenizer is, if not beside it; settings: those of `CLIPReward`. Raises RewardError where the
    files do not fit a CLIPModel.
    """
    if Path(source).is_file():
        model, folder = clip_from_state(read_weights(source), name, None, dtype), Path(source).parent
    else:
        model, folder = pretrained(CLIPModel, source, name, dtype), Path(source)
    return CLIPReward(
        model, load_tokenizer(name, folder, tokenizer or source), name, *normalisation(folder), **settings
    )


def load_hps(source: str | Path, file: str, name: str, dtype: torch.dtype | None = None, **settings: Any) -> CLIPReward:
    """HPSv2 or v2.1: the cosine itself, on pictures padded to a square.

    source: the published file, its folder or hub id; or the folder of a CLIPModel, of any size. Raises RewardError.
    """
    settings = {"prepare": longest_side_pad, "points": 1.0, **settings}
    if (Path(source) / "config.json").is_file():
        return load_clip(source, name, None, dtype, **settings)
    path = find_file(source, file, name)
    model = clip_from_open_clip(read_weights(path, under="state_dict"), name, None, dtype)
    return CLIPReward(model, load_tokenizer(name, path.parent, VIT_H_TOKENIZER), name, **settings)
