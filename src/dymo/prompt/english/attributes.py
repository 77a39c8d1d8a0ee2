"""Which words outside a thing's own run describe it: after "is", "that are", "made of", behind it, or in a segment of their own."""

from __future__ import annotations

import re

from dymo.prompt.english import lexicon
from dymo.prompt.english.mentions import earlier
from dymo.prompt.english.things import Role, Thing, holding
from dymo.prompt.english.words import Words

# "made of", "that is carved out of", "built entirely from".
_MADE = re.compile(
    r"(?:(?:that|which) )?(?:(?:is|are|was|were) )?(?:\w+ly )?"
    r"(?:made|carved|built|crafted|formed|composed|constructed|sculpted|cut|woven|knitted|fashioned|created) "
    r"(?:up |entirely |completely |only )?(?:out )?(?:of|from)"
)


def attach(words: Words, things: list[Thing]) -> list[Thing]:
    """Give the shown things the attributes that stand elsewhere; the things that remain things after that."""
    attacher = _Attacher(words, things)
    attacher.materials()
    attacher.same()
    attacher.possessors()
    attacher.adjectives()
    attacher.participles()
    attacher.mentioned_again()
    return attacher.shown


class _Attacher:
    def __init__(self, words: Words, things: list[Thing]) -> None:
        self.words, self.low, self.kind = words, words.low, words.kind
        self.inside = {i for thing in things for i in thing.places}
        self.things = things
        self.shown = [thing for thing in things if thing.role is Role.SHOWN]

    def materials(self) -> None:
        """ "a hat made of glass", "a bag of leather", "a statue of a horse": one thing, and what it is made of or shows."""
        made: Thing | None = None
        wholes: dict[int, Thing] = {}
        for thing, later in zip(list(self.things), self.things[1:], strict=False):
            listed = all(self.kind(i) in "C," for i in range(thing.end, later.start)) and self.low(later.head) in lexicon.MATERIALS
            if made is not None and listed and later.role in (Role.SHOWN, Role.VAGUE):
                # "a bench made of wood and stone".
                made.attributes += [*later.attributes, later.head]
                self.shown = [other for other in self.shown if other is not later]
                continue
            made = None
            if self._is_aspect_of(thing, later):
                self._fold_aspect(thing, later)
                continue
            # "a statue of a horse made of gold".
            whole = wholes.get(thing.start, thing)
            if whole not in self.shown or later.role not in (Role.SHOWN, Role.VAGUE):
                continue
            between = " ".join(self.low(i) for i in range(thing.end, later.start) if self.kind(i) != "D")
            bare = self.kind(later.start - 1) != "D"
            likeness = lexicon.is_kind(self.low(thing.head), "likeness")
            material = bare and self.low(later.head) in lexicon.MATERIALS
            # "a bag of leather", "the countertop is white marble".
            of = (between == "of" and (likeness or material)) or (between in ("is", "are") and material)
            if between in ("of", "in") and self.low(later.head) in lexicon.ASPECTS and later.role is Role.VAGUE:
                # "a chair of red color".
                thing.attributes += later.attributes
            elif of or _MADE.fullmatch(between):
                whole.attributes += [*later.attributes, later.head]
                wholes[later.start] = whole
                # What follows ("made of gold and silver") still finds its thing before it.
                self.shown = [other for other in self.shown if other is not later]
                made = None if between == "of" else whole

    def _is_aspect_of(self, thing: Thing, later: Thing) -> bool:
        tied = self.low(thing.end) == "of" and all(self.kind(i) == "D" for i in range(thing.end + 1, later.start))
        return tied and self.low(thing.head) in lexicon.ASPECTS and later.role is Role.SHOWN

    def _fold_aspect(self, aspect: Thing, thing: Thing) -> None:
        """ "the rough texture of the bark" is rough bark; "a cloud in the shape of a dog" a cloud like a dog."""
        before = aspect.start - 1
        while self.kind(before) == "D":
            before -= 1
        whole = next((other for other in self.shown if other.end == before and self.low(before) in ("in", "with")), None)
        if whole is None:
            thing.attributes += aspect.attributes
        else:
            whole.attributes += [*aspect.attributes, *thing.attributes, thing.head]
            self.shown = [other for other in self.shown if other is not thing]

    def same(self) -> None:
        """ "a turtle who is a shaman", "a poodle as a scientist", "a woman dressed as a pirate": one thing, twice named."""
        for thing, later in zip(list(self.shown), list(self.shown)[1:], strict=False):
            between = [self.words[i] for i in range(thing.end, later.start) if self.kind(i) not in "DR"]
            lone_name = len(thing.places) == 1 and self.words[thing.head].tag == "NNP"
            if lone_name and len(between) == 1 and between[0].low in lexicon.BE:
                # "Koa is an adventurer": the adventurer is what can be drawn.
                later.attributes += thing.attributes
                self.shown.remove(thing)
                continue
            who = len(between) == 2 and between[0].kind == "W" and between[1].low in lexicon.BE
            played = between[-1:] and between[-1].low == "as" and all(word.kind == "V" for word in between[:-1])
            if who or (played and self.kind(later.end) != "S"):
                self._join(thing, later, [*later.attributes, later.head])

    def _join(self, first: Thing, again: Thing, attributes: list[int]) -> None:
        first.attributes += attributes
        first.again += [again, *again.again]
        self.shown.remove(again)

    def mentioned_again(self) -> None:
        """ "a bird on a branch. The bird sings": one bird. What the second mention adds describes the first."""
        for n, thing in reversed(list(enumerate(self.shown))):
            bare = all(self.kind(i) not in "ANM" for i in thing.before_head)
            if not bare or self.low(thing.start - 1) not in ("the", "its", "his", "her", "their", "'s"):
                continue
            first = earlier(self.words, thing, self.shown[:n])
            if first is not None:
                self._join(first, thing, thing.attributes)

    def possessors(self) -> None:
        """ "an astronaut's head" shows one thing; "a white cat's red hat" shows two, since each has its own look."""
        for thing, later in zip(list(self.shown), list(self.shown)[1:], strict=False):
            # "a train conductor's hat" shows no more than "a conductor's hat".
            plain = all(self.kind(i) == "N" for i in thing.attributes)
            if self.kind(thing.end) == "S" and later.start == thing.end + 1 and plain:
                later.attributes += [*thing.attributes, thing.head]
                # What stands before the owner is before the whole: "wearing a train conductor's hat".
                later.start = thing.start
                self.shown.remove(thing)

    def adjectives(self) -> None:
        """ "the car is blue", "a dog that is red and small", "a window backlit", "a man, bald"."""
        owners: dict[int, Thing] = {}
        for i, word in enumerate(self.words):
            descriptive = word.kind == "A" and word.low not in lexicon.NO_ATTRIBUTE and word.low not in lexicon.QUALITY
            relates = word.low in lexicon.FREE | {"full"} and self.low(i + 1) == "of"
            before = {self.low(i - 1), self.low(i - 2) if self.kind(i - 1) == "R" else ""}
            if descriptive and not relates and i not in self.inside and not before & lexicon.NEGATIONS:
                owner = self._owner(i, owners)
                if owner is not None:
                    owners[i] = owner
                    owner.attributes.append(i)

    def participles(self) -> None:
        """ "a monkey dancing", "people walking at night": what something does, where that is done to nothing else."""
        for i, word in enumerate(self.words):
            acts = word.low in lexicon.BE | lexicon.TRANSITIVE | lexicon.NEGATIONS
            if word.kind == "V" and word.tag in ("VBG", "VBN") and not acts:
                owner = self._actor(i)
                if owner is not None and self.kind(i + 1) != "Q" and self._acts_alone(i):
                    owner.attributes.append(i)

    def _actor(self, i: int) -> Thing | None:
        """ "a man dancing"; in "a man wearing a hat dancing" not the hat."""
        place = next((n for n, thing in enumerate(self.shown) if thing.end == i), None)
        if place is None:
            return None
        before = self.shown[place].start - 1
        while self.kind(before) == "D":
            before -= 1
        if not place or self.low(before) not in lexicon.TRANSITIVE:
            return self.shown[place]
        return holding(self.shown[:place], self.words[before].head) or self.shown[place - 1]

    def _acts_alone(self, i: int) -> bool:
        if self.words[i].tag == "VBN":
            return self.kind(i + 1) in ",.C"
        after = i + 1
        while self.kind(after) in "RPD":
            after += 1
        if self.kind(after) == "V" and self.low(after - 1) == "to":
            # "trying to catch a fish".
            return False
        follower = holding(self.things, after)
        return follower is None or follower.role is not Role.SHOWN

    def _owner(self, i: int, owners: dict[int, Thing]) -> Thing | None:
        before = i - 1
        while self.kind(before) == "R":
            before -= 1
        if self.low(before) in lexicon.BE:
            return self._subject(before)
        joined = before - 1 if self.kind(before) in "C," else before
        if joined in owners:
            return owners[joined]
        monochrome = [self.low(n) for n in range(i, i + 3)] == ["black", "and", "white"]
        if self.low(before) == "in" and self.low(i) in lexicon.COLOURS and not monochrome:
            # "a ball colored in red", "a woman in red".
            before -= 1
        if self.low(before) in lexicon.LIGHT_VERBS:
            return self._nearest(before)
        glows = self.kind(before) == "V" and self.low(before) not in lexicon.WEARING | lexicon.TRANSITIVE
        if glows and self.low(i) in lexicon.COLOURS and self.kind(i + 1) in ",.C":
            # "its eyes glow green".
            return self._nearest(before)
        if self.low(before) in lexicon.WEARING:
            return self._wearer(before) if self.low(i) in lexicon.COLOURS or self._before_colour(i) else None
        beside = next((thing for thing in self.shown if thing.end == before + 1), None)
        if beside is not None:
            return beside
        # A segment of adjectives alone describes what the prompt is about.
        start, end = i, i
        while self.kind(start - 1) in "AR" or (self.kind(start - 1) == "C" and self.kind(start - 2) == "A"):
            start -= 1
        while self.kind(end + 1) in "AR" or (self.kind(end + 1) == "C" and self.kind(end + 2) == "A"):
            end += 1
        # "a cat, but blue", "a dog, brown in color", "a box, blue with white dots".
        start -= self.low(start - 1) in ("but", "yet")
        closed = self.kind(end + 1) in ",." or self.low(end + 1) == "with" or (self.low(end + 1) == "in" and self.low(end + 2) in lexicon.ASPECTS)
        # "angelic and graceful." is a sentence of its own, about anything.
        joins = any(self.kind(n) == "C" for n in range(start, end))
        segment = start > 0 and self.kind(start - 1) in ("," if joins else ",.") and closed
        # "a portrait of a man, black and white" has no colours.
        monochrome = [self.low(n) for n in range(start, end + 1)] == ["black", "and", "white"]
        # "a cat, black and white, on a sofa" is about the cat where the phrase goes on and no picture is spoken of.
        pictured = any(thing.role is Role.STYLE for thing in self.things)
        monochrome = monochrome and (pictured or self.kind(end + 1) != "," or self.kind(end + 2) not in "PV")
        if monochrome or self.low(i) in lexicon.MEDIA or self.low(i) in lexicon.MOODS or not segment:
            return None
        named = next((thing for thing in self.shown if thing.end == start - 1), None)
        if named is not None and self._is_listed(named) and (self.low(i) in lexicon.COLOURS or self.low(named.head) in lexicon.PEOPLE):
            # "a woman, 25 years old, and a man, 30 years old".
            return named
        people = (thing for thing in self.shown if self.low(thing.head) in lexicon.PEOPLE)
        # "blonde hair, smiling": hair and clothes are somebody's who is not named.
        whole = (t for t in self.shown if not any(lexicon.is_kind(self.low(t.head), kind) for kind in ("body", "worn")))
        return next(people, next(whole, None))

    def _before_colour(self, i: int) -> bool:
        """ "wearing dark green"."""
        return self.kind(i + 1) == "A" and self.low(i + 1) in lexicon.COLOURS

    def _wearer(self, verb: int) -> Thing | None:
        """ "a woman wears green", "a man in a hat wearing green": the colour of one's clothes describes who wears them."""
        if self.low(verb - 1) in lexicon.NEGATIONS:
            return None
        wearers = [t for t in self.shown if not any(lexicon.is_kind(self.low(t.head), kind) for kind in ("worn", "body"))]
        ties = [*self.words.subjects(verb), self.words[verb].head]
        tied = next((thing for thing in wearers for i in ties if i in thing), None)
        return tied or next((thing for thing in reversed(wearers) if thing.end <= verb), None)

    def _is_listed(self, thing: Thing) -> bool:
        """ "a car, red, and a house": whether a thing stands in no relation to one before it."""
        return self.kind(thing.start - 1) == "D" and self.kind(thing.start - 2) in "C,."

    def _subject(self, be: int) -> Thing | None:
        beside = next((thing for thing in self.shown if thing.end == be), None)
        if beside is not None and self.low(be) in ("is", "was") and self._is_listed(beside):
            # "two birds, the left one is red".
            return beside
        subjects = self.words.subjects(be)
        if self.words[be].dependency == "relcl" and (not subjects or self.words[subjects[0]].kind in "WPD"):
            place = self.words[be].head
        elif subjects:
            place = subjects[0]
        else:
            return self._nearest(be)
        if self.low(place) in lexicon.MEASURES and self.low(place + 1) == "of":
            # "the colour of the car is blue" is about the car.
            return next((thing for thing in self.shown if thing.start > place), None)
        # "her expression is calm" is about nothing that is shown.
        return holding(self.shown, place) or (None if holding(self.things, place) else self._nearest(be))

    def _nearest(self, place: int) -> Thing | None:
        return next((thing for thing in reversed(self.shown) if thing.end <= place), None)
