"""Which parts of speech a word can be at all, by the tables of spaCy's English lemmatizer (WordNet's index and its exceptions)."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from dymo.prompt.english import lexicon

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
        """The letters of the open parts of speech that a word in lower case can be: N, V, A, R; none for an unknown word.

        A participle can be A.
        """
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
        found = list(self._exceptions[kind].get(word, ()))
        if word in self._index[kind]:
            found.append(word)
        for old, new in self._rules[kind]:
            stem = word.removesuffix(old) + new
            if old and word.endswith(old) and len(stem) > 1 and stem in self._index[kind]:
                found.append(stem)
        return tuple(dict.fromkeys(found))
