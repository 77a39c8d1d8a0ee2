"""What a call of a pipeline says: its prompts as people write them, and the arguments by which the pipeline is told.

A prompt that fits the text encoder's window and has no weights reaches the pipeline as a text. A longer one is encoded in
several windows, and weights are put on the embeddings: the pipeline is then given `prompt_embeds`.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from .config import Markup, Truncation
from .errors import PromptError, PromptWarning
from .parts import Argument, Code, Set, Setting
from .pipelines.windows import ARGUMENTS, Windows, encode, takes_windows, tokenizers
from .prompt.graph import SemanticGraph
from .prompt.reading import Reading, read
from .prompt.tokens import Layout, TokenPairs, encoder_pairs, frames, lay_out, token_pairs

_NEGATIVE = ("negative_prompt_embeds", "negative_pooled_prompt_embeds")


@dataclass(frozen=True)
class Text:
    """A prompt, or a negative one: as it was written for each encoder, and where its tokens lie."""

    readings: list[Reading]
    layouts: list[Layout]

    @property
    def weighted(self) -> bool:
        """Whether any encoder's reading has a weight other than 1."""
        return any(reading.weighted for reading in self.readings)

    @property
    def tokens(self) -> int:
        """How many tokens it has, by the encoder with the most."""
        return max(layout.tokens for layout in self.layouts)

    def windows(self, most: int | None) -> list[Windows]:
        """The first `most` windows of each encoder."""
        found = []
        for reading, layout in zip(self.readings, self.layouts, strict=True):
            size = len(layout.windows[0])
            flat = [reading.weights[start] if end > start else 1.0 for start, end in layout.spans]
            weights = [flat[at : at + size] for at in range(0, len(flat), size)]
            found.append(Windows(layout.windows[:most], weights[:most]))
        return found


@dataclass(frozen=True)
class Wording:
    """The prompts of one call of a pipeline. Made by `wording_of`.

    readings: one a prompt, none where `prompt_embeds` came alone; count: of the prompts, or rows of embeddings.
    tokenizers: those that share the positions of `prompt_embeds`; none where the pipeline takes texts alone. positive,
    negative: the texts where they are given to encoders here.
    """

    kwargs: dict[str, Any]
    readings: list[Reading]
    count: int
    tokenizers: list[Any]
    positive: list[Text]
    negative: list[Text] | None
    chunk: bool

    @property
    def encoded(self) -> bool:
        """Whether the texts have to be encoded here, since the pipeline could not be told them otherwise."""
        texts = [*self.positive, *(self.negative or [])]
        return any(text.weighted for text in texts) or (self.chunk and self.windows > 1)

    @property
    def windows(self) -> int:
        """Windows of the longest text."""
        texts = [*self.positive, *(self.negative or [])]
        return max((len(layout.windows) for text in texts for layout in text.layouts), default=1)

    @property
    def window(self) -> int | None:
        """Tokens of one window, start and end token with them; None where it is not known."""
        return len(self.positive[0].layouts[0].windows[0]) if self.positive else None

    def call(self, pipe: Any) -> dict[str, Any]:
        """The keyword arguments with which the pipeline is called."""
        kwargs = dict(self.kwargs)
        if embedded(kwargs) is not None:
            kwargs.pop("prompt", None)
            return kwargs
        if not self.encoded:
            return kwargs | self._texts()
        for name in ARGUMENTS:
            kwargs.pop(name, None)
        empty = tuple(lay_out("", tokenizer).windows[0] for tokenizer in self.tokenizers)
        most = None if self.chunk else 1
        negative = None if self.negative is None else [text.windows(most) for text in self.negative]
        found = encode(
            pipe, [text.windows(most) for text in self.positive], negative, empty=empty, clip_skip=kwargs.get("clip_skip"),
            lora_scale=(kwargs.get("cross_attention_kwargs") or {}).get("scale"),
        )  # fmt: skip
        if kwargs.get("negative_prompt_embeds") is not None:
            found = {name: value for name, value in found.items() if name not in _NEGATIVE}
        return found | kwargs

    def _texts(self) -> dict[str, Any]:
        """The texts without their marks, in the form in which they were given."""
        found: dict[str, Any] = {}
        for name in ARGUMENTS:
            given, texts = self.kwargs.get(name), self.negative if name.startswith("negative") else self.positive
            if given and texts:
                said = [text.readings[-1 if name.endswith("_2") else 0].text for text in texts]
                found[name] = said[0] if isinstance(given, str) else said
        return found

    def pairs(self, i: int, graph: SemanticGraph, tokenizer: Any, **settings: Any) -> TokenPairs:
        """The token positions of a graph's words in prompt i, and their pairs; `settings` are those of `token_pairs`.

        tokenizer: for a pipeline that takes texts alone. Raises PromptError where the graph is of another prompt.
        """
        reading = self.readings[i] if self.readings else read(graph.prompt)
        inner = reading.inside(graph)
        if not self.tokenizers:
            return token_pairs(inner, tokenizer, **settings)
        embeds = self.kwargs.get("prompt_embeds")
        if embeds is None:
            return encoder_pairs(inner, self.positive[i].layouts, window=not self.chunk, **settings)
        layouts = [lay_out(reading.text, one) for one in self.tokenizers]
        size, most, own = len(layouts[0].windows[0]), max(len(layout.spans) for layout in layouts), embeds.shape[1]
        if own % size or size < own < most:
            raise PromptError(
                f"prompt_embeds has {own} tokens, and {reading.text!r} has {most}, in windows of {size}: where its words are is not known. Give "
                "the prompt that was embedded, or ", Set(Setting("semantic_weight", 0)),
            )
        return encoder_pairs(inner, layouts, window=own < most, **settings)


