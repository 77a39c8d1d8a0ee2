"""PickScore, HPSv2, CLIPScore and every other reward that is a CLIP model: a multiple of the cosine of image and prompt."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import ftfy
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AutoTokenizer, CLIPConfig, CLIPModel

from ..errors import RewardError
from ..parts import OfReward, Where
from .base import full_precision
from .checkpoint import State, find_file, fitting, from_state, hollow, put, read_config, read_weights, reason, told
from .open_clip import from_open_clip, open_clip_shapes
from .preprocess import OPENAI_MEAN, OPENAI_STD, longest_side_pad, normalise, shortest_side_crop
from .registry import Spec
from .tower import PromptTowerReward

VIT_H_TOKENIZER = "laion/CLIP-ViT-H-14-laion2B-s32B-b79K"
Prepare = Callable[[Tensor, int], Tensor]  # images (B, 3, H, W) in [0, 1] and the tower's side -> (B, 3, side, side)


class CLIPReward(PromptTowerReward):
    """points x cos(f_V(x), f_T(c)), about 18 to 25 for PickScore; text features are kept.

    model: a transformers CLIPModel, frozen here; tokenizer: its tokenizer. points: None for exp(logit_scale), else the
    number (1: the cosine itself). clean: of a prompt, before the tokenizer. Other settings: those of `PromptTowerReward`.
    """

    model: CLIPModel

    def __init__(
        self, model: CLIPModel, tokenizer: Any, name: str,
        mean: Sequence[float] = OPENAI_MEAN, std: Sequence[float] = OPENAI_STD, *, prepare: Prepare = shortest_side_crop,
        points: float | None = None, clean: Callable[[str], str] = str, **settings: Any,
    ):  # fmt: skip
        side = model.config.vision_config.image_size
        super().__init__(model, name, side, model.vision_model.encoder.layers, **settings)
        self.tokenizer, self.mean, self.std = tokenizer, tuple(mean), tuple(std)
        self.prepare, self.clean = prepare, clean
        self.cosine_scale = float(model.logit_scale.detach().exp()) if points is None else points
        self._points = points

    def _score(self, images: Tensor, prompts: Sequence[str], timestep: float | None) -> Tensor:
        pixels = normalise(self.prepare(images, self.model.config.vision_config.image_size), self.mean, self.std)
        embedded = full_precision(self._embed(pixels.to(self.dtype), timestep))
        cosine = (F.normalize(embedded, dim=-1) * self._prompts(prompts)).sum(-1)
        points = full_precision(self.model.logit_scale).exp() if self._points is None else self._points
        return points * cosine

    def _embed(self, pixels: Tensor, timestep: float | None) -> Tensor:
        """Image embeddings (B, d) of prepared pixels."""
        return self.model.get_image_features(pixel_values=pixels).pooler_output

    def _encode(self, prompts: list[str]) -> Tensor:
        """Unit text embeddings (n, d)."""
        tokens = self.tokenizer(
            [self.clean(prompt) for prompt in prompts], padding="max_length", truncation=True,
            max_length=self.model.config.text_config.max_position_embeddings, return_tensors="pt",
        )  # fmt: skip
        ids, mask = (found.to(self.device) for found in (tokens.input_ids, tokens.attention_mask))
        features = self.model.get_text_features(input_ids=ids, attention_mask=mask).pooler_output
        return F.normalize(full_precision(features), dim=-1)


def open_clip_text(prompt: str) -> str:
    """A prompt as open_clip's tokenizer, and so HPSv2's, cleans it: broken encoding mended, HTML entities resolved."""
    return " ".join(html.unescape(html.unescape(ftfy.fix_text(prompt))).split())


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
    state: State, name: str, dtype: torch.dtype | None = None, config: CLIPConfig | None = None, *,
    kind: type[CLIPModel] = CLIPModel, prefix: str = "",
) -> CLIPModel:  # fmt: skip
    """A `kind` (ViT-H/14 unless `config` says otherwise) of weights in transformers' names. Raises RewardError."""
    return from_state(lambda: kind(config or vit_h_config()), state, name, dtype, lambda own: prefix + own)


