"""Pictures carry what made them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dymo.report.png import Parameters, png_bytes, read_png, save_png

FULL = Parameters(
    "a red apple, and a green car",
    "blurry: very",
    25,
    "Euler a",
    7.5,
    3,
    64,
    96,
    'my "model", v1: fine',
    "official-sd15",
)


def picture():
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 12, 3), dtype=np.uint8))


def test_round_trip(tmp_path):
    data = {"prompt": "Äpfel 苹果", "eta": [0.1, 0.2], "graph": None}
    path = save_png(picture(), tmp_path / "x.png", FULL, data)
    assert read_png(path) == (FULL, data)
    assert np.array_equal(np.asarray(Image.open(path)), np.asarray(picture()))


def test_the_text_is_the_customary_one():
    plain = Parameters("a cat", "dog", 25, "DDIM", 4.0, 7, 64, 64, "dymo-miniature", "paper")
    assert plain.to_text() == (
        "a cat\nNegative prompt: dog\n"
        "Steps: 25, Sampler: DDIM, CFG scale: 4, Seed: 7, Size: 64x64, Model: dymo-miniature, DyMO preset: paper"
    )


def test_other_programs_find_the_parameters(tmp_path):
    path = save_png(picture(), tmp_path / "x.png", FULL)
    assert Image.open(path).text["parameters"] == FULL.to_text()


@pytest.mark.parametrize(
    "prompt", ["苹果 and a car", "two\nlines", "Steps: 5, a prompt that looks like one", "x" * 5000]
)
def test_prompts_of_all_kinds(tmp_path, prompt):
    parameters = Parameters(prompt, steps=2, seed=1)
    assert read_png(save_png(picture(), tmp_path / "x.png", parameters))[0] == parameters


@given(model=st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1).filter(lambda t: t == t.strip()))
def test_any_model_name(model):
    parameters = Parameters("a cat", seed=0, model=model)
    assert Parameters.from_text(parameters.to_text()) == parameters


def test_a_picture_without_texts(tmp_path):
    picture().save(tmp_path / "x.png")
    assert read_png(tmp_path / "x.png") == (None, None)


def test_the_same_picture_is_the_same_file():
    assert png_bytes(picture(), FULL, {"a": 1}) == png_bytes(picture(), FULL, {"a": 1})


def test_data_that_is_no_json_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ValueError):
        save_png(picture(), tmp_path / "x.png", FULL, {"score": float("nan")})
    assert list(tmp_path.iterdir()) == []
