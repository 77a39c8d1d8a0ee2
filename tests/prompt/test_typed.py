"""Prompts as people type them, with the readings that a person would give."""

from __future__ import annotations

import pytest
from prompt.test_mentions import related, said

from dymo.prompt import parse


@pytest.mark.parametrize(
    ("prompt", "right"),
    [
        # What a tagger takes for a verb, and the other way round.
        ("three brass pendant lights over a wooden table", "lights[three brass pendant] table[wooden]"),
        ("brass hanging lamps in a mosque", "lamps[brass hanging] mosque"), ("a stop sign out in the mountains", "sign[stop] mountains"),
        ("a bride in a white lace gown holding a bouquet", "bride gown[white lace]<0 bouquet"),
        ("an art deco building with gold ornaments", "building[art deco] ornaments[gold]"),
        ("a snowman with coal eyes and stick arms", "snowman eyes[coal]<0 arms[stick]<0"),
        ("a spaceship landing on a red planet", "spaceship planet[red]"),
        # Lamps are things, light is a look.
        ("a row of street lights along a wet road", "lights[street] road[wet]"), ("neon lights reflected in puddles", "lights[neon] puddles"),
        ("a portrait of a woman, soft lights", "woman"),
        ("two manta rays swimming over a reef", "rays[two manta] reef"), ("a saint with rays around his head", "saint rays head<0"),
        ("volumetric fog, god rays, an abandoned church", "fog church[abandoned]"), ("bird's eye view of a crowded market", "market[crowded]"),
        # What describes without standing right before a noun.
        ("a bowl half red and half blue", "bowl[red blue]"), ("a car, half red, half white", "car[red white]"),
        ("a face painted half white and half black", "face[white black]"), ("a street half covered in snow", "street snow"),
        ("a cotton candy pink dress", "dress[cotton candy pink]"), ("a still lake at dawn", "lake[still]"),
        ("a blue-eyed, black-haired girl", "girl[blue-eyed black-haired]"), ("a tall, dark-haired man", "man[tall dark-haired]"),
        ("a teen, red dress", "teen dress[red]<0"), ("a ballerina mid-jump, arms outstretched", "ballerina[mid-jump] arms[outstretched]<0"),
        ("a boy trying to catch a butterfly", "boy butterfly"), ("a dog sleeping while a cat plays with a ball", "dog[sleeping] cat ball"),
        # Aspects and likenesses.
        ("the rough texture of the bark", "bark[rough]"), ("the red colour of the car", "car[red]"),
        ("a cloud in the shape of a white dog", "cloud[white dog]"), ("a school of fish around a reef", "fish reef"),
        # Numbers, names, signs.
        ("a cake with more than ten candles", "cake candles[ten]"), ("an apple bigger than a car", "apple[bigger]"),
        ("A Queen With Silver Hair, Emerald Crown, Intricate Details", "queen hair[Silver]<0 crown[Emerald]<0"),
        ("a jack-o'-lantern on a porch", "jack-o'-lantern porch"), ("a '57 Chevy", "chevy[57]"),
        ("a cute 🐼 eating bamboo 🎋", "🐼[cute] bamboo"),
    ],
)  # fmt: skip
def test_things_with_what_describes_them(prompt, right):
    assert said(parse(prompt)) == right


@pytest.mark.parametrize(
    ("prompt", "right"),
    [
        # Behind a list "with" is of the last one, unless the words say that it is of all.
        ("a cat, a dog and a bird with a red hat", "bird with hat"), ("two cups and a teapot with blue stripes", "teapot with stripes"),
        ("two cups and a teapot, all with blue stripes", "cups with stripes, teapot with stripes"),
        ("a girl and her dog with matching scarves", "girl with scarves, dog with scarves"),
        # A garment is where its wearer is.
        ("a girl in a red dress in a garden", "girl in dress, girl in garden"),
        ("a cat with a bow tie next to a dog", "cat with tie, cat next to dog"),
        ("a woman with a hat on her head", "woman with hat, hat on head"), ("a cup with a red handle on a saucer", "cup with handle, cup on saucer"),
        ("a room with nothing but a chair", ""),
        ("a spoon between a fork and a knife", "spoon between fork, spoon between knife"),
        ("an old couple, he wears a brown coat, she wears a pink dress", "couple wears coat, couple wears dress"),
        ("a woman looking at her phone while crossing the street", "woman looking at phone, woman crossing street"),
    ],
)  # fmt: skip
def test_how_things_stand_to_each_other(prompt, right):
    assert related(parse(prompt)) == right


@pytest.mark.parametrize(
    ("prompt", "style"),
    [
        ("a robot painting a canvas, concept art", "concept art"), ("a castle, painted by Monet", "painted Monet"),
        ("soft lights, a woman", "soft lights"),
    ],
)  # fmt: skip
def test_what_somebody_paints_is_no_style(prompt, style):
    assert " ".join(parse(prompt).style) == style
