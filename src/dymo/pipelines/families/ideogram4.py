"""Ideogram 4: one stream of the prompt's tokens (Qwen3-VL's, in a chat) and the image's; guidance by a second denoiser."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.weak import WeakTensorKeyDictionary

from ...errors import PipelineError
from ...parts import Argument, Set, Setting
from ..decode import Form
from ..kernel import Places
from ..packing import Packing
from . import Encoder, inner
from .flux import Flux
from .transformer import around

_SECOND = "second_denoiser"
_IMAGE = 2  # what diffusers writes at the image's tokens into `indicator`
_COUNTED: WeakTensorKeyDictionary = WeakTensorKeyDictionary()
"""An indicator -> the image's tokens in each of its rows."""


class Ideogram4(Flux):
    """The family of `Ideogram4Transformer2DModel`. What there is without a prompt is predicted by another one, of the image's tokens alone.

    Its call is handed to that of the first, which is watched, with its own forward as an argument more. The prompts, filled up in front,
    lie before the image in what the denoiser is given and returns; to guidance only the image's part is shown.
    """

    blocks, attention = "layers", "attention"
    sign = -1.0
    read: ClassVar[Mapping[int, tuple[int, int]]] = {34: (7, 11)}
    patch = 1
    head = "final_layer.linear"
    form = Form(layout="(p q c)")

    def patches(self, pipe: Any) -> Sequence[tuple[Any, str, Any]]:
        own = pipe.unconditional_transformer.forward
        return [(pipe.unconditional_transformer, "forward", lambda **kwargs: pipe.transformer.forward(**kwargs, **{_SECOND: own}))]

    def recomputed(self, pipe: Any) -> Sequence[nn.Module]:
        """The blocks of both: diffusers' own switch is one denoiser's."""
        return [*inner(pipe.transformer).layers, *inner(pipe.unconditional_transformer).layers]

    def guided(self, pipe: Any, given: Mapping[str, Any]) -> bool:
        return True

    def scale(self, pipe: Any, given: Mapping[str, Any]) -> float:
        """One for all steps, or the present one's."""
        each = given["guidance_schedule"]
        return float(given["guidance_scale"] if each is None else each[pipe.scheduler.step_index or 0])

    def sample(self, args: tuple, kwargs: Mapping[str, Any]) -> Tensor:
        return kwargs["hidden_states"][:, -_image_tokens(kwargs) :]

    def run(self, forward: Callable[..., Any], args: tuple, kwargs: dict[str, Any]) -> Tensor:
        rest = {name: value for name, value in kwargs.items() if name != _SECOND}
        return super().run(kwargs.get(_SECOND, forward), args, rest)[:, -_image_tokens(kwargs) :]

    def returned(self, output: Tensor, kwargs: Mapping[str, Any]) -> Tensor:
        return F.pad(output, (0, 0, kwargs["indicator"].shape[1] - output.shape[1], 0))

    def packing(self, pipe: Any, given: Mapping[str, Any]) -> Packing:
        side = pipe.vae_scale_factor * pipe.patch_size
        return Packing(int(given["height"]) // side, int(given["width"]) // side, 1)

    def places(self, pipe: Any, args: tuple, kwargs: Mapping[str, Any], tokens: tuple[int, int]) -> Places:
        length = kwargs["indicator"].shape[1] - _image_tokens(kwargs)
        return Places(length, 0, length)

    def encoders(self, pipe: Any, given: Mapping[str, Any]) -> Sequence[Encoder]:
        if given.get("prompt_upsampling"):
            raise PipelineError(
                Argument("prompt_upsampling", True), " has the prompt written anew, so that its words cannot be found: give "
                "pipe.upsample_prompt(prompt) as the prompt, or ", Set(Setting("semantic_weight", 0)),
            )
        before, after = around(pipe.tokenizer, parts=True, add_generation_prompt=True)
        window = given["max_sequence_length"]
        return (Encoder(pipe.tokenizer, 0, window, before=before, after=after, filled=window),)


def _image_tokens(kwargs: Mapping[str, Any]) -> int:
    """Of each row; counted once for an indicator, which is the same in all steps: a count makes the host wait."""
    indicator = kwargs["indicator"]
    if indicator not in _COUNTED:
        _COUNTED[indicator] = int((indicator[0] == _IMAGE).sum())
    return _COUNTED[indicator]
