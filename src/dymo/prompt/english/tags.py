"""Prompts that are lists of tags, as on picture boards: "1girl, solo, long hair, red dress, standing, outdoors".

Each tag stands for itself, and most of them are about one subject, which no sentence says. So the reading of sentences is
corrected here: which tags name nothing, whose hair and dress it is, who is standing, and who else is there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from dymo.prompt.english import lexicon
from dymo.prompt.english.mentions import earlier
from dymo.prompt.english.ones import STANDING
from dymo.prompt.english.relations import Finder, Kin, Link
from dymo.prompt.english.things import Thing
from dymo.prompt.english.words import Words

# What a sentence has and a tag has not.
_FINITE = ("VBZ", "VBD", "MD")
_LONGEST, _USUAL = 5, 3  # words of a tag, and of tags in the mean
# Of no thing, besides the lexicon's: "score_8_up", "rating_safe", "1other", "no humans", "multiple girls".
_BOARD = re.compile(
    r"(?:score|rating|source)_.*|\d+\+?others?|no_humans?|multiple_\w+|(?!.*_in_).*_(?:background|focus|pose|shot|view)"
)
Tag = range


def find_tags(words: Words) -> list[Tag]:
    """The places of each tag of a prompt that is a list of tags; [] for any other prompt.

    A list of tags has at least three, short ones, without articles and finite verbs; one that counts its subjects as
    boards do ("1girl") may have a longer phrase among them.
    """
    tags = list(_between_commas(words))
    if len(tags) < 3:
        return []
    counted = any(word.count for word in words)
    sentence = sum(any(words[i].tag in _FINITE or words[i].low in ("a", "an", "the") for i in tag) for tag in tags)
    lengths = [len(tag) for tag in tags]
    if counted:
        return tags if 3 * sentence <= len(tags) and sum(lengths) <= 2 * _USUAL * len(tags) else []
    return tags if not sentence and max(lengths) <= _LONGEST and sum(lengths) <= _USUAL * len(tags) else []


def _between_commas(words: Words) -> Iterator[Tag]:
    start = 0
    for i in range(len(words) + 1):
        if words.kind(i) in ",.":
            if start < i:
                yield range(start, i)
            start = i + 1


def mend_tags(words: Words, tags: Sequence[Tag]) -> None:
    """Take the words of tags that name nothing out of the reading, and those that only name something for nouns."""
    for tag in tags:
        name = "_".join(words[i].low for i in tag)
        if name in lexicon.BOARD or _BOARD.fullmatch(name):
            style = [i for i in tag if words[i].low in lexicon.QUALITY | lexicon.STYLE_HEADS | lexicon.MEDIA]
            for i in tag:
                words[i].kind = words[i].kind if len(style) == len(tag) else "O"
        elif words[tag[-1]].kind == "V" and "N" in words[tag[-1]].can and words[tag[-1]].tag == "VBZ":
            # "autumn leaves".
            words[tag[-1]].kind, words[tag[-1]].tag = "N", "NNS"


def bind_tags(
    words: Words, tags: Sequence[Tag], shown: Sequence[Thing], links: Sequence[Link], kin: Kin, choices: bool
) -> tuple[list[Link], Kin]:
    """What the tags say of their subject: links of it, and which things are its parts or itself; attributes are moved.

    choices: the prompt has alternatives, whose places in `kin` are kept.
    """
    binder = _Binder(words, tags, shown)
    if binder.main is None:
        return list(links), kin
    binder.move_attributes()
    links = binder.links(links)
    same_as = kin[1] if choices else binder.same_as()
    return links, (binder.part_of(kin[0], same_as, links), same_as)


class _Binder:
    def __init__(self, words: Words, tags: Sequence[Tag], shown: Sequence[Thing]) -> None:
        self.words, self.tags, self.shown = words, tags, shown
        self.finder = Finder(words, shown, [])
        self.heads = self.finder.heads
        alive = [n for n in range(len(shown)) if self._alive(n)]
        self.counted = [n for n in alive if words[shown[n].head].count]
        people = [n for n in alive if n in self.counted or self.heads[n] in lexicon.PEOPLE]
        people = [n for n in people if n in self.counted or not self._named_before(n, people)]
        people = people or [n for n in alive if self._person(n) or self.heads[n] in lexicon.HUMANLIKE]
        # Those who are there, each with what is theirs, in the order of the prompt.
        self.subjects = people or alive[:1]
        self.main = self.subjects[0] if self.subjects else None
        self.alive = alive

    def _alive(self, n: int) -> bool:
        """Whether a tag is about somebody: "1girl", "maid", "black cat", "an old man holding an umbrella"."""
        tag = self.tag_of(self.shown[n].head)
        opens = all(self.words.kind(i) == "D" for i in range(tag.start, self.shown[n].start))
        head = self.heads[n]
        living = head in lexicon.HUMANLIKE | lexicon.CREATURES or self.finder.is_living(n)
        return opens and living and head not in ("star", "stars") and not self.finder.is_a(n, "body", "worn")

    def _named_before(self, n: int, people: Sequence[int]) -> bool:
        """Whether "woman" is the "girl" of another tag; a boy is not."""
        return any(m != n and (m in self.counted or m < n) and self._alike(m, n) for m in people)

    def _alike(self, m: int, n: int) -> bool:
        female = [self.heads[i] in lexicon.FEMALE for i in (m, n)]
        male = [self.heads[i] in lexicon.MALE for i in (m, n)]
        return not (female[0] and male[1]) and not (male[0] and female[1])

    def _person(self, n: int) -> bool:
        """Whether thing n may be another name of somebody: "maid", "witch"; no dragon."""
        human = self.finder.is_a(n, "person") or self.heads[n] in lexicon.HUMANLIKE
        return human and self.heads[n] not in lexicon.CREATURES

    @property
    def several(self) -> bool:
        """Whether the subjects are more than one, as far as the tags count them."""
        counts = [self.words[self.shown[n].head].count for n in self.counted]
        return len(self.counted) > 1 or any(count not in ("", "1") for count in counts)

    def tag_of(self, place: int) -> Tag:
        return next(tag for tag in self.tags if place in tag)

    def move_attributes(self) -> None:
        """What a tag of its own says ("standing", "wet") describes the subject, and no hair or window."""
        assert self.main is not None
        for n, thing in enumerate(self.shown):
            loose = [i for i in thing.attributes if self.tag_of(i) != self.tag_of(thing.head)]
            if n not in self.alive:
                thing.attributes = [i for i in thing.attributes if i not in loose]
                self.shown[self.main].attributes += loose

    def links(self, links: Sequence[Link]) -> list[Link]:
        """ "holding book", "sitting on chair": what the subject does, in a tag that begins with a verb."""
        assert self.main is not None
        found: list[Link] = []
        for n, thing in enumerate(self.shown):
            tag = self.tag_of(thing.head)
            between = "".join(self.words.kind(i) for i in range(tag.start, thing.start))
            if n != self.main and re.fullmatch(r"R*VR*P*D*", between):
                found.append(Link(tag.start, thing.start - between.count("D"), self.main, n))
        acted = {link.object for link in found}
        # No tag goes on in the next one.
        own = [link for link in links if self._within_a_tag(link) and link.object not in acted]
        return sorted([*own, *found], key=lambda link: link.object)

    def _within_a_tag(self, link: Link) -> bool:
        return link.start in self.tag_of(self.shown[link.subject].head)

    def same_as(self) -> list[int | None]:
        """ "1girl, maid" is one person; "1girl, 1boy" and "1girl, dragon" are two; "red hair, long hair" is one, for one girl."""
        found: list[int | None] = []
        for n in range(len(self.shown)):
            part = self.finder.is_a(n, "body", "worn")
            again = self._named_again(n, found, part)
            if again is not None and not (part and self.several) and not (n in self.counted and again in self.counted):
                found.append(again)
            elif n in self.alive and self._names_subject(n):
                found.append(self.main)
            else:
                found.append(None)
        return found

    def _named_again(self, n: int, found: Sequence[int | None], part: bool) -> int | None:
        """ "red hair, long hair" is one; so is "red hair, blue hair", and "red apple, green apple" is not."""
        alike = [m for m in range(n) if self.heads[m] == self.heads[n] and found[m] is None]
        if self.heads[n] in STANDING:
            return None
        if part or n in self.alive:
            return next(iter(alike), None)
        again = earlier(self.words, self.shown[n], [self.shown[m] for m in alike])
        return next((m for m in alike if self.shown[m] is again), None)

    def _names_subject(self, n: int) -> bool:
        """ "1girl, maid", "knight, warrior", "mecha, giant robot": one subject under two names, where it is not counted."""
        assert self.main is not None
        machines = {self.heads[n], self.heads[self.main]} <= lexicon.HUMANLIKE
        named = self._person(n) and self._person(self.main) and self._alike(n, self.main)
        return n != self.main and n not in self.counted and len(self.counted) < 2 and (machines or named)

    def part_of(
        self, before: Sequence[int | None], same_as: Sequence[int | None], links: Sequence[Link]
    ) -> list[int | None]:
        """Hair, ears, dress and hat are those of the subject before them, or of the first one."""
        owners: list[int | None] = []
        tied = {link.object for link in links if link.subject not in self.subjects}
        for n in range(len(self.shown)):
            part = self.finder.is_a(n, "body", "worn") and same_as[n] is None
            if n in self.alive or not part or (n in tied and before[n] is not None):
                owners.append(before[n] if n not in self.alive and same_as[n] is None else None)
                continue
            nearest = [m for m in self.subjects if m < n]
            owners.append(nearest[-1] if nearest else self.main)
        return [self.finder.larger(n, owners) for n in range(len(owners))]
