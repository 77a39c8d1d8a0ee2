"""What is special to an architecture: one file a family, one line here."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol

from torch import Tensor, nn

from ...config import Gradient
from ...errors import PipelineError
from ...guidance.loop import Rows
from ..calls import loop_call
from ..decode import USUAL, Form
from ..kernel import Places
from ..packing import Packing
from ..rows import take
from .refused import check_blocks, check_kind


@dataclass(frozen=True)
class Branches:
    """The rows that guidance makes of each sample, in blocks of one row a sample: their number and two of their places.

    Guidance may take several calls of the denoiser: each has branches of its own.
    """

    count: int
    conditional: int | None
    unconditional: int | None
    joint: bool = False
    """Attention mixes the blocks, so they can only be run together."""
    truncated: bool = False
    """At some steps the pipeline leaves out guidance, and runs the conditional rows alone."""


def negative_first(pipe: Any, guided: bool) -> Branches:
    """The prompt's rows, behind those without it where there is guidance, before the perturbed ones of PAG."""
    perturbed = bool(getattr(pipe, "do_perturbed_attention_guidance", False))
    return Branches(1 + guided + perturbed, int(guided), 0 if guided else None, joint=perturbed)


@dataclass(frozen=True)
class Encoder:
    """A text encoder whose tokens are keys of the attention: the first is at `start`, and `window` of them are kept."""

    tokenizer: Any
    start: int = 0
    window: int | None = None
    """None: the tokenizer's own."""
    before: str = ""
    """What the pipeline writes before the prompt,"""
    after: str = ""
    """and after it."""
    dropped: int = 0
    """Tokens at the start of the whole that the pipeline takes off."""
    filled: int = 0
    """Places up to which a shorter text is filled up in front of it; 0: it is filled up behind, or not at all."""
    lower: bool = False
    """The prompt is read in small letters, without white space around it."""
    text_name: str = "prompt"
    """The argument of the call that it reads in place of the prompt, where that is given."""


