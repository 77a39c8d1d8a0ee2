"""What the prompts of a call say: their graphs, the tokens of their words, and the texts that rewards read."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

from .config import Config
from .errors import ConfigError, PromptError, PromptWarning
from .parts import Argument, Set, Setting
from .pipelines.families import Encoder, arguments, family_of
from .prompt.encoders import joint_pairs
from .prompt.graph import SemanticGraph
from .prompt.reading import read
from .prompt.tokens import TokenPairs
from .rewards import BlackBoxReward, FunctionReward, Reward, prompt_readers
from .wording import Wording

Parser = Callable[[str], SemanticGraph]
GraphLike = SemanticGraph | dict | str

_NO_WORDS = TokenPairs((), ())


def understand(
    pipe: Any, said: Wording, given: GraphLike | Sequence[GraphLike] | None, config: Config, parser: Parser
) -> tuple[list[SemanticGraph | None], list[TokenPairs]]:
    """One graph and its token pairs for each prompt of the call.

    given: what the prompts say, if not to be parsed. In a batch, a prompt that cannot be read leaves its own image without
    the semantic objective, with a warning. Raises PromptError.
    """
    every: list[Any] = [None] * said.count
    several: Sequence[Any] = (
        [given] * said.count if isinstance(given, (SemanticGraph, dict, str)) else given or every
    )
    if len(several) != said.count:
        raise PromptError(f"{len(several)} graphs for {said.count} prompts: give one a prompt")
    graphs: list[SemanticGraph | None] = []
    pairs: list[TokenPairs] = []
    encoders: Sequence[Encoder] = ()
    if config.semantic_weight > 0:
        encoders = _chosen(family_of(pipe).encoders(pipe, arguments(pipe, said.kwargs)), config.map_encoders)
    for i, one in enumerate(several):
        try:
            graph, found = _read(pipe, said, i, one, encoders, config, parser)
        except PromptError as error:
            if said.count == 1 or one is not None:
                raise
            warnings.warn(PromptWarning(error, "; this image is generated without the semantic objective"), stacklevel=3)
            graph, found = None, _NO_WORDS
        graphs.append(graph)
        pairs.append(found)
    return graphs, pairs


def _read(
    pipe: Any, said: Wording, i: int, given: GraphLike | None, encoders: Sequence[Encoder], config: Config, parser: Parser
) -> tuple[SemanticGraph | None, TokenPairs]:
    """The graph and token pairs of prompt i. Raises PromptError."""
    reading = said.readings[i] if said.readings else None
    if reading is not None and not reading.text.strip():
        if config.semantic_weight == 0 and given is None:  # with a ControlNet or an IP-Adapter the image says what is to be shown
            return None, _NO_WORDS
        raise PromptError(f"the prompt is empty: {reading.prompt!r}; say what the image is to show, or ", Set(Setting("semantic_weight", 0)))
    if given is not None:
        graph = given if isinstance(given, SemanticGraph) else SemanticGraph.from_json(given)
        if reading is not None:
            graph = reading.outside(reading.inside(graph))
    elif config.semantic_weight == 0:
        return None, _NO_WORDS
    elif reading is None:
        raise PromptError(
            "prompt_embeds cannot be parsed: give ", Setting("prompt"), " with the words that they embed, or ", Setting("graph"),
            " (its prompt says at which tokens the words are), or ", Set(Setting("semantic_weight", 0)),
        )
    else:
        graph = reading.outside(parser(reading.text))
    if config.semantic_weight == 0:
        return graph, _NO_WORDS
    settings: dict[str, Any] = dict(pieces=config.pieces, wholes_and_parts=config.wholes_and_parts, numerals=config.numerals)
    if encoders:
        other = [_text_of(said.kwargs, encoder.text_name, i) for encoder in encoders]
        pairs = joint_pairs(graph, encoders, other, **settings)
        window = max(encoder.window or encoder.tokenizer.model_max_length for encoder in encoders)
    else:
        tokenizer = family_of(pipe).tokenizer(pipe)
        pairs, window = said.pairs(i, graph, tokenizer, **settings), tokenizer.model_max_length
    if pairs.truncated and config.truncation != "report":
        in_windows = (", or ", Set(Setting("truncation", "chunk")), " to encode the whole of it")
        chunk = () if encoders or config.truncation == "chunk" else in_windows
        raise PromptError(
            f"the prompt is longer than the tokenizer's window of {window} tokens: {', '.join(map(repr, pairs.truncated))} would be cut off. "
            "Shorten it, or ", Set(Setting("truncation", "report")), " to go on without", chunk,
        )
    return graph, pairs


def texts(said: Wording, graphs: Sequence[SemanticGraph | None], rewards: Sequence[Reward]) -> tuple[list[str], list[str]]:
    """Each prompt, or that of the graph beside prompt_embeds, as written, and as the rewards read it. Raises PromptError."""
    if said.readings:
        return [reading.prompt for reading in said.readings], [reading.text for reading in said.readings]
    prompts = ["" if graph is None else graph.prompt for graph in graphs]
    readers = [leaf for reward in rewards for leaf in prompt_readers(reward)]
    if readers and "" in prompts:
        # A function may heed the images alone, which nobody can tell.
        if not all(isinstance(reader, (FunctionReward, BlackBoxReward)) for reader in readers):
            raise PromptError(
                "the reward needs the prompt's words: give ", Setting("prompt"), " or ", Setting("graph"), " beside ", Argument("prompt_embeds"),
            )
        warnings.warn(PromptWarning(
            f"{readers[0].name} is given '' for the prompt: prompt_embeds say no words. Give ", Setting("prompt"), " or ", Setting("graph"),
            " beside them if it reads the prompt",
        ), stacklevel=3)  # fmt: skip
    return prompts, [read(prompt).text for prompt in prompts]


def _text_of(kwargs: dict, name: str, index: int) -> str | None:
    """The text that an encoder reads in place of the prompt, of one prompt of the call; None: the prompt itself."""
    found = None if name == "prompt" else kwargs.get(name)
    return found[index] if isinstance(found, (list, tuple)) else found


def _chosen(encoders: Sequence[Encoder], numbers: tuple[int, ...] | None) -> list[Encoder]:
    """The text encoders of those numbers, all without any. Raises ConfigError where there is none of a number."""
    if numbers is None:
        return list(encoders)
    if wrong := [i for i in numbers if i >= len(encoders)]:
        have = f"{len(encoders)} text encoders, 0 to {len(encoders) - 1}" if encoders else "one text encoder alone"
        raise ConfigError(Setting("map_encoders", numbers), f": the words' tokens are those of {have}, and there is no {wrong[0]}")
    return [encoders[i] for i in sorted(numbers)]