def wording_of(pipe: Any, kwargs: dict[str, Any], truncation: Truncation = "chunk", markup: Markup = "webui") -> Wording:
    """Read what a call of the pipeline says. Raises PromptError where a part of it can reach the pipeline in no way.

    A prompt beside `prompt_embeds` tells in words what these embed; the pipeline is given the embeddings alone. Warns by
    PromptWarning where a text is encoded in several windows.
    """
    embeds = embedded(kwargs)
    if embeds is not None and not _are_tensors(embeds):
        raise PromptError(Argument("prompt_embeds", Code(f"{embeds!r:.80}")), ": give the tensor that a text encoder makes of the prompt")
    prompts = _listed("prompt", kwargs.get("prompt"))
    count = len(prompts) or (0 if embeds is None else len(embeds))
    if not count:
        raise PromptError(
            "no prompt: give ", Setting("prompt"), ", or ", Argument("prompt_embeds"), " and, if words matter, ", Setting("prompt"), " or ",
            Setting("graph"), " beside it",
        )
    if embeds is not None and prompts and len(prompts) != len(embeds):
        raise PromptError(f"{len(prompts)} prompts beside prompt_embeds of {len(embeds)} rows: give one a row")
    own = tokenizers(pipe) if takes_windows(pipe) and all(map(frames, tokenizers(pipe))) else []
    if embeds is not None or not own:
        where = (
            "prompt_embeds are used as they are" if embeds is not None else f"{type(pipe).__name__} takes texts alone"
        )
        readings = [_unweighted(text, markup, where) for text in prompts]
        for name in ARGUMENTS[1:]:
            for text in _listed(name, kwargs.get(name)):
                _unweighted(text, markup, where)
        return Wording(kwargs, readings, count, own, [], None, False)
    if kwargs.get("negative_prompt") is not None and kwargs.get("negative_prompt_embeds") is not None:
        raise PromptError("negative_prompt and negative_prompt_embeds: give one of them")
    positive = _said(kwargs, ("prompt", "prompt_2"), count, own, markup)
    negative = _said(kwargs, ("negative_prompt", "negative_prompt_2"), count, own, markup)
    zeros = kwargs.get("negative_prompt") is None and getattr(pipe.config, "force_zeros_for_empty_prompt", False)
    # As diffusers has it: a second negative prompt counts where the first one is not put to zeros.
    told = kwargs.get("negative_prompt") is not None or (kwargs.get("negative_prompt_2") and not zeros)
    found = Wording(
        kwargs,
        [text.readings[0] for text in positive],
        count,
        own,
        positive,
        negative if told else None,
        truncation == "chunk",
    )
    _check_length(found)
    return found


