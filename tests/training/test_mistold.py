"""Captions that say something else than their images, and which of their words still have a place there."""

import random

import torch

from dymo.miniature.world import MOST, NOUNS, TRAINED_THINGS, caption_of, sample_caption, split_of
from training import stack
from training.denoiser import word_tokens
from training.mistold import mistold, shown_tokens


def test_what_is_said_wrongly_and_where_its_words_belong():
    tok, rng, kinds = stack.tokenizer(), random.Random(0), set()
    for _ in range(300):
        truth = sample_caption(rng, TRAINED_THINGS)
        said = mistold(truth, rng)
        assert caption_of(said.text) == said and len(said.instances) <= MOST
        assert said == truth or split_of(said) == "train"
        nouns = [NOUNS.index(t.noun) for t in truth.things] + [-1] * (MOST - len(truth.things))
        assert torch.equal(shown_tokens(truth.text, truth, nouns), word_tokens([truth.text], torch.tensor([nouns]))[0])
        positions = shown_tokens(said.text, truth, nouns)
        ids = tok(said.text).input_ids
        words = [[tok.decode([ids[i]]).strip() if i else "" for i in row] for row in positions.tolist()]
        shown = [(t.colour, t.text.split()[-1]) for t in truth.things]
        extra = {(t.noun, t.count) for t in said.things} - {(t.noun, t.count) for t in truth.things}
        kinds.add("same" if said == truth else "absent" if extra else "exchanged")
        assert len(extra) == len(said.things) - len(truth.things)
        for (colour, noun), (said_colour, said_noun, _) in zip(shown, words[: len(shown)], strict=True):
            assert said_colour == colour  # of the thing that has the colour in the image
            assert said_noun == noun
        assert all(word == "" for row in words[len(shown) :] for word in row)
    assert kinds == {"same", "absent", "exchanged"}
