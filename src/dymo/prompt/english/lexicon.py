"""Words whose class the reading of a prompt depends on (words.txt), and kinds of nouns (nouns.txt; see training/nouns.py)."""

from __future__ import annotations

import re
from importlib import resources
from typing import TYPE_CHECKING


def read_sections(file: str) -> dict[str, frozenset[str]]:
    """The words of each [section] of a text file beside this module; lines that begin with # are comments."""
    text = re.sub(r"(?m)^#.*$", "", resources.files(__package__).joinpath(file).read_text(encoding="utf-8"))
    return {name: frozenset(words.split()) for name, words in re.findall(r"\[(\w+)\]([^\[]*)", text)}


_WORDS, _NOUNS = read_sections("words.txt"), read_sections("nouns.txt")
# What other senses of theirs outweigh in WordNet.
for _kind in ("worn", "person", "animal", "body", "part"):
    _NOUNS[_kind] |= _WORDS.pop(_kind)
# COLOURS, ADJECTIVES, ...: each section of words.txt is a name of this module.
globals().update(_WORDS)
if TYPE_CHECKING:

    def __getattr__(name: str) -> frozenset[str]: ...

# "wear", "ride": the plain forms of verbs that act on the noun after them.
ACTS = frozenset(
    form for verb in _WORDS["TRANSITIVE"] for stem in [verb.removesuffix("ing")]
    for form in (stem, stem + "e", stem[:-1] if stem[-1:] == stem[-2:-1] else stem)
)  # fmt: skip
AUXILIARIES = frozenset("do does did have has had can could will would shall should may might must".split())

# Endings of nouns for states and doctrines, and for what somebody is by craft or kind.
ABSTRACT_ENDINGS = ("ness", "ism", "ology", "osophy")
# Plurals that no rule makes.
_PLURALS = {"feet": "foot", "children": "child", "geese": "goose", "mice": "mouse", "oxen": "ox"}
CRAFT_ENDINGS = tuple("er ers or ors ist ists ess ian man men woman women knight elf hero cop".split())


def is_kind(noun: str, kind: str) -> bool:
    """Whether a noun in lower case, or what it is the plural of, is of a kind of nouns.txt: "person", "body", "worn", ..."""
    words = _NOUNS[kind]
    singles = [noun, _PLURALS.get(noun, noun)]
    if noun.endswith("s") and not noun.endswith("ss"):
        singles += [noun[:-1], noun.removesuffix("es"), noun.removesuffix("ies") + "y", noun.removesuffix("ves") + "f"]
    elif noun.endswith("men"):
        singles.append(noun.removesuffix("men") + "man")
    return not words.isdisjoint(singles)


def is_compound(first: str, second: str) -> bool:
    """Whether two nouns in lower case name a thing together although the second alone names none: "traffic light"."""
    return any(f"{first}_{form}" in _NOUNS["compound"] for form in {second, second.removesuffix("s")})


def is_abstract(noun: str) -> bool:
    """Whether a noun in lower case names nothing that an image could show in one place."""
    if noun in _WORDS["CONCRETE"]:
        return False
    if {noun, noun.removesuffix("s")} & _WORDS["ABSTRACT"] or is_kind(noun, "abstract") or is_kind(noun, "either"):
        return True
    single = noun.removesuffix("s") if not noun.endswith("ss") else noun
    return len(single) > 5 and single.endswith(ABSTRACT_ENDINGS) and single not in _WORDS["CONCRETE"]
