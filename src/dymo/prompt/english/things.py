"""The things of a prompt: runs of modifiers and nouns, and whether a run names something that the image is to show."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum, auto

from dymo.prompt.english import lexicon
from dymo.prompt.english.markup import is_emoji
from dymo.prompt.english.ones import STANDING
from dymo.prompt.english.words import Words

# Modifiers, which "and" and commas may join, then nouns; a determined run may also start with a noun. One modifier may
# stand between commas: "a white, not red, car".
_RUN = re.compile(r"(?:(?:(?<=D)|M)N{1,2}(?=A+N))?(?:R*[AM](?:,R+A,(?=A*N)|(?:,C?|C)(?=R*A))?)*N+")


class Role(Enum):
    """What a run of words is to the image."""

    SHOWN = auto()
    STYLE = auto()  # about the image itself: its medium, quality, camera, light, or who made it
    VAGUE = auto()  # cannot be drawn: abstract, a time, a quantity
    PLACE = auto()  # where something is: "the left", "the background"
    MEASURE = auto()  # how much of the thing after "of"
    DENIED = auto()  # said not to be there, or only compared with


@dataclass
class Thing:
    """A run of modifiers and nouns, given by the places of its words in the list of words; its last noun is its head.

    again: later runs that name the same thing and are no things of their own.
    """

    start: int
    end: int
    head: int
    attributes: list[int] = field(default_factory=list)
    role: Role = Role.SHOWN
    again: list[Thing] = field(default_factory=list)

    def __contains__(self, place: int) -> bool:
        return self.start <= place < self.end

    @property
    def places(self) -> range:
        """The places of its words in the prompt."""
        return range(self.start, self.end)

    @property
    def before_head(self) -> range:
        """The places of its words before the noun that names it."""
        return range(self.start, self.head)


def holding(things: Iterable[Thing], place: int) -> Thing | None:
    """The first of the things that has a place among its words."""
    return next((thing for thing in things if place in thing), None)


def find_things(words: Words) -> list[Thing]:
    """Every run of the prompt, in its order, with its role."""
    return _Finder(words).things


class _Finder:
    def __init__(self, words: Words) -> None:
        self.words, self.low, self.kind = words, words.low, words.kind
        kinds = "".join(word.kind for word in words)
        self.things: list[Thing] = []
        for match in _RUN.finditer(kinds):
            self.things += self._split(self._after_list(*match.span()), match.end())
        for n, thing in enumerate(self.things):
            thing.role = self._role(thing, self.things[n - 1] if n else None)
        self._spread_style_back()
        self._show_something()

    def _after_list(self, start: int, end: int) -> int:
        """Where the run really starts: commas join adjectives behind a determiner, else they part the segments of a list."""
        if start == 0 or self.kind(start - 1) in "DP":
            return start
        return 1 + max((i for i in range(start, end) if self.kind(i) == ","), default=start - 1)

    def _split(self, start: int, end: int) -> list[Thing]:
        """The things of a row of nouns: people, and animals, are rarely said to be a kind of another thing."""
        animals = self.kind(start - 1) != "D" and all(self.low(i) in lexicon.ANIMALS for i in range(start, end))
        if animals or all(is_emoji(self.low(i)) for i in range(start, end)):
            return [self._thing(i, i + 1) for i in range(start, end)]
        found = []
        for i in range(start, end - 1):
            person = self.kind(i) == "N" and self.low(i) in lexicon.PEOPLE
            if person and self.kind(i + 1) == "N" and not self.low(i + 1).endswith(lexicon.CRAFT_ENDINGS):
                found.append(self._thing(start, i + 1))
                start = i + 1
        return [*found, self._thing(start, end)]

    def _thing(self, start: int, end: int) -> Thing:
        last = end - 1
        head = last
        # "a building portrait" shows a building, "eye color" an eye; "a line drawing of a face" shows no line.
        behind = lexicon.ASPECTS if self.low(end) == "of" else lexicon.PICTURES | lexicon.ASPECTS
        while head > start and self.kind(head - 1) in "NA" and self.low(head) in behind:
            head -= 1
        if (
            self.kind(head) != "N"
            or self._is_vague(head)
            or self._is_style_word(head)
            or self._is_name(start, head + 1)
        ):
            head = last
        said = [i for i in range(start, head) if self.kind(i) in "ANM" and not self._says_nothing(i)]
        attributes = [i for i in said if not (self.kind(i - 1) == "R" and self.low(i - 1) in lexicon.NEGATIONS)]
        return Thing(start, end, head, attributes)

    def _says_nothing(self, i: int) -> bool:
        word = self.words[i]
        unread = not any(map(str.isalnum, word.low))
        return unread or word.low in lexicon.NO_ATTRIBUTE or (word.kind == "M" and word.text.isdigit() and len(word.text) > 2)

    def _is_name(self, start: int, end: int) -> bool:
        return all(self.words[i].name for i in range(start, end))

    def _is_style_word(self, i: int) -> bool:
        return any(self.low(i) in words for words in (lexicon.STYLE_HEADS, lexicon.QUALITY, lexicon.MEDIA))

    def _is_vague(self, i: int) -> bool:
        # A colour that is a noun stands for a thing.
        abstract = lexicon.is_abstract(self.low(i)) and self.low(i) not in STANDING | lexicon.COLOURS
        return (abstract or (self.low(i) == "field" and self.low(i - 2) == "depth")) and not lexicon.is_compound(self.low(i - 1), self.low(i))

    def before(self, thing: Thing) -> int:
        """The place of the word before a thing and its determiners."""
        i = thing.start - 1
        while i >= 0 and self.kind(i) == "D" and self.low(i) not in lexicon.NEGATIONS:
            i -= 1
        return i

    def _role(self, thing: Thing, earlier: Thing | None) -> Role:
        if self._is_denied(thing, earlier):
            return Role.DENIED
        following = thing.end + 1
        while self.kind(following) in "AN" and self.kind(following + 1) == "N":
            following += 1
        # "a child's drawing of a house", "a bird's eye view of a street".
        drawn = self.kind(thing.end) == "S" and self.low(following) in lexicon.PICTURES | {"view", "angle", "perspective"}
        if drawn or self._is_style(thing) or self._is_credit(thing, earlier) or self._is_reference(thing):
            return Role.STYLE
        if self.low(thing.head) in lexicon.MEASURES and self.low(thing.end) == "of":
            return Role.MEASURE
        if self._is_place(thing):
            return Role.PLACE
        if earlier is not None and earlier.role is Role.STYLE and self.low(earlier.end) == "for" == self.low(self.before(thing)):
            # "a logo for a coffee shop".
            return Role.VAGUE
        head = self.low(thing.head)
        # How much of somebody the image shows; when it is.
        framing = head == "body" and thing.start < thing.head
        framing = framing and self.low(thing.head - 1) in ("upper", "lower", "full", "half")
        if framing or (head in ("sunset", "sunrise") and self.low(thing.start - 1) == "at"):
            return Role.VAGUE
        word = len(head) > 1 and re.fullmatch(r"[^\W\d_][^\W\d_'’.&-]*(?:[-'’.&]{1,2}[^\W_]+)*\.?", head)
        vague = self._is_vague(thing.head) and (lexicon.is_kind(head, "abstract") or not self._is_among_things(thing))
        return Role.SHOWN if (word or is_emoji(head)) and not vague else Role.VAGUE

    def _is_style(self, thing: Thing) -> bool:
        low, before = self.low(thing.head), self.before(thing)
        if low in lexicon.QUALITY:
            return True
        if lexicon.is_compound(self.low(thing.head - 1), low):
            return False
        if low in lexicon.STYLE_HEADS or low in lexicon.MEDIA:
            return low not in lexicon.DRAWN_STYLE_HEADS or not self._is_among_things(thing)
        made = self.low(before - 1) in lexicon.STYLE_VERBS and self.kind(before) == "P" and before == thing.start - 1
        return made or self._is_in_style_of(before)

    def _is_in_style_of(self, i: int) -> bool:
        return self.low(i) == "of" and self.low(i - 1) in ("style", "styles")

    def _is_among_things(self, thing: Thing) -> bool:
        """Whether a run is said to be one thing in the image, not what the image is or has as a whole.

        It has a determiner or a number and, besides: a colour ("a red pencil"), a second such run beside it ("an oven and a
        bed"), a verb or preposition that ties it to another run ("a cat on a poster"), or is what an image is of ("a photo
        of a painting"). Nothing that is itself "of" something: "a painting of a cat".
        """
        before, behind = self.before(thing), thing.end
        coloured = any(self.low(i) in lexicon.COLOURS for i in thing.before_head)
        joined = self.kind(before) == "C" and any(other.end == before and other.role is Role.SHOWN for other in self.things)
        if coloured and joined and self.words[thing.head].tag == "NNS":
            # "a robot with blue arms and orange lights".
            return True
        determined = before < thing.start - 1 or any(self.kind(i) == "M" for i in thing.before_head)
        shows = self.low(behind) == "of" or self.low(behind) in lexicon.SHOWING or self.low(before) in lexicon.MAKING
        if shows or self.low(before) in (*lexicon.CREDITS, "as", "like", "style", "in", "into"):
            return False
        governed = self.kind(before) == "V" or self.low(before) in lexicon.TRANSITIVE or self.low(before) == "with"
        if governed and not self._is_vague(thing.head):
            return determined or self.words[thing.head].tag == "NNS"
        loose = ("of", "by", "for", "from", "about", "with")
        # "street lights along a road", "lights reflected in a puddle": several that are somewhere.
        several = self.words[thing.head].tag == "NNS" and self.kind(before) != "C" and not self._is_vague(thing.head)
        done = self.kind(behind) == "V" and self.low(behind) not in lexicon.STYLE_VERBS and self.kind(behind + 1) == "P"
        ended = any(other.end == before and self.kind(other.start - 1) == "D" for other in self.things)
        if several and (done or (self.kind(behind) == "P" and self.low(behind) not in (*loose, "in"))):
            return True
        return determined and (
            coloured
            or (self.kind(before) == "C" and ended)
            or (self.kind(behind) == "C" and self.kind(behind + 1) in "DM")
            or (self.low(before) == "of" and self.low(before - 1) in lexicon.STYLE_HEADS)
            or (self.kind(before) == "P" and self.low(before) not in loose)
            or (self.kind(behind) == "P" and self.low(behind) not in (*loose, "in"))
        )

    def _is_credit(self, thing: Thing, earlier: Thing | None) -> bool:
        """ "art by Alphonse Mucha" names who painted, "a girl by a tree" where she stands."""
        before = self.before(thing)
        if before != thing.start - 1:
            return False
        if self.low(before) in lexicon.CREDITS:
            opens = self.kind(before - 1) in ",." or self.low(before - 1) in lexicon.STYLE_VERBS
            named = self._is_name(thing.start, thing.end) or self.words[thing.head].tag in ("NNP", "NNPS")
            return opens or named or self._is_style_word(before - 1)
        if earlier is None or any(self.kind(i) != "N" for i in thing.places) or self.low(thing.end) in ("of", "with"):
            return False
        # The list of names goes on.
        between = "".join(self.kind(i) for i in range(earlier.end, thing.start))
        return between in ((",", "C", ",C") if len(thing.places) > 1 else ("C", ",C")) and self._credited(earlier)

    def _is_reference(self, thing: Thing) -> bool:
        """A name that says where something is from ("Cammy from Street Fighter"), or a later segment that is only a name."""
        before = self.before(thing)
        if before != thing.start - 1 or not self._is_name(thing.start, thing.end):
            return False
        index = self.things.index(thing)
        if self.low(before) == "of" and index and self.things[index - 1].end == before:
            # "Game of Thrones" is one name.
            return self.things[index - 1].role is Role.STYLE and self._is_name(self.things[index - 1].start, before)
        segment = self.kind(before) in ",." and self.kind(thing.end) in ",." and before > 0
        earlier = any(t.role is Role.SHOWN for t in self.things[:index])
        return self.low(before) == "from" or (segment and earlier)

    def _credited(self, thing: Thing) -> bool:
        before = self.before(thing)
        by = self.low(before) in lexicon.CREDITS or self._is_in_style_of(before)
        listed = self.kind(before) in ",C" and all(self.kind(i) == "N" for i in thing.places)
        return thing.role is Role.STYLE and (by or (listed and not self._is_style(thing)))

    def _is_place(self, thing: Thing) -> bool:
        plain = all(self.low(i) in lexicon.PLACES | lexicon.NO_ATTRIBUTE for i in thing.before_head)
        placed = self.kind(self.before(thing)) in "PV" and self.low(thing.start - 1) not in ("a", "an")
        # "the left of" needs no preposition; a noun of place alone at the start of a phrase has one that was mistagged.
        return plain and self.low(thing.head) in lexicon.PLACES and (placed or self.low(thing.end) == "of")

    def _is_denied(self, thing: Thing, earlier: Thing | None) -> bool:
        before = self.before(thing)
        compared = self.low(before) in lexicon.COMPARISONS and self.kind(before) in "PRA"
        counted = self.kind(thing.start) == "M" and self.low(before - 1) in ("more", "fewer", "less")
        present = self.low(thing.start - 1) == "the" and self.low(before - 1) not in ("other", "rather")
        if self.low(before) == "than" and (counted or present):
            # "taller than the woman": both are there; "more than ten candles".
            return False
        if compared or self.low(before) in lexicon.NEGATIONS or self.low(thing.start).startswith(("no-", "non-")):
            return True
        free = self.low(before) == "of" and self.low(before - 1) in lexicon.FREE
        if free or (self.low(before) == "but" and self.low(before - 1) in lexicon.ALL) or self._is_not_had(before):
            return True
        return earlier is not None and earlier.role is Role.DENIED and self._lists_on(earlier, thing)

    def _is_not_had(self, verb: int) -> bool:
        """ "not wearing a hat", "that does not have a tail", "isn't dressed in a suit"."""
        dressed = self.low(verb) == "in" and self.low(verb - 1) in ("dressed", "clad")
        before = verb - 2 if dressed else verb - 1
        while self.kind(before) == "R" and self.low(before) not in lexicon.NEGATIONS:
            before -= 1
        return (dressed or self.low(verb) in lexicon.HAVING) and self.low(before) in lexicon.NEGATIONS

    def _lists_on(self, earlier: Thing, thing: Thing) -> bool:
        """Whether two things are in one list that ends in "or": "without shoes, a hat or a coat"."""
        for later in self.things[self.things.index(thing) :]:
            between = [self.low(i) for i in range(earlier.end, later.start) if self.kind(i) != "D"]
            if set(between) & {"or", "nor"}:
                return set(between) <= {",", "or", "nor"}
            if between != [","]:
                return False
            earlier = later
        return False

    def _spread_style_back(self) -> None:
        """ "league of legends splash art": what "of" ties to a style without a determiner belongs to it."""
        for earlier, thing in zip(reversed(self.things[:-1]), reversed(self.things[1:]), strict=False):
            tied = thing.start == earlier.end + 1 and self.low(earlier.end) == "of"
            bare = self.kind(earlier.start - 1) not in "DPV"
            if tied and bare and earlier.role is Role.SHOWN and thing.role is Role.STYLE:
                earlier.role = Role.STYLE

    def _show_something(self) -> None:
        """A prompt that names nothing else is about its one vague thing, or its poster."""
        if any(thing.role is Role.SHOWN for thing in self.things):
            return
        for thing in self.things:
            low = self.low(thing.head)
            drawn = low in lexicon.DRAWN_STYLE_HEADS and not self._is_name(thing.start, thing.head)
            if (thing.role is Role.VAGUE and low not in lexicon.PLACES | lexicon.ALL) or (thing.role is Role.STYLE and drawn):
                thing.role = Role.SHOWN
                return
