"""Whether a prompt is English at all, and what its words can be, by the tables of spaCy's English lemmatizer (WordNet)."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import Any

from dymo.prompt.english import lexicon

_FOREIGN = lexicon.read_sections("languages.txt")
_ENGLISH, _IN_NAMES = _FOREIGN.pop("English"), _FOREIGN.pop("names")
_PARTS = {"N": "noun", "V": "verb", "A": "adj", "R": "adv"}


class Vocabulary:
    """The words of English and what they can be."""

    def __init__(self, lemmatizer: Any) -> None:
        tables = {name: lemmatizer.lookups.get_table(f"lemma_{name}") for name in ("index", "exc", "rules")}
        self._index = {kind: frozenset(tables["index"].get(part, ())) for kind, part in _PARTS.items()}
        self._exceptions = {kind: tables["exc"].get(part, {}) for kind, part in _PARTS.items()}
        self._rules = {kind: tables["rules"].get(part, ()) for kind, part in _PARTS.items()}
        self.lemmas = lru_cache(maxsize=4096)(self._lemmas)

    def kinds(self, word: str) -> frozenset[str]:
        """The letters of the open parts of speech that a word in lower case can be: N, V, A (also a participle), R."""
        found = {kind for kind in _PARTS if self.lemmas(word, kind)}
        if "V" in found and not word.endswith("s") and self.lemmas(word, "V") != (word,):
            found.add("A")
        return frozenset(found)

    def knows(self, word: str) -> bool:
        """Whether a word in lower case is English; each part of a hyphened one."""
        parts = [part for part in word.replace("-", " ").replace("'", " ").split() if len(part) > 1]
        return all(part in lexicon.FUNCTION_WORDS or self.kinds(part) for part in parts)

    def _lemmas(self, word: str, kind: str) -> tuple[str, ...]:
        """The dictionary's forms of a word as one part of speech."""
        stems = [word.removesuffix(old) + new for old, new in self._rules[kind] if old and word.endswith(old)]
        listed = [form for form in (word, *stems) if form in self._index[kind] and (form == word or len(form) > 1)]
        return tuple(dict.fromkeys([*self._exceptions[kind].get(word, ()), *listed]))


def foreign_language(text: str, vocabulary: Vocabulary) -> str | None:
    """The language, or the script, that a prompt is written in if that is clearly not English, else None.

    Clearly: most of its letters are of another script; or it has at least two kinds of another language's usual words,
    or one that is in no name and at most three words beside it that are mostly not in the dictionary, and more of them
    than of English; or it has accents, no little word of English, and few words that the dictionary knows.
    """
    letters = [letter for letter in text if letter.isalpha()]
    scripts = [re.split(r"\W", unicodedata.name(letter, "LATIN"))[0] for letter in letters]
    other = [script for script in scripts if script not in ("LATIN", "MODIFIER", "FULLWIDTH", "MATHEMATICAL")]
    if len(other) > len(letters) / 2:
        script = other[0]
        return f"{script if script == 'CJK' else script.title()} script"
    words = [word.lower() for word in re.findall(r"[^\W\d_]+", text)]
    english = sum(word in _ENGLISH for word in words)
    best = max(_FOREIGN, key=lambda language: sum(word in _FOREIGN[language] for word in words))
    little = [word for word in words if word in _FOREIGN[best]]
    telling = set(little) - _IN_NAMES
    others = [word for word in words if word not in _FOREIGN[best]]
    strange = [word for word in others if not vocabulary.knows(word)]
    enough = several = len(set(little)) >= 2
    if len(words) <= 6:
        alone = 2 * len(strange) >= len(others) or (several and len(others) <= 1)
        enough = bool(telling) and alone and (several or len(words) <= 4)
    if enough and len(little) > english and len(little) >= 0.2 * len(words):
        return best
    accented = any(not word.isascii() for word in strange)
    if english or not accented or sum(word.isascii() and vocabulary.knows(word) for word in words) > len(words) / 2:
        return None
    return best if little else "another language" if len(words) > 2 else None