def clip_from_open_clip(
    state: State, name: str, dtype: torch.dtype | None = None, config: CLIPConfig | None = None
) -> CLIPModel:
    """The same of weights in open_clip's names."""
    model = hollow(lambda: CLIPModel(config or vit_h_config()))
    return put(model, from_open_clip(fitting(open_clip_shapes(model), state, name), model), dtype)


def pretrained(
    kind: type, source: str | Path, name: str, dtype: torch.dtype | None, optional: tuple[str, ...] = ()
) -> Any:
    """`kind.from_pretrained` of a hub id or folder, from safetensors alone, all of the weights or RewardError.

    optional: prefixes of names that the model does not have and the file may.
    """
    if (config := Path(source) / "config.json").is_file():
        read_config(config, name)
    try:
        model, report = kind.from_pretrained(  # type: ignore[attr-defined]
            source, use_safetensors=True, dtype=dtype, output_loading_info=True, ignore_mismatched_sizes=True
        )
    except Exception as error:  # a configuration that makes no sense raises anything
        raise RewardError(
            f"{name}: cannot load a {kind.__name__} from {str(source)!r}: {reason(error)}; give its folder, with config.json and "
            "model.safetensors, or a hub id", Where(", with ", OfReward("source")),
        ) from error
    unexpected = [k for k in report["unexpected_keys"] if not k.endswith("position_ids") and not k.startswith(optional)]
    misshaped = [f"{key} {tuple(found)}, expected {tuple(own)}" for key, found, own in report["mismatched_keys"]]
    lost = set(report["missing_keys"]) - {key for key, *_ in report["mismatched_keys"]}
    if difference := told(lost, unexpected, misshaped):
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
    except Exception as error:  # a damaged file raises anything
        raise RewardError(f"{name}: no tokenizer in {str(beside)!r}: {reason(error)}; {remedy}") from error


def normalisation(folder: str | Path, name: str) -> tuple[Sequence[float], Sequence[float]]:
    """Mean and std of the folder's preprocessor_config.json; CLIP's own where it has none. Raises RewardError."""
    path = Path(folder) / "preprocessor_config.json"
    found = read_config(path, name) if path.is_file() else {}
    mean, std = found.get("image_mean", OPENAI_MEAN), found.get("image_std", OPENAI_STD)
    for key, values in (("image_mean", mean), ("image_std", std)):
        if len(values) != 3 or not all(isinstance(value, (int, float)) for value in values):
            raise RewardError(f"{name}: {path} has {key} {values!r:.40}; it must be three numbers")
    return mean, std


def load_clip(
    spec: Spec, source: str | Path, dtype: torch.dtype | None = None, *, tokenizer: str | Path | None = None,
    kind: type[CLIPModel] = CLIPModel, convert: Callable[..., CLIPModel] = clip_from_state,
    reward: type[CLIPReward] = CLIPReward, **settings: Any,
) -> CLIPReward:  # fmt: skip
    """A CLIP model as a reward. Raises RewardError where the files do not fit.

    source: the folder that `kind.save_pretrained` wrote, of any size; or a file of published weights, its folder or hub
    id, which `convert` turns into a ViT-H/14. tokenizer: where its tokenizer is, if not beside the weights; settings:
    those of `CLIPReward`.
    """
    folder = Path(source)
    if not folder.is_file() and ((folder / "config.json").is_file() or spec.file in ("", "model.safetensors")):
        model = pretrained(kind, source, spec.name, dtype)
        tokenizer = source if (folder / "config.json").is_file() else tokenizer or source
    else:
        path = find_file(source, spec.file, spec.name)
        model, folder = convert(read_weights(path, under="state_dict"), spec.name, dtype), path.parent
    words = load_tokenizer(spec.name, folder, tokenizer or source)
    return reward(model, words, spec.name, *normalisation(folder, spec.name), **spec.of_scores, **settings)


load_pickscore = partial(load_clip, tokenizer=VIT_H_TOKENIZER)
load_clipscore = partial(load_clip, points=1.0, prepare=partial(shortest_side_crop, margin="round"))
load_hps = partial(
    load_clip, tokenizer=VIT_H_TOKENIZER, convert=clip_from_open_clip, prepare=longest_side_pad, points=1.0, clean=open_clip_text
)  # fmt: skip
