"""Whether a prompt is English at all: by its script, by the words that prompts of a language have, and by the dictionary."""

from __future__ import annotations

import re
import unicodedata

from dymo.prompt.english.lexicon import read_sections
from dymo.prompt.english.vocabulary import Vocabulary

_FOREIGN = read_sections("languages.txt")
_ENGLISH, _IN_NAMES = _FOREIGN.pop("English"), _FOREIGN.pop("names")


def foreign_language(text: str, vocabulary: Vocabulary) -> str | None:
    """The language, or the script, that a prompt is written in if that is clearly not English, else None.

    Clearly: most of its letters are of another script; or it has at least two kinds of another language's usual words,
    or one that is in no name and at most three words beside it that are mostly not in the dictionary, and more of them
    than of English; or it has accents, no little word of English, and few words that the dictionary knows.
    """
    letters = [letter for letter in text if letter.isalpha()]
    other = [
        letter
        for letter in letters
        if not unicodedata.name(letter, "LATIN").startswith(("LATIN", "MODIFIER", "FULLWIDTH", "MATHEMATICAL"))
    ]
    if letters and len(other) > len(letters) / 2:
        script = re.split(r"\W", unicodedata.name(other[0]))[0]
        return f"{script if script == 'CJK' else script.title()} script"
    words = [word.lower() for word in re.findall(r"[^\W\d_]+", text)]
    english = sum(word in _ENGLISH for word in words)
    best = max(_FOREIGN, key=lambda language: sum(word in _FOREIGN[language] for word in words))
    little = [word for word in words if word in _FOREIGN[best]]
    telling = set(little) - _IN_NAMES
    others = [word for word in words if word not in _FOREIGN[best]]
    strange = [word for word in others if not vocabulary.knows(word)]
    if len(words) > 6:
        enough = len(set(little)) >= 2
    else:
        several = len(set(little)) >= 2
        alone = 2 * len(strange) >= len(others) or (several and len(others) <= 1)
        enough = bool(telling) and alone and (several or len(words) <= 4)
    if enough and len(little) > english and len(little) >= 0.2 * len(words):
        return best
    accented = any(not word.isascii() for word in strange)
    if english or not accented or sum(word.isascii() and vocabulary.knows(word) for word in words) > len(words) / 2:
        return None
    return best if little else "another language" if len(words) > 2 else None
