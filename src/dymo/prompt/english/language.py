"""Whether a prompt is English at all: by its script, by the words that prompts of a language have, and by the dictionary."""

from __future__ import annotations

import re
import unicodedata

from dymo.prompt.english.vocabulary import Vocabulary

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
# Colours, numbers and what prompts are most often about: short ones have no little words.
_COMMON_WORDS = {
    "Spanish": "rojo roja azul verde negro negra blanco blanca amarillo dos tres gato perro mujer hombre niña niño casa coche",
    "French": "bleu bleue vert verte noire blanc blanche jaune deux trois chien femme homme fille maison voiture chatte",
    "German": "rot rote roter blau blaue blauer grün grüne schwarz schwarze schwarzer weiß weiße gelb gelbe zwei drei hund katze "
    "frau mann mädchen junge haus apfel äpfel",
    "Italian": "rosso rossa verde nero nera bianco bianca giallo due tre gatto cane donna uomo ragazza casa macchina",
    "Portuguese": "vermelho vermelha preto preta branco branca amarelo dois três cachorro mulher homem menina carro",
    "Dutch": "rood rode blauw blauwe groen groene zwart zwarte wit witte geel gele twee drie hond vrouw meisje huis",
    "Polish": "czerwony czerwone niebieski zielony czarny czarne biały białe dwa trzy pies kot kobieta mężczyzna",
    "Indonesian": "merah biru hijau hitam putih kuning kucing anjing perempuan wanita rumah",
    "Turkish": "kırmızı mavi yeşil siyah beyaz sarı iki üç kedi köpek kadın adam",
    "Swedish": "röd röda blå gröna svart vit vita två katt hund kvinna flicka",
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
_FOREIGN = {
    language: frozenset(f"{words} {_COMMON_WORDS[language]}".split()) for language, words in _LITTLE_WORDS.items()
}


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
