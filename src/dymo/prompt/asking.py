"""A parser that asks a language model: its cache, its second questions, and what it does where the model fails."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal

from dymo.errors import ConfigError, PromptError
from dymo.parts import OfParser
from dymo.prompt import parse
from dymo.prompt.align import check_words, warn, warn_of_missing
from dymo.prompt.answer import SCHEMA_VERSION, BadAnswer, Message, messages, read_answer
from dymo.prompt.graph import SemanticGraph

Found = tuple[SemanticGraph, tuple[str, ...]]  # a graph, and the words of the answer that have no place in the prompt
OnFailure = Literal["error", "fallback"]
ASKS = 3  # times that a prompt is asked about while the answers are of no use
LONGEST_PROMPT = 20_000


@dataclass(frozen=True)
class GraphCache:
    """A folder of graphs. A file is whole or not there, also when the process is killed; a damaged one counts as absent."""

    folder: Path

    def get(self, prompt: str, *parts: str) -> tuple[SemanticGraph, tuple[str, ...]] | None:
        """What is stored for a prompt under the same parts (model, schema version, ...): its graph and the missing words."""
        try:
            stored = json.loads(self._path(prompt, parts).read_text(encoding="utf-8"))
            graph, missing = SemanticGraph.from_json(stored["graph"]), tuple(map(str, stored["missing"]))
        except (OSError, ValueError, LookupError, TypeError, RecursionError, PromptError):
            return None
        return (graph, missing) if graph.prompt == prompt else None

    def put(self, graph: SemanticGraph, missing: tuple[str, ...], *parts: str) -> None:
        """Store a graph and the words that it lacks. Raises ConfigError where the folder cannot be written."""
        path = self._path(graph.prompt, parts)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            opened = tempfile.NamedTemporaryFile("w", dir=path.parent, suffix=".part", encoding="utf-8", delete=False)
            try:
                with opened as file:
                    json.dump({"graph": json.loads(graph.to_json()), "missing": missing}, file)
                os.replace(file.name, path)
            except BaseException:
                os.unlink(opened.name)
                raise
        except OSError as error:
            problem = f"cannot write the cache of graphs {self.folder}: {error.strerror or error}"
            raise ConfigError(f"{problem}; give another ", OfParser("cache"), " folder, or ", OfParser("cache", False)) from error

    def _path(self, prompt: str, parts: tuple[str, ...]) -> Path:
        content = json.dumps([prompt, *parts]).encode("utf-8", "surrogatepass")
        name = hashlib.sha256(content).hexdigest()
        return self.folder / name[:2] / f"{name}.json"


def default_folder() -> Path:
    """Where this user's caches belong on this system, by platformdirs. Raises ConfigError where that is not installed."""
    try:
        from platformdirs import user_cache_path
    except ImportError as error:
        need = "the cache's usual place needs platformdirs: pip install 'dymo-diffusion[llm]', or give "
        raise ConfigError(need, OfParser("cache")) from error
    return user_cache_path("dymo") / "graphs"


class AskingParser(ABC):
    """What the parsers that ask a model have in common. `parser(prompt)`, or `parser.parse_many(prompts)`.

    A graph comes from the cache, or from an answer of the asked form. Words of an answer that the prompt does not hold
    are repaired where only one word of the prompt can be meant; else the question is put again, with those words named;
    what the last answer still has too much is left out, with a PromptWarning.

    on_failure: "error" raises PromptError where no answer can be had; "fallback" takes the spaCy parser, with a
    PromptWarning. Such a graph is not cached.
    """

    def __init__(self, identity: str, cache: str | Path | bool, on_failure: OnFailure, concurrency: int) -> None:
        if on_failure not in ("error", "fallback"):
            raise ConfigError(OfParser("on_failure", on_failure), " is not known: choose error or fallback")
        if type(concurrency) is not int or not 1 <= concurrency <= 256:
            raise ConfigError(OfParser("concurrency", concurrency), " must be a whole number from 1 to 256")
        self.identity = identity
        self.on_failure = on_failure
        self.concurrency = concurrency
        self.cache = None if cache is False else GraphCache(default_folder() if cache is True else Path(cache))

    @abstractmethod
    def ask(self, question: list[Message]) -> str | None:
        """The model's reply to chat messages. Raises PromptError where there is none to be had."""

    def presentable(self, text: str) -> str:
        """A text from elsewhere, for messages: in one line, without what a terminal would obey or nobody should read."""
        return "".join(letter if letter.isprintable() else " " for letter in text)

    def __call__(self, prompt: str) -> SemanticGraph:
        check_words(prompt)
        if len(prompt) > LONGEST_PROMPT:
            raise PromptError(f"the prompt has {len(prompt)} characters, more than {LONGEST_PROMPT}: shorten it")
        found = self.cache.get(prompt, self.identity, SCHEMA_VERSION) if self.cache else None
        if found is None:
            try:
                found = self._asked(prompt)
            except PromptError as error:
                if self.on_failure == "error":
                    raise
                warn(error, f"; the spaCy parser reads {prompt!r} instead")
                return parse(prompt)
            if self.cache:
                self.cache.put(*found, self.identity, SCHEMA_VERSION)
        graph, missing = found
        warn_of_missing(prompt, missing)
        return graph

    def parse_many(self, prompts: Iterable[str]) -> Iterator[SemanticGraph]:
        """The graph of each prompt, in their order, at most `concurrency` questions at a time."""
        if self.concurrency == 1:
            yield from map(self, prompts)
            return
        rest = iter(prompts)
        with ThreadPoolExecutor(self.concurrency, thread_name_prefix="dymo-ask") as pool:
            first = islice(rest, 2 * self.concurrency)
            pending: deque[Future[SemanticGraph]] = deque(pool.submit(self, prompt) for prompt in first)
            try:
                while pending:
                    yield pending.popleft().result()
                    pending.extend(pool.submit(self, p) for p in islice(rest, 1))
            finally:
                for future in pending:
                    future.cancel()

    def _asked(self, prompt: str) -> Found:
        """The best of up to ASKS answers, and its words without a place. Raises PromptError where none was of use."""
        question = messages(prompt)
        best: Found | None = None  # its words without a place are already presentable
        problem = ""
        for _ in range(ASKS):
            again = f"Your last answer is of no use: {problem}. Answer again, about the same prompt." if problem else ""
            reply = self.ask([*question, {"role": "user", "content": again}] if again else question)
            try:
                graph, missing = read_answer(prompt, reply)
            except BadAnswer as error:
                problem = str(error)
                continue
            if best is None or len(missing) < len(best[1]):
                best = graph, tuple(map(self.presentable, missing))
            if not best[1]:
                return best
            problem = f"the prompt has no such words: {', '.join(map(repr, missing[:20]))}"
        if best is None:
            raise PromptError(f"{self.identity} gave no usable graph of {prompt!r} in {ASKS} answers: {problem}")
        return best
