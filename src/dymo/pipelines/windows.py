"""Texts of any length and of weighted words as embeddings, by the pipeline's own `encode_prompt` and text encoders."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from .calls import given_call

ARGUMENTS = ("prompt", "prompt_2", "negative_prompt", "negative_prompt_2")
EMBEDDINGS = (
    "prompt_embeds", "negative_prompt_embeds", "pooled_prompt_embeds", "negative_pooled_prompt_embeds",
)  # fmt: skip
Row = tuple[tuple[int, ...], ...]  # one window of each encoder


@dataclass(frozen=True)
class Windows:
    """What one encoder is given of one text: token ids (windows, length), and how much each counts."""

    ids: Sequence[Sequence[int]]
    weights: Sequence[Sequence[float]]


def tokenizers(pipe: Any) -> list[Any]:
    """The tokenizers whose tokens share the positions of `prompt_embeds`: SDXL has two, its refiner only the second."""
    return list(_tokenizers(pipe).values())


def _tokenizers(pipe: Any) -> dict[str, Any]:
    found = {name: getattr(pipe, name, None) for name in ("tokenizer", "tokenizer_2")}
    return {name: tokenizer for name, tokenizer in found.items() if tokenizer is not None}


def takes_windows(pipe: Any) -> bool:
    """Whether the pipeline conditions a UNet on the hidden states of CLIP's text encoders and nothing else."""
    encoders = _encoders(pipe)
    clip = all(getattr(getattr(e, "config", None), "model_type", "").startswith("clip") for e in encoders)
    known = {name for name in vars(pipe) if name.startswith("tokenizer") and getattr(pipe, name) is not None}
    takes = "prompt_embeds" in inspect.signature(given_call(pipe)).parameters
    return bool(encoders) and clip and takes and hasattr(pipe, "unet") and known <= {"tokenizer", "tokenizer_2"}


def _encoders(pipe: Any) -> list[Any]:
    found = (getattr(pipe, name, None) for name in ("text_encoder", "text_encoder_2"))
    return [encoder for encoder in found if encoder is not None]


def encode(
    pipe: Any, positive: Sequence[Sequence[Windows]], negative: Sequence[Sequence[Windows]] | None, *, empty: Row,
    clip_skip: int | None, lora_scale: float | None,
) -> dict[str, Tensor]:  # fmt: skip
    """The arguments of the pipeline's call that say what the texts say: `prompt_embeds` (B, windows x length, width), ...

    positive, negative: for each prompt what each encoder is given. Every text is brought to the number of windows of the
    longest one by windows of the `empty` text, and the windows' hidden states are put in a row; pooled embeddings are of
    the first window. A token of weight w has the hidden state e + w (z - e), z its own and e that of the empty text at
    its position (the convention of ComfyUI and of compel; pooled embeddings and padding are as they are). negative=None:
    the empty text, or zeros where the pipeline says so (`force_zeros_for_empty_prompt`).
    """
    count = max(len(one.ids) for text in [*positive, *(negative or [])] for one in text)
    zeros = negative is None and getattr(pipe.config, "force_zeros_for_empty_prompt", False)
    embeds, pooled = _texts(pipe, positive, count, empty, clip_skip, lora_scale)
    if zeros:
        no, no_pooled = torch.zeros_like(embeds), None if pooled is None else torch.zeros_like(pooled)
    else:
        nothing = [Windows([window], [[1.0] * len(window)]) for window in empty]
        # diffusers skips no layer of a negative prompt.
        no, no_pooled = _texts(pipe, negative or [nothing] * len(positive), count, empty, None, lora_scale)
    taken = inspect.signature(given_call(pipe)).parameters
    every = dict(zip(EMBEDDINGS, (embeds, no, pooled, no_pooled), strict=True))
    return {name: value for name, value in every.items() if value is not None and name in taken}


