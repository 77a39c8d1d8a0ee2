from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dymo.prompt.english.markup import clean, quoted


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        ("(frog head:1.2)", "frog head"), ("((red)) apple", "red apple"), ("[x] and {y}", "x and y"),
        ("a <lora:some-name_v2:0.8> cat", "a cat"), ("a cat --ar 16:9 --v 5", "a cat"), ("a cat --no dogs, birds", "a cat"),
        ("[cat:dog:0.5]", "cat & dog"), ("[cat|dog]", "cat & dog"), ("a {red|green} hat", "a red & green hat"),

        ("{2$$red|green}", "red & green"), ("see https://example.com/a_b?c=1, a cat", "see , a cat"), ("a <b>red</b> <br/> cat", "a red cat"),
        ("a\x07red\x00 cat", "a red cat"), ("a re\u00add ca\u200bt", "a red cat"), ("cafe\u0301", "café"), ("a,,, , ,b", "a, b"),
        ("a cat::2 a dog::-1", "a cat a dog"),
        (r"saber \(fate\)", "saber fate"), ("long_hair, blue_eyes", "long hair, blue eyes"),
        ("a cat BREAK a dog", "a cat , a dog"), ("take a break", "take a break"), ("a clock at 12:30", "a clock at 12:30"),
        ("a cat\nNegative prompt: bad hands\nSteps: 20", "a cat"), ("A RED APPLE HERE", "a red apple here"),
        ("a cat 😀, ❤️‍🔥 dog", "a cat , dog"), ("a 👍🏽 on a 🇫🇷.", "a 👍 on a 🇫."), ("a – b", "a – b"),
    ],
)  # fmt: skip
def test_markup_is_taken_out(prompt, said):
    assert " ".join(clean(prompt).text.split()) == said


@given(st.text(alphabet="ab (){}[]<>:|_-.,0123\\\n\"'🐱❤\ufe0f\u200d", max_size=40))
@settings(max_examples=200)
def test_every_letter_left_keeps_its_place(prompt):
    cleaned = clean(prompt)
    assert len(cleaned.text) == len(cleaned.places)
    assert list(cleaned.places) == sorted(cleaned.places)
    for letter, place in zip(cleaned.text, cleaned.places, strict=True):
        assert letter == prompt[place] or letter in " ,&"


@pytest.mark.parametrize(
    ("text", "marked"),
    [
        ("a sign that says 'the end'", ["'the end'"]), ('a "red" cup and “blue” cup', ['"red"', "“blue”"]),
        ("the cat's hat and the dogs' bowl", []), ('"a whole prompt"', []), ("rock 'n roll", []),
    ],
)  # fmt: skip
def test_texts_in_quotation_marks(text, marked):
    assert [text[slice(*span)] for span in quoted(text)] == marked
