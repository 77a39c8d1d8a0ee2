from __future__ import annotations

import pytest

from dymo.prompt.english.language import foreign_language


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("un perro rojo con una pelota", "Spanish"), ("un chat noir dans une boîte avec des fleurs", "French"),
        ("ein Hund und eine Katze mit Hut", "German"), ("рыжий кот на столе", "Cyrillic script"), ("一只猫", "CJK script"),
        ("قطة حمراء", "Arabic script"), ("een kat met een hoed op het dak", "Dutch"),
    ],
)  # fmt: skip
def test_other_languages_are_told(text, language):
    assert foreign_language(text) == language


@pytest.mark.parametrize(
    "text",
    [
        "a red apple", "Leonardo da Vinci", "la la land", "a bar in Rio de Janeiro", "Cadillac El Dorado de luxe, 8k", "1girl, solo",
        "a café with a piñata", "", "42", "van gogh and the starry night", "die cast toy car", "👍 a cat",
        "portrait of Vincent van der Berg by the sea", "a dog in the style of Francisco de Goya",
    ],
)  # fmt: skip
def test_english_with_foreign_names_is_english(text):
    assert foreign_language(text) is None
