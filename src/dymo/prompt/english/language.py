"""Whether a prompt is English at all: by the script of its letters and by the little words that no sentence goes without."""

from __future__ import annotations

import re
import unicodedata

# Words that English does not have, or that mean something else in it, are left out where English prompts hold them.
_LITTLE_WORDS = {
    "Spanish": "el los las del una unos unas con por para y en su sus que es muy pero como sobre entre este esta cara de un la al",
    "French": "le les des une et dans avec sur du pour est qui aux ses leur très mais sous entre deux de un la au",
    "German": "der das den dem ein eine einen einem einer und mit von auf ist im zum zur auf unter neben über sehr nicht für",
    "Italian": "il gli della delle dei di che una con per sul sulla nel nella e è un la lo molto da",
    "Portuguese": "os das dos uma um em com para na no nas nos por que seu sua muito e de o ao",
    "Dutch": "het een en van op met voor naar zijn niet onder naast bij aan uit de",
    "Polish": "w z na i do od nad pod jest się oraz przez",
    "Indonesian": "yang dan di dengan dari untuk pada sedang seorang sebuah",
    "Turkish": "bir ve ile için olan üzerinde çok",
    "Swedish": "och en ett på med av som är till för det den",
}
_ENGLISH = frozenset(
    "a an the of in on at with and or to from by for is are was were be has have his her their its that this who which "
    "as into over under near behind between while wearing holding looking very no not style art photo picture girl man "
    "woman cat dog background light detailed".split()
)
# In names these stand in English prompts too: "Leonardo da Vinci", "La Paz", "El Dorado".
_IN_NAMES = frozenset(
    "de la el los las del di da du van von der den le les des san al dos das na bin ben a i o e as".split()
)
_FOREIGN = {language: frozenset(words.split()) for language, words in _LITTLE_WORDS.items()}


def foreign_language(text: str) -> str | None:
    """The language, or the script, that a prompt is written in if that is clearly not English, else None.

    Clearly: most of its letters are of another script; or it has at least two kinds of another language's little words,
    or one that is in no name and at most three words beside it; and more of them than of English.
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
    enough = (len(set(little)) >= 2 and (telling or len(words) > 6)) or (telling and len(words) <= 4)
    return best if enough and len(little) > english and len(little) >= 0.2 * len(words) else None
