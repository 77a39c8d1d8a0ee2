"""How the things of a prompt stand to each other: by the words between two of them, as parts, or as the same thing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dymo.prompt.english import lexicon
from dymo.prompt.english.markup import Cleaned
from dymo.prompt.english.mentions import earlier
from dymo.prompt.english.ones import STANDING, stands_for_one
from dymo.prompt.english.subjects import Named, all_of, tied_to
from dymo.prompt.english.things import Role, Thing
from dymo.prompt.english.words import Words

# From the whole to the detail: where several parts of one body are named, each is a part of the next larger one.
_COVERS = ("body", "figure", "skin", "head", "face")
Places = list[int | None]
Kin = tuple[Places, Places]  # part_of, same_as
# Words of place between two things: "to the left of", "on top of", "in front of".
_LONGEST = 9


@dataclass(frozen=True)
class Link:
    """The words [start, end) relate the thing at place `subject` in the list of shown things to that at `object`."""

    start: int
    end: int
    subject: int
    object: int


def find_links(words: Words, things: Sequence[Thing], shown: Sequence[Thing]) -> list[Link]:
    """A link for each mention of a thing that a verb or preposition right before it ties to an earlier mention.

    The subject is what the dependency tree says the preposition or verb belongs to, else the mention nearest before.
    """
    named = [(mention, n) for n, thing in enumerate(shown) for mention in (thing, *thing.again)]
    named.sort(key=lambda one: one[0].start)
    links: list[Link] = []
    fronted: set[int] = set()
    for mention, n in named:
        start, end = _predicate(words, things, mention)
        if start == end and links and _is_between(words, named, links[-1], mention):
            links.append(Link(links[-1].start, links[-1].end, links[-1].subject, n))
        apart = not any(other.end == start for other, _ in named)
        parted = words.low(start) == "of" and apart
        # "next to it stands a giraffe".
        parted = parted or (apart and end - start == 1 and words.kind(start) == "V" and words.low(start) in lexicon.STANDS)
        if start == end or parted or _follows_place(words, start, end):
            continue
        placed = _placed(words, named, mention, start)
        if placed is not None and placed[1] != n:
            links.append(Link(start, end, placed[1], n))
            fronted.add(placed[0].start)
        elif mention.start not in fronted:
            # "an abandoned changing room": a verb that belongs to the thing itself relates it to nothing.
            itself = words[start].low not in lexicon.TRANSITIVE
            others = [one for one in named if one[1] != n or (itself and one[0] is mention)]
            subject = tied_to(words, others, mention, links, start, end)
            if subject is None or subject[0].start >= mention.start:
                continue
            # "one of the walls" is no wall of what was named before.
            partly = mention is not shown[n] and words[start].low == "of" and subject[0].end != start
            for place in dict.fromkeys(m for _, m in all_of(words, others, subject, mention, start) if m != n):
                link = Link(start, end, place, n)
                if not partly and not any(_says(words, link) == _says(words, other) for other in links[-_LONGEST:]):
                    links.append(link)
    return links


def _is_between(words: Words, named: Sequence[Named], link: Link, mention: Thing) -> bool:
    """ "between a fork and a knife": whether a mention is the second one that a link is about."""
    first = next((one for one, _ in named if one.start >= link.end), mention)
    joint = [words.low(i) for i in range(first.end, mention.start) if words.kind(i) != "D"]
    return words.low(link.end - 1) == "between" and joint == ["and"]


def _follows_place(words: Words, start: int, end: int) -> bool:
    """ "a cat, in the background is a car": whether words say of what follows only in which part of the picture it is."""
    return words.kind(start - 1) in ".,C" and words.kind(start) == "P" and words.low(end - 1) in lexicon.STANDS


def _placed(words: Words, named: Sequence[Named], thing: Thing, start: int) -> Named | None:
    """ "under the table is a mouse", "in a forest, a bear": what is named behind the phrase that says where it is."""
    opens = words.kind(start - 1) == "."
    if words.kind(start - 1) not in ".,C" or not (words.kind(start) == "P" or words.low(start) == "next" or opens):
        return None
    i = thing.end
    while words.kind(i) == "P":
        # "under the table in the kitchen".
        i = next((one[0].end for one in named if i < one[0].start <= i + 2), len(words))
    acts = i
    while words.low(acts) in lexicon.STANDS | lexicon.STANCES or words.low(acts) == "there":
        acts += 1
    # "from behind a tree peeks a deer": what a preposition governs does nothing.
    acts += acts == i and opens and words.kind(i) == "V" and words[i].tag in ("VBZ", "VBD")
    if acts == i:
        acts += words.kind(i) == ","
        if not opens or words.kind(acts) not in ("D" if acts == i else "DMA"):
            return None
    later = next((one for one in named if one[0].start >= acts), None)
    between = words[acts : later[0].start] if later else []
    return later if all(word.kind in "DRNAM" or word.low == "of" for word in between) else None


def _says(words: Words, link: Link) -> tuple[int, int, list[str]]:
    return link.subject, link.object, [words.low(i) for i in range(link.start, link.end)]


def _predicate(words: Words, things: Sequence[Thing], thing: Thing) -> tuple[int, int]:
    """The places of the verb and prepositions before a thing; (i, i) where there are none."""
    measures = {i for other in things if other.role is Role.MEASURE for i in other.places}
    places = measures.union(*(other.places for other in things if other.role is Role.PLACE))
    end = thing.start
    while words.kind(end - 1) == "D":
        end -= 1
    start = end
    while start > 0 and end - start < _LONGEST:
        word = words[start - 1]
        of_place = start - 1 in places or (word.kind == "D" and start in places)
        full = word.low == "full" and start < end and words[start].low == "of"
        if word.low == "but":  # "nothing but a chair"
            break
        if not (word.kind in "PVR" or of_place or full or word.low == "next"):
            break
        start -= 1
    denied = any(words[i].low in lexicon.NEGATIONS | lexicon.COMPARISONS for i in range(start, end))
    while start < end and (words[start].low in lexicon.BE or words[start].kind in "RDN" or start in measures):
        start += 1
    # "wine and a piece of bread": the measure is no relation.
    measured = start < end and words[start].low == "of" and start - 1 in measures
    relates = any(words[i].kind in "PV" for i in range(start, end)) or words[start].low == "next"
    return (start, end) if relates and not measured and not denied else (end, end)


def find_kin(words: Words, shown: Sequence[Thing], links: Sequence[Link], cleaned: Cleaned) -> Kin:
    """For each shown thing, the place of what it is a part of, and of an earlier thing that it is; None if there is none."""
    finder = Finder(words, shown, links)
    count = range(len(shown))
    same_as = [finder.alternative(n, cleaned) for n in count]
    same_as = [finder.same_as(n) if same_as[n] is None else same_as[n] for n in count]
    part_of: Places = []
    for n in count:
        part_of.append(finder.owner(n, part_of) if same_as[n] is None else None)
    part_of = [finder.larger(n, part_of) for n in count]
    for n in count:
        at: int | None = n
        for _ in range(len(shown) + 1):
            if at is not None:
                at = part_of[at] if same_as[at] is None else same_as[at]
        if at is not None:
            # Its wholes lead back to itself.
            part_of[n] = None
    return part_of, same_as


class Finder:
    """Answers how shown things are kin to each other, by their kinds and the words around."""

    def __init__(self, words: Words, shown: Sequence[Thing], links: Sequence[Link]) -> None:
        self.words, self.low, self.kind = words, words.low, words.kind
        self.shown = shown
        self.heads = [words[thing.head].low for thing in shown]
        # A thing belongs where its first mention says it does.
        self.to = {link.object: link for link in reversed(links)}
        self.links = links

    def is_a(self, n: int, *kinds: str) -> bool:
        """Whether the noun of thing n is of any of these kinds of nouns.txt."""
        return any(lexicon.is_kind(self.heads[n], kind) for kind in kinds)

    def is_living(self, n: int) -> bool:
        """Whether thing n is a person or an animal."""
        return self.heads[n] in lexicon.PEOPLE or self.is_a(n, "person", "animal")

    def opens_segment(self, n: int) -> bool:
        """Whether nothing but a comma or the prompt's start stands before a thing."""
        return self.kind(self.shown[n].start - 1) in ",."

    def owner(self, n: int, part_of: Sequence[int | None]) -> int | None:
        """The earlier or later thing that thing n is a part of, is worn by or is in."""
        personal = self.is_a(n, "body", "worn")
        link = self.to.get(n)
        said = self._said(link)
        named_first = link is not None and link.end <= self.shown[n].start
        if link is not None and named_first and said in (["of"], ["full", "of"]):
            # "a bowl of fruit", not "on a stack of books"; "the head of a lion" is about the lion's head.
            return None if said == ["of"] and self._is_part_for(link.subject, n) else link.subject
        whole = self._whole_of(n, part_of)
        whole = self._group(n) if whole is None else whole
        if whole is not None:
            return whole
        if personal and self.low(self.shown[n].start - 1) in ("her", "his", "their", "its"):
            if self._is_of_no_one(n):
                return self._its(n, part_of)
            holder = self._holder(n, link)
            return self._main(n, part_of, living=True) if holder is None else holder
        if self.low(self.shown[n].start - 1) == "its" and (self.is_a(n, "part") or self.kind(self.shown[n].start - 2) == "."):
            return None if self.is_living(n) else self._its(n, part_of)
        wearer = self._wearer_after(n)
        if wearer:
            return wearer
        if link is not None and self._is_worn(n):
            return self._wearer(link.subject, n, part_of)
        layered = n and said in (["over"], ["under"]) and self.is_a(n, "worn") and self.is_a(n - 1, "worn")
        if link is not None and layered and self.shown[n - 1].end == link.start:
            # "in a jacket over a shirt".
            return part_of[n - 1]
        if link is not None and self._is_part_for(n, link.subject):
            verbs = {"with", "wearing", "wears", "having", "has", "have", "sporting", "donning", "dressed", "wore"}
            owned = set(said) & verbs or ("in" in said and self.is_a(n, "worn"))
            return self._root(link.subject, n, part_of) if owned else None
        if link is not None and said == ["with"] and self.is_a(n, "worn") and self.is_a(link.subject, "worn"):
            # "a coat with a hood".
            return link.subject
        between = [self.kind(i) for i in range(self.shown[n - 1].end, self.shown[n].start)] if n else []
        if between and set(between) <= set("C,D") and (self.is_a(n - 1, "body", "worn", "part") or self._is_worn(n - 1)):
            owner = part_of[n - 1]
            if owner is not None:
                return owner if self._is_part_for(n, owner) else None
        bearer = self._bearer_of_list(n)
        able = bearer is not None and (not self.is_a(n, "worn") or self.is_living(bearer) or self.heads[bearer] in lexicon.HUMANLIKE)
        if bearer is not None and able and self._is_part_for(n, bearer):
            return self._root(bearer, n, part_of)
        if personal and link is None and self.opens_segment(n):
            return self._main(n, part_of, living=self.is_a(n, "worn"))
        return None

    def _whole_of(self, n: int, part_of: Sequence[int | None]) -> int | None:
        """Y of "X of Y", of "Y's X" or of "Y whose X is red", where X is a part."""
        for link in self.links:
            if link.subject == n and self._said(link) == ["of"] and self._is_part_for(n, link.object):
                return link.object
        before = self.shown[n].start - 1
        if self.low(before) == "whose":
            owner = max((m for m in range(n) if self.shown[m].end <= before), default=None)
            return None if owner is None else self._root(owner, n, part_of)
        if self.kind(before) == "S":
            return next((m for m, thing in enumerate(self.shown) if thing.end == before), None)
        return None

    def _bearer_of_list(self, n: int) -> int | None:
        """ "an elf with a bow, a cloak and boots": who has the first thing of the list that thing n is in."""
        for m in reversed(range(n)):
            between = {self.kind(i) for i in range(self.shown[m].end, self.shown[m + 1].start)}
            if not between <= set("C,D"):
                break
            link = self.to.get(m)
            if link is not None:
                return link.subject if set(self._said(link)) & {"with", *lexicon.WEARING} else None
        return None

    def _group(self, n: int) -> int | None:
        """ "two dogs, the big dog is brown", "two dogs, one black": one of them."""
        if self.low(self.shown[n].head) in STANDING:
            several = [m for m in reversed(range(n)) if self.words[self.shown[m].head].tag in ("NNS", "NNPS")]
            several = [m for m in several if self.heads[m] not in STANDING]
            # Of two children with blue eyes "the other" is a child.
            group = next((m for m in several if not self.is_a(m, "body", "worn", "part")), next(iter(several), None))
            return group if self._is_listed(group, n) or stands_for_one(self.words, self.shown[n]) else None
        one = self.heads[n]
        many = {f"{one}s", f"{one}es", f"{one.removesuffix('man')}men" if one.endswith("man") else ""}
        definite = self.low(self.shown[n].start - 1) == "the"
        return next((m for m in range(n) if definite and self.heads[m] in many), None)

    def _is_listed(self, group: int | None, n: int) -> bool:
        """ "two apples: a red one and a green one", "two wolves, a black one and a white one"; "two red balls, a blue one" are three."""
        if group is None:
            return False
        between = range(self.shown[group].end, self.shown[n].start)
        alone = all(self.kind(i) in "DAC," or self.low(i) in STANDING for i in between)
        coloured = any(self.low(i) in lexicon.COLOURS for i in self.shown[group].attributes)
        return ":" in map(self.low, between) or (self.kind(between.start) == "," and alone and not coloured)

    def _wearer_after(self, n: int) -> int | None:
        """ "a hat on a cat", "a crown on the king's head": the object of a garment's "on"."""
        if not self.is_a(n, "worn"):
            return None
        for link in self.links:
            body = self.is_living(link.object) or self.is_a(link.object, "body")
            if link.subject == n and self._said(link)[-1:] == ["on"] and body:
                return link.object
        return None

    def _is_worn(self, n: int) -> bool:
        """ "wearing a lampshade", "dressed in leaves"."""
        said = set(self._said(self.to.get(n)))
        return not self.is_living(n) and bool(said & lexicon.WEARING or ("in" in said and said & {"dressed", "clad"}))

    def _wearer(self, subject: int, n: int, part_of: Sequence[int | None]) -> int | None:
        """ "a cat in a hat wearing a scarf": no hat wears it."""
        if not self.is_a(subject, "body", "worn"):
            return subject
        above = part_of[subject] if subject < len(part_of) else None
        return self._main(n, part_of, living=True) if above is None else above

    def _root(self, subject: int, n: int, part_of: Sequence[int | None]) -> int:
        """ "a woman in a dress with red hair": hair is not the dress's."""
        above: int | None = subject
        while above is not None:
            subject = above
            hidden = self.is_a(n, "body") and self.is_a(subject, "worn") and subject < len(part_of)
            above = part_of[subject] if hidden else None
        return subject

    def _said(self, link: Link | None) -> list[str]:
        return [] if link is None else [self.words[i].low for i in range(link.start, link.end)]

    def _is_part_for(self, n: int, whole: int) -> bool:
        """Whether thing n, by its kind, can be a part of or worn by another one."""
        worn = self.is_a(n, "worn")
        wearer = worn and (not self.is_a(whole, "worn") or self.is_living(whole))
        part = not worn and self.is_a(n, "part") and not self.is_living(whole)
        return n != whole and (self.is_a(n, "body") or wearer or part)

    def _main(self, n: int, part_of: Sequence[int | None], living: bool) -> int | None:
        """The nearest earlier living thing that is no part, else the first such thing unless it must be living."""
        whole = [part_of[m] is None or self.is_living(m) for m in range(n)]
        wholes = [m for m in range(n) if whole[m] and not self.is_a(m, "body", "worn")]
        alive = [m for m in wholes if self.is_living(m)]
        people = [m for m in alive if self.heads[m] in lexicon.PEOPLE or self.is_a(m, "person")]
        if people and self.low(self.shown[n].start - 1) in ("her", "his"):
            return people[-1]
        if alive:
            return alive[-1]
        return None if living or not wholes else wholes[0]

    def _holder(self, n: int, link: Link | None) -> int | None:
        """ "a bear holding a fish in its mouth": who does something to what is at the part, if the pronoun can be about it."""
        above = None if link is None or self._said(link) == ["with"] else self.to.get(link.subject)
        if above is None or self.kind(above.start) != "V" or not self.is_living(above.subject):
            return None
        not_his = {"his": lexicon.FEMALE, "her": lexicon.MALE, "its": lexicon.PEOPLE}.get(self.low(self.shown[n].start - 1), ())
        return None if self.heads[above.subject] in not_his else above.subject

    def _is_of_no_one(self, n: int) -> bool:
        """Whether nothing living is named before the "its" of thing n."""
        return self.low(self.shown[n].start - 1) == "its" and not any(self.is_living(m) for m in range(n))

    def _its(self, n: int, part_of: Sequence[int | None]) -> int | None:
        """The thing that "its" is about: the first one, no person and no part, of the nearest sentence before that has any."""
        ends = [i for i in range(self.shown[n].start) if self.low(i) in (".", "!", "?", ";")]
        again = (m for m in reversed(range(n)) if self.low(self.shown[m].start - 1) == "its" and part_of[m] is not None)
        for m in again:
            if not any(self.shown[m].end <= i for i in ends):
                # "its roof is red and its doors are blue".
                return part_of[m]
        whole = [m for m in range(n) if self.low(self.shown[m].start - 1) != "its" and not self.is_a(m, "person", "body", "worn")]
        nearest = [m for m in whole if not any(self.shown[m].end <= i < self.shown[whole[-1]].start for i in ends)]
        return next(iter(nearest), None)

    def larger(self, n: int, part_of: Sequence[int | None]) -> int | None:
        """ "a girl, detailed face, blue eyes": the eyes are the face's, and the face is the girl's."""
        owner = part_of[n]
        if owner is None or not self.is_a(n, "body"):
            return owner
        rank = _COVERS.index(self.heads[n]) if self.heads[n] in _COVERS else len(_COVERS)
        parts = [m for m in range(len(part_of)) if m != n and part_of[m] == owner and self.heads[m] in _COVERS[:rank]]
        return max(parts, key=lambda m: _COVERS.index(self.heads[m]), default=owner)

    def same_as(self, n: int) -> int | None:
        """The place of an earlier thing that thing n names again."""
        thing = self.shown[n]
        segment = self.opens_segment(n) and thing.start > 0 and self.kind(thing.end) in ",."
        bare = segment and not self._is_counted(thing)
        if bare or self.low(thing.start - 1) in ("the", "this", "that"):
            again = earlier(self.words, thing, self.shown[:n])
            if again is not None:
                return next(m for m in range(n) if self.shown[m] is again)
        if bare and self.is_living(n):
            alive = [m for m in range(n) if self.is_living(m)]
            free = [m for m in alive if self.opens_segment(m)]
            # "beautiful girl, cheerleader": one person, if the prompt speaks of one.
            if alive and free == alive[:1] and alive[0] not in self.to:
                first = self.shown[alive[0]]
                many = self.words[first.head].tag in ("NNS", "NNPS") or self._is_counted(first)
                return None if many else alive[0]
        return None

    def _is_counted(self, thing: Thing) -> bool:
        return bool(self.words[thing.head].count) or any(self.kind(i) == "M" for i in thing.before_head)

    def alternative(self, n: int, cleaned: Cleaned) -> int | None:
        """The place of the first thing within the same "[cat|dog]" or "[cat:dog:0.5]", if thing n is a later one."""
        at = [self.words[thing.head].span[0] for thing in self.shown]
        choice = next(((start, end) for start, end in cleaned.choices if start <= at[n] < end), None)
        return next((m for m in range(n) if choice and choice[0] <= at[m] < choice[1]), None)