class Taps(Protocol):
    """Reads the attention maps of the denoiser's last forward, as a context."""

    @property
    def modules(self) -> Mapping[str, nn.Module]:
        """Name -> attention module, of the layers that are read."""
        ...

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of the maps."""
        ...

    @property
    def last(self) -> nn.Module | None:
        """The block after which nothing that is read depends on the latents any more."""
        ...

    def __enter__(self) -> Any: ...

    def __exit__(self, *exc: Any) -> None: ...

    def clear(self) -> None:
        """Forget what was seen."""
        ...

    def watch(self, on: bool) -> None:
        """Whether the forward to come is read."""
        ...

    def maps(self, change: Callable[[Tensor], Tensor], rows: slice) -> Tensor:
        """Maps (rows, pixels, tokens), float32; `change` cuts the graph at the queries and keys."""
        ...

    def layers(self, change: Callable[[Tensor], Tensor], rows: slice) -> dict[str, Tensor]:
        """`maps` of each layer by its name, in the order of the forward pass."""
        ...


class Family(Protocol):
    """One architecture. `pipe` is the user's diffusers pipeline throughout, `given` the arguments of its call, defaults filled in."""

    gradient: Gradient = "full"
    """What the preference's gradient goes through unless the user says."""
    head: str = "proj_out"
    """The denoiser's last layer by its name, where latents are sequences: it says how many channels come out."""
    sign: float = 1.0
    """-1 where its pipelines turn the sign of what the denoiser gives before their scheduler is given it."""
    by_image: tuple[str, ...] = ()
    """Pictures among the arguments of the call of which its pipelines may want one an image, also where a prompt has several images."""
    unguided_scale: float = 1.0
    """The `guidance_scale` of the call above which there is guidance."""
    form: Form = USUAL
    """How its pipelines' latents stand to their VAE."""

    def check(self, pipe: Any) -> None:
        """Raises PipelineError, with the true reason and a remedy, where the pipeline cannot be steered."""
        ...

    def denoiser(self, pipe: Any) -> nn.Module:
        """The module whose `forward(sample, ...)` predicts."""
        ...

    def patches(self, pipe: Any) -> Sequence[tuple[Any, str, Any]]:
        """(owner, name, value) of what is another while the pipeline is steered, so that a gradient passes; the values stay the same."""
        return ()

    def branches(self, pipe: Any, given: Mapping[str, Any], call: int = 0) -> Branches:
        """The rows of guidance in the call-th forward of an evaluation, at this moment: callbacks may switch guidance off."""
        ...

    def scale(self, pipe: Any, given: Mapping[str, Any]) -> float:
        """The factor that guidance puts on the conditional rows at this moment."""
        ...

    def unshared(self, pipe: Any, given: Mapping[str, Any]) -> str:
        """Why the guided prediction is not the conditional rows' by one factor, `scale`, and the rest; "" where it is. Asked before the call."""
        return ""

    def guided(self, pipe: Any, given: Mapping[str, Any]) -> bool:
        """Whether the call runs with classifier-free guidance; a scale that is an input of the denoiser is none."""
        return self.branches(pipe, given).unconditional is not None

    def kept(self, pipe: Any, given: Mapping[str, Any]) -> Tensor | None:
        """What guidance keeps from the last evaluation for the next, samples first; None: nothing."""
        return None

    def keep(self, pipe: Any, given: Mapping[str, Any], value: Tensor | None) -> None:
        """Puts `value` in the place of what is `kept`; None: as where nothing has been evaluated yet."""
        ...

    def sample(self, args: tuple, kwargs: Mapping[str, Any]) -> Tensor:
        """The latents among the denoiser's arguments, samples first."""
        found = next((kwargs[name] for name in ("sample", "hidden_states") if name in kwargs), None)
        return args[0] if found is None else found

    def take(self, args: tuple, kwargs: dict[str, Any], rows: Rows, batch: int) -> tuple[tuple, dict[str, Any]]:
        """The denoiser's arguments for some rows of its batch."""
        return take((args, kwargs), rows, batch)

    def spread(self, args: tuple, kwargs: dict[str, Any], batch: int) -> tuple[tuple, dict[str, Any]] | None:
        """The denoiser's arguments with everything that belongs to a row told for each of the batch, as far as that is all of it.

        None: its forward is not known to keep the rows of a batch apart, operation by operation.
        """
        return None

    def run(self, forward: Callable[..., Any], args: tuple, kwargs: dict[str, Any]) -> Tensor:
        """What the denoiser's `forward` returns as one tensor, samples first."""
        return self.joined(forward(*args, **{**kwargs, "return_dict": False})[0])

    def joined(self, output: Any) -> Tensor:
        """What the denoiser returned as one tensor, samples first."""
        return output

    def returned(self, output: Tensor, kwargs: Mapping[str, Any]) -> Any:
        """A tensor of `joined` as the denoiser, called with these arguments, returns it."""
        return output

    def packed(self, output: Any) -> Any:
        """A tensor as the denoiser's own output class."""
        ...

    def packing(self, pipe: Any, given: Mapping[str, Any]) -> Packing | None:
        """How the pipeline packs latents, by the arguments of its call and, before these, of its `prepare_latents`; None: it does not."""
        return None

    def places(self, pipe: Any, args: tuple, kwargs: Mapping[str, Any], tokens: tuple[int, int]) -> Places:
        """Where latents and prompt lie in the attention of this forward; tokens: rows and columns of the latents' tokens."""
        return Places()

    def taps(self, pipe: Any, latents: Sequence[int], map_size: int | None, layers: Sequence[int] | None) -> Taps:
        """What reads the maps, for latents (rows, columns). layers: numbers of attention layers, None for the family's.

        Raises PipelineError where there are no such layers, or none of that size.
        """
        ...

    def sizes(self, pipe: Any) -> list[list[int]]:
        """The numbers of all layers whose maps can be read, those together whose maps are of one size."""
        ...

    prompt_calls: int = 1
    """Calls of `encode_prompt` that read the prompt, before any that reads a negative one alone."""

    def reworded(self, encoded: tuple, change: Callable[[Tensor], Tensor]) -> tuple:
        """What such a call returned, with `change` made to the prompt's token embeddings, samples first, each kind by itself."""
        return change(encoded[0]), *encoded[1:]

    def recomputed(self, pipe: Any) -> Sequence[nn.Module]:
        """The modules that are run once more in the backward where memory is to be spared; none: the denoiser's own switch does it.

        Where there are some, that switch is not to be on.
        """
        return ()

    def tokenizer(self, pipe: Any) -> Any:
        """The tokenizer of a family whose maps' tokens are those of one. Raises PipelineError where there is none."""
        ...

    def encoders(self, pipe: Any, given: Mapping[str, Any]) -> Sequence[Encoder]:
        """The text encoders of a family where the prompt is read by several, or not as it is written; else none."""
        return ()


