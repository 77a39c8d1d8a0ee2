from __future__ import annotations

import pytest

from dymo.prompt.english.language import foreign_language
from dymo.prompt.spacy import load_vocabulary


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("un perro rojo con una pelota", "Spanish"), ("un chat noir dans une boîte avec des fleurs", "French"),
        ("ein Hund und eine Katze mit Hut", "German"), ("рыжий кот на столе", "Cyrillic script"), ("一只猫", "CJK script"),
        ("قطة حمراء", "Arabic script"), ("een kat met een hoed op het dak", "Dutch"),
    ],
)  # fmt: skip
def test_other_languages_are_told(text, language):
    assert foreign_language(text, load_vocabulary()) == language


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("gato rojo y perro azul", "Spanish"), ("zwei rote Äpfel", "German"), ("chien noir", "French"),
        ("una mela rossa", "Italian"), ("kot na stole", "Polish"), ("zwarte hond", "Dutch"), ("röd katt", "Swedish"),
        ("kucing hitam", "Indonesian"), ("un gato negro", "Spanish"), ("Katze auf Stuhl", "German"),
        ("stůl červený židle", "another language"),
    ],
)  # fmt: skip
def test_w6_short_prompts_in_other_languages_are_told(text, language):
    assert foreign_language(text, load_vocabulary()) == language


@pytest.mark.parametrize(
    "text",
    [
        "a red apple", "Leonardo da Vinci", "la la land", "a bar in Rio de Janeiro", "Cadillac El Dorado de luxe, 8k", "1girl, solo",
        "a café with a piñata", "", "42", "van gogh and the starry night", "die cast toy car", "👍 a cat",
        "portrait of Vincent van der Berg by the sea", "a dog in the style of Francisco de Goya", "film noir", "verde valley",
        "casa blanca in new york", "croptop hoodie selfie bokeh", "greg rutkowski wlop artgerm", "muffet undertale", "1girl kimono",
        "a red rote learner", "a piñata, a café and a jalapeño", "blue katt",
    ],
)  # fmt: skip
def test_english_with_foreign_names_is_english(text):
    assert foreign_language(text, load_vocabulary()) is None