def _texts(
    pipe: Any, texts: Sequence[Sequence[Windows]], count: int, empty: Row, clip_skip: int | None, lora_scale: float | None
) -> tuple[Tensor, Tensor | None]:  # fmt: skip
    """Embeddings (B, count x length, width) and, where the pipeline has them, pooled ones (B, width)."""
    rows: dict[Row, int] = {empty: 0}
    places = []
    for text in texts:
        windows = [[tuple(ids) for ids in one.ids] for one in text]
        windows = [one + [nothing] * (count - len(one)) for one, nothing in zip(windows, empty, strict=True)]
        places.append([rows.setdefault(row, len(rows)) for row in zip(*windows, strict=True)])
    states, pooled = _states(pipe, list(rows), clip_skip, lora_scale)
    at = torch.tensor(places, device=states.device)
    weights = _weights(pipe, texts, count, states)
    found = states[at]
    if weights is not None:
        plain, nothing = found.float(), states[0].float()
        found = torch.where(weights == 1, plain, nothing + weights * (plain - nothing)).to(states.dtype)
    return found.flatten(1, 2), None if pooled is None else pooled[at[:, 0].to(pooled.device)]


def _weights(pipe: Any, texts: Sequence[Sequence[Windows]], count: int, states: Tensor) -> Tensor | None:
    """How much each token's state counts (B, count, length, width): each encoder's width its own. None where all count once."""
    if all(w == 1 for text in texts for one in text for row in one.weights for w in row):
        return None
    length = states.shape[1]
    widths = [encoder.config.hidden_size for encoder in _encoders(pipe)]
    found = torch.ones(len(texts), count, length, states.shape[-1], device=states.device)
    for b, text in enumerate(texts):
        for one, part in zip(text, found[b].split(widths, dim=-1), strict=True):
            part[: len(one.weights)] = torch.tensor(one.weights, device=states.device)[..., None]
    return found


def _states(
    pipe: Any, rows: Sequence[Row], clip_skip: int | None, lora_scale: float | None
) -> tuple[Tensor, Tensor | None]:
    """The hidden states (rows, length, width) that the pipeline's own `encode_prompt` takes, and pooled embeddings.

    Row by row, so that a text's embeddings do not depend on the others, which change the last bits of a batch.
    """
    from diffusers import StableDiffusionPipeline

    twin = copy.copy(pipe)  # the user's pipeline stays as it is; the modules are the same
    # InstructPix2Pix encodes as SD does, but returns three rows of guidance in one.
    method = getattr(type(pipe), "encode_prompt", StableDiffusionPipeline.encode_prompt)
    given: Mapping[str, Any] = {
        "prompt": "", "prompt_2": "", "device": pipe._execution_device, "num_images_per_prompt": 1,
        "do_classifier_free_guidance": False, "lora_scale": lora_scale, "clip_skip": clip_skip,
    }  # fmt: skip
    takes = inspect.signature(method).parameters
    found = []
    with torch.no_grad():
        for row in rows:
            for ids, (name, tokenizer) in zip(row, _tokenizers(pipe).items(), strict=True):
                vars(twin)[name] = _Tokens(ids, tokenizer)
            found.append(method(twin, **{name: value for name, value in given.items() if name in takes}))
    pooled = torch.cat([one[2] for one in found]) if len(found[0]) > 2 else None
    return torch.cat([one[0] for one in found]), pooled


class _Tokens:
    """In a tokenizer's place: whatever the text, it has these ids."""

    def __init__(self, ids: Sequence[int], tokenizer: Any):
        self.ids, self.end = list(ids), list(ids).index(tokenizer.eos_token_id)
        self.model_max_length = len(self.ids)
        self.added_tokens_encoder: dict[str, int] = {}

    def tokenize(self, text: str) -> list[str]:
        return []

    def __call__(self, texts: Any, **settings: Any) -> SimpleNamespace:
        mask = [int(i <= self.end) for i in range(len(self.ids))]
        return SimpleNamespace(input_ids=torch.tensor([self.ids]), attention_mask=torch.tensor([mask]))