FAMILIES: dict[str, str] = {
    "SD3Transformer2DModel": "sd3:SD3",
    "FluxTransformer2DModel": "flux:Flux",
    "Flux2Transformer2DModel": "flux2:Flux2",
    "PixArtTransformer2DModel": "pixart:PixArt",
    "SanaTransformer2DModel": "sana:Sana",
    "Lumina2Transformer2DModel": "lumina2:Lumina2",
    "ZImageTransformer2DModel": "z_image:ZImage",
    "QwenImageTransformer2DModel": "qwen_image:QwenImage",
    "ChromaTransformer2DModel": "chroma:Chroma",
    "LongCatImageTransformer2DModel": "longcat_image:LongCatImage",
    "OvisImageTransformer2DModel": "ovis_image:OvisImage",
    "AuraFlowTransformer2DModel": "aura_flow:AuraFlow",
    "ErnieImageTransformer2DModel": "ernie:Ernie",
    "HiDreamImageTransformer2DModel": "hidream:HiDream",
    "Krea2Transformer2DModel": "krea2:Krea2",
    "QwenImage21Transformer2DModel": "qwen_image21:QwenImage21",
    "HunyuanImageTransformer2DModel": "hunyuan_image:HunyuanImage",
    "CogView4Transformer2DModel": "cogview4:CogView4",
    "PRXTransformer2DModel": "prx:PRX",
    "Ideogram4Transformer2DModel": "ideogram4:Ideogram4",
    "BriaTransformer2DModel": "bria:Bria",
    "BriaFiboTransformer2DModel": "bria:Fibo",
    "BriaFibo2Transformer2DModel": "bria_fibo2:Fibo2",
    "NucleusMoEImageTransformer2DModel": "nucleus:Nucleus",
    "LuminaNextDiT2DModel": "lumina_next:LuminaNext",
    "Kandinsky5Transformer3DModel": "kandinsky5:Kandinsky5",
    "JoyImageEditTransformer3DModel": "joyimage:JoyImage",
    "OmniGenTransformer2DModel": "omnigen:OmniGen",
    "GlmImageTransformer2DModel": "glm_image:GlmImage",
    "HunyuanDiT2DModel": "hunyuan_dit:HunyuanDiT",
    "CogView3PlusTransformer2DModel": "cogview3:CogView3",
}
"""Class of the denoiser -> module and class of its family."""
UNETS: dict[str, str] = {"ChatGLMTokenizer": "kolors:Kolors"}
"""The same for a UNet that reads other words than CLIP's, by the class of the tokenizer."""


def family_of(pipe: Any) -> Family:
    """The family of a pipeline. Raises PipelineError where it is none that can be steered."""
    check_blocks(pipe, {*FAMILIES, "UNet2DConditionModel"})
    denoiser = next((m for n in ("unet", "transformer") if isinstance(m := getattr(pipe, n, None), nn.Module)), None)
    place = _known(inner(denoiser), FAMILIES)
    if not place and (denoiser is None or denoiser is not getattr(pipe, "unet", None)):
        if isinstance(pipe, nn.Module):
            raise PipelineError(f"{type(pipe).__name__} is a model alone: give the whole pipeline that it is a part of")
        what = "neither a UNet nor a transformer" if denoiser is None else f"the denoiser {type(denoiser).__name__}"
        raise PipelineError(
            f"{type(pipe).__name__} has {what}: pipelines with the UNet of SD1.5, SD2 and SDXL can be steered, and with "
            f"{', '.join(FAMILIES)}"
        )
    check_kind(pipe)
    module, _, name = (place or _known(getattr(pipe, "tokenizer", None), UNETS) or "unet:UNet").partition(":")
    family: Family = getattr(import_module(f"{__name__}.{module}"), name)()
    family.check(pipe)
    return family


def _known(thing: Any, families: Mapping[str, str]) -> str:
    """What the table says of the class of a thing, or of one that it derives from; '' where it says nothing."""
    return next((families[c.__name__] for c in type(thing).__mro__ if c.__name__ in families), "")


def arguments(pipe: Any, kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a pipeline's call, its own defaults filled in."""
    return {n: p.default for n, p in inspect.signature(loop_call(type(pipe))).parameters.items()} | dict(kwargs)


def inner(denoiser: Any) -> Any:
    """What torch.compile or peft have wrapped."""
    denoiser = getattr(denoiser, "_orig_mod", denoiser)
    return denoiser.get_base_model() if hasattr(denoiser, "get_base_model") else denoiser
