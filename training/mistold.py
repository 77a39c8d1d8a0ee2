"""Captions that say something else than their images, as those of the web do: what a denoiser then errs by is what its words say.

A denoiser trained on true captions alone errs by how it draws; one that has learnt to doubt its prompt exchanges colours and leaves
things out.
"""

from __future__ import annotations

import random
from dataclasses import replace

import torch

from dymo.miniature.world import MOST, TRAINED_THINGS, Caption, caption_of, split_of

from .denoiser import side_position, word_positions


def mistold(caption: Caption, rng: random.Random) -> Caption:
    """With the colours of two things exchanged, or with one thing more, in a colour that no other has; of the train split.

    The caption itself where neither can be: of three things of one colour, or where the other splits own what would be said.
    """
    things, made = list(caption.things), []
    if len({t.colour for t in things}) > 1:
        i, j = rng.choice([(i, j) for i in range(len(things)) for j in range(i) if things[i].colour != things[j].colour])
        other = list(things)
        other[i], other[j] = replace(things[i], colour=things[j].colour), replace(things[j], colour=things[i].colour)
        made.append(Caption(tuple(other), caption.relation))
    if len(caption.instances) < MOST:
        nouns, colours = {t.noun for t in things}, {t.colour for t in things}
        new = rng.choice([t for t in TRAINED_THINGS if t.noun not in nouns and t.colour not in colours])
        # "A above B": a further thing behind A would be said to stand below it too, so it comes last.
        at = rng.randint(0, len(things)) if caption.relation == "and" else len(things)
        made.append(Caption((*things[:at], new, *things[at:]), caption.relation))
    made = [one for one in made if split_of(one) == "train"]
    return rng.choice(made) if made else caption


def shown_tokens(text: str, truth: Caption, nouns: list[int]) -> torch.Tensor:
    """As `word_tokens` of one caption, (3, 3), of what the image shows: a colour's word belongs to the thing that has it there.

    text: what is said; truth: of the image; nouns: of its things, as `by_thing` gives them. Words of what is not there have no place.
    """
    positions = torch.zeros(MOST, 3, dtype=torch.long)
    said, own = _things(text), {noun: colour for _, _, noun, colour in _things(truth.text)}
    right = {noun for _, _, noun, colour in said if own.get(noun) == colour}
    for k, (at_colour, at_noun, noun, colour) in enumerate(said):
        having = [noun] if noun in right else [n for n, c in own.items() if c == colour and n not in right]
        if having:
            positions[nouns.index(having[0]), 0] = at_colour
        if noun in own:
            positions[nouns.index(noun), 1] = at_noun
            positions[nouns.index(noun), 2] = side_position(text) if k == 0 else 0
    return positions


def _things(text: str) -> list[tuple[int, int, int, str]]:
    """Of each thing said: colour's token, noun's token, the noun's index, the colour."""
    said = caption_of(text).things
    return [(*found, thing.colour) for found, thing in zip(word_positions(text), said, strict=True)]
