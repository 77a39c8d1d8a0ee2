"""What the transformers have in common: maps at the kernel, one size for all layers, text by several encoders."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from ...config import Gradient
from ...errors import PipelineError
from ...parts import Argument, Part, Set, Setting
from ..kernel import KernelTaps
from . import Branches, Encoder, Family, Taps, inner, negative_first

# Maps are read at every second token, third ... where they would have twice as many rows as this or more; SDXL's have 32 at 1024.
_ROWS = 32


class Transformer(Family):
    """A family whose denoiser is `pipe.transformer`, by default with classifier-free guidance in one batch, negative first."""

    gradient: Gradient = "straight-through"
    blocks = "transformer_blocks"
    """The list of blocks that have the attention that is read,"""
    attention = "attn"
    """and its name there."""
    read: ClassVar[Mapping[int, tuple[int, int]]] = {}
    """Number of blocks -> the first and last one read by default; a denoiser of another depth has the same fractions.

    Early ones, where the words are laid out (arXiv 2601.02211) and the way back is short. Only SD3's and FLUX.1's are those
    of published measurements.
    """
    kernel_call: ClassVar[int] = 0
    """Which of the attention kernel's calls in a forward of such a module has the latents' queries."""
    patch: int | None = None
    """`side` where it is known; None: as the configuration says."""

    def check(self, pipe: Any) -> None:
        name, vae = type(pipe).__name__, getattr(pipe, "vae", None)
        if vae is None:
            raise PipelineError(f"{name} has no VAE to decode its predictions for a reward: load it with one, or use a model of latents")
        if self.recomputed(pipe) and inner(pipe.transformer).is_gradient_checkpointing:
            raise PipelineError(
                f"diffusers' gradient checkpointing gives the blocks of {type(inner(pipe.transformer)).__name__} other arguments than their forward "
                "takes, so that the prediction is another one, or fails: call pipe.transformer.disable_gradient_checkpointing(), and ",
                Set(Setting("checkpointing", True)), " to spare memory",
            )

    def denoiser(self, pipe: Any) -> nn.Module:
        return pipe.transformer

    def branches(self, pipe: Any, given: Mapping[str, Any], call: int = 0) -> Branches:
        if call:
            return Branches(1, None, None)
        return negative_first(pipe, self.doubled(pipe, given))

    def doubled(self, pipe: Any, given: Mapping[str, Any]) -> bool:
        """Whether the first call has rows without the prompt beside those with it."""
        return bool(pipe.do_classifier_free_guidance)

    def scale(self, pipe: Any, given: Mapping[str, Any]) -> float:
        return float(pipe.guidance_scale)

    def packed(self, output: Tensor) -> Any:
        from diffusers.models.modeling_outputs import Transformer2DModelOutput

        return Transformer2DModelOutput(sample=output)

    def layers(self, pipe: Any) -> dict[str, nn.Module]:
        """name -> block, of every block whose attention can be read, in the order of the forward pass."""
        return {f"{self.blocks}.{i}": block for i, block in enumerate(getattr(inner(pipe.transformer), self.blocks))}

    def sizes(self, pipe: Any) -> list[list[int]]:
        return [list(range(len(self.layers(pipe))))]

    def side(self, pipe: Any) -> int:
        """Latents a side of one of the denoiser's tokens."""
        return self.patch or pipe.transformer.config.patch_size

    def tokens(self, pipe: Any, latents: Sequence[int]) -> tuple[int, int]:
        """Rows and columns of the latents' tokens."""
        side = self.side(pipe)
        return latents[0] // side, latents[1] // side

    def taps(
        self, pipe: Any, latents: Sequence[int], map_size: int | None, layers: Sequence[int] | None
    ) -> Taps:
        blocks = self.layers(pipe)
        names = list(blocks)
        chosen = self._default(len(names)) if layers is None else sorted(layers)
        if wrong := [i for i in chosen if i >= len(names)]:
            raise PipelineError(Setting("map_layers", tuple(chosen)), f": this denoiser has layers 0 to {len(names) - 1}, and no {wrong[0]}")
        tokens = self.tokens(pipe, latents)
        stride = max(1, tokens[0] // _ROWS)
        if map_size is not None:
            stride, rest = divmod(tokens[0], map_size)
            if rest or not stride:
                sizes = [tokens[0] // n for n in range(1, tokens[0] + 1) if tokens[0] % n == 0]
                raise PipelineError(Setting("map_size", map_size), f": maps of {', '.join(map(str, sizes))} rows can be read here")
        modules = {f"{names[i]}.{self.attention}": blocks[names[i]].get_submodule(self.attention) for i in chosen}
        return KernelTaps(modules, tokens, stride, blocks[names[chosen[-1]]], call=self.kernel_call)

    def _default(self, depth: int) -> list[int]:
        """The layers that are read unless the user says."""
        if depth in self.read or not self.read:
            first, last = self.read.get(depth, (0, depth - 1))
        else:
            of, (first, last) = min(self.read.items(), key=lambda item: abs(item[0] - depth))
            first, last = (round(i * depth / of) for i in (first, last))
        return list(range(first, min(max(first, last), depth - 1) + 1))

    def tokenizer(self, pipe: Any) -> Any:
        raise PipelineError(f"the words of {type(pipe).__name__} are not the tokens of one tokenizer: this is for pipelines with a UNet")

    @abstractmethod
    def encoders(self, pipe: Any, given: Mapping[str, Any]) -> Sequence[Encoder]: ...


_MARK = "\ue000"


def around(tokenizer: Any, said: Sequence[Any] = (), parts: bool = False, **settings: Any) -> tuple[str, str]:
    """What a chat's template writes before and after a user's message, after the messages `said`."""
    content = [{"type": "text", "text": _MARK}] if parts else _MARK
    chat = [*said, {"role": "user", "content": content}]
    found = tokenizer.apply_chat_template([chat] if parts else chat, tokenize=False, **settings)
    before, _, after = (found[0] if isinstance(found, list) else found).partition(_MARK)
    return before, after


def longest(tokenizer: Any, prompts: str | Sequence[str] | None, most: int) -> int:
    """Tokens of the longest of a call's prompts, of which `most` are read."""
    each = [prompts or ""] if prompts is None or isinstance(prompts, str) else prompts
    return max(min(most, len(tokenizer(prompt)["input_ids"])) for prompt in each)


def filled(tokenizer: Any, prompts: str | Sequence[str] | None, most: int, multiple: int = 1, around: tuple[str, str] = ("", "")) -> int:
    """Places up to which the tokenizer fills up a call's prompts in front, the longest's and on to a multiple; 0 where it does behind.

    around: what is written before and after each.
    """
    if tokenizer.padding_side != "left":
        return 0
    each = [prompts or ""] if prompts is None or isinstance(prompts, str) else prompts
    length = longest(tokenizer, [around[0] + prompt + around[1] for prompt in each], most)
    return length + -length % multiple


def check_cleaning(pipe: Any, given: Mapping[str, Any]) -> None:
    """Raises PipelineError where the pipeline rewrites a prompt, beyond small letters, before it is read."""
    if given.get("clean_caption"):
        remedy = Set(Argument("clean_caption", False))
        check_read(given, lambda prompt: pipe._text_preprocessing(prompt, clean_caption=True)[0], lambda prompt: prompt.lower().strip(), remedy)


def check_read(
    given: Mapping[str, Any], clean: Callable[[str], str], plain: Callable[[str], str] = lambda prompt: prompt, *remedies: Part
) -> None:
    """Raises PipelineError where a prompt that the pipeline has cleaned is not `plain(prompt)`; remedies: besides those for every pipeline."""
    prompts = given.get("prompt") or []
    for prompt in [prompts] if isinstance(prompts, str) else prompts:
        if (read := clean(prompt)) != plain(prompt):
            raise PipelineError(
                f"the pipeline makes {read!r} of the prompt, so that its words cannot be found: write the prompt so, ",
                tuple((remedy, ", ") for remedy in remedies), "or ", Set(Setting("semantic_weight", 0)),
            )  # fmt: skip