def embedded(kwargs: Mapping[str, Any]) -> Any:
    """The embeddings that are given in place of a prompt, one a row; None where the prompt itself is. HiDream has three kinds of them."""
    found = kwargs.get("prompt_embeds")
    return kwargs.get("prompt_embeds_t5") if found is None and kwargs.get("pooled_prompt_embeds") is not None else found


def _are_tensors(given: Any) -> bool:
    """Whether embeddings are a tensor, or lists of them, as of pipelines whose prompts have lengths of their own."""
    return isinstance(given, Tensor) or (isinstance(given, (list, tuple)) and all(map(_are_tensors, given)))


def _listed(name: str, given: Any) -> list[str]:
    """The texts of an argument. Raises PromptError where one is no text."""
    texts = [] if given is None else list(given) if isinstance(given, Iterable) and not isinstance(given, str) else [given]
    for text in texts:
        if not isinstance(text, str):
            raise PromptError(Argument(name, given), f": {text!r} is no text; give a string, or a list of them")
    return texts


def _unweighted(text: str, markup: Markup, where: str) -> Reading:
    """A text for which no weight can be honoured, so that brackets are text; those with a number raise PromptError."""
    reading = read(text, markup)
    reading.check()
    if reading.numbered:
        raise PromptError(
            f"{', '.join(map(repr, reading.numbered))} in {text!r}: {where}, so the weight would be lost. Leave it out, or ",
            Set(Setting("markup", "plain")), " if it is text",
        )
    return read(text, "plain")


def _said(kwargs: dict[str, Any], names: Sequence[str], count: int, own: Sequence[Any], markup: Markup) -> list[Text]:
    """The prompts of a call, of each encoder its own where it has one; the empty text where there is none."""
    texts: list[list[str]] = []
    for name in names[: len(own)]:
        given = _listed(name, kwargs.get(name) or None) or (texts[0] if texts else [""])
        given = given * count if len(given) == 1 else given
        if len(given) != count:
            raise PromptError(f"{name}: {len(given)} texts for {count} prompts; give one, or one a prompt")
        texts.append(given)
    found = []
    for row in zip(*texts, strict=True):
        readings = [read(text, markup) for text in row]
        for reading in readings:
            reading.check()
        layouts = [lay_out(reading.text, one) for reading, one in zip(readings, own, strict=True)]
        found.append(Text(readings, layouts))
    return found


def _check_length(said: Wording) -> None:
    """Tells of texts over several windows; raises PromptError where embeddings that were given have another length."""
    assert said.window is not None
    size = said.window
    longest = max((text for text in [*said.positive, *(said.negative or [])]), key=lambda text: text.tokens)
    if said.chunk and said.windows > 1:
        which = "prompt" if longest in said.positive else "negative prompt"
        warnings.warn(PromptWarning(
            f"the {which} has {longest.tokens} tokens, and the text encoder's window takes {size - 2}: it is encoded in {said.windows} windows, "
            "as web UIs do. ", Setting("truncation", "report"), " cuts it off, as diffusers does",
        ), stacklevel=4)  # fmt: skip
    given = said.kwargs.get("negative_prompt_embeds")
    length = size * (said.windows if said.chunk else 1)
    if said.encoded and given is not None and given.shape[1] != length:
        raise PromptError(
            f"negative_prompt_embeds has {given.shape[1]} tokens, and the prompt {length}: give ", Argument("negative_prompt"),
            " in its place, or embeddings of that length",
        )
