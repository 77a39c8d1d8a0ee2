"""The flow recipe's terms: each word's two tokens, and the attention that they draw, in closed form."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dymo import load_miniature
from dymo.miniature import WEIGHTS
from training import flow, stack
from training.denoiser import grounding_loss, word_tokens

CAPTION = "two red apples above a green car"


def test_both_tokens_of_a_word_are_that_word():
    clip, t5 = stack.tokenizer(), flow.t5_tokenizer()
    captions = [CAPTION, "a blue cat, a red hat and a white key"]
    nouns = torch.tensor([[1, 4, -1], [5, 10, 13]])
    positions = flow.both_tokens(word_tokens(captions, nouns))
    assert positions.shape == (2, 3, 6)
    for caption, places in zip(captions, positions, strict=True):
        window = dict(padding="max_length", max_length=stack.WINDOW)
        ids = clip(caption, **window).input_ids + t5(caption, **window).input_ids
        for thing in places:
            for first, second in zip(thing[:3].tolist(), thing[3:].tolist(), strict=True):
                assert (first == 0) == (second == 0)
                if first:
                    word = clip.decode([ids[first]]).strip()
                    assert word in caption.split() or f"{word}," in caption.split()
                    assert t5.decode([ids[second]]).strip() == word
    said = [clip.decode([clip(CAPTION).input_ids[i]]).strip() for i in positions[0, 0, :3].tolist()]
    assert said == ["red", "apples", "above"]


def test_the_grounding_of_known_attention():
    """A word all inside its thing loses nothing; one spread evenly over a thing of a quarter loses (3/4)^2; weights share them."""
    masks = torch.zeros(2, 3, 16, 16)
    masks[:, 0, :8, :8] = 1
    inside, even = F.adaptive_avg_pool2d(masks[:1, 0], 8).flatten(), torch.full((64,), 1 / 64)
    maps = torch.zeros(2, 64, 5)
    maps[:, :, 1], maps[:, :, 2] = inside, even
    positions = torch.zeros(2, 3, 2, dtype=torch.long)
    positions[:, 0] = torch.tensor([1, 2])
    equal = torch.ones(2, 1)
    assert grounding_loss([maps], masks, positions, equal).item() == pytest.approx(0.75**2 / 2)
    read = torch.tensor([[1.0, 0.0], [1.0, 0.0]])  # the second reading was left out
    assert grounding_loss([maps], masks, positions, read).item() == pytest.approx(0.0, abs=1e-6)


def test_the_maps_that_are_grounded_are_the_blocks_own():
    net = flow.transformer().eval()
    first, last = flow.GROUNDED[0], flow.GROUNDED[-1]
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if "norm_" in name and "weight" in name:
                continue
            nn.init.normal_(parameter, std=0.05)
    states, pooled = torch.randn(2, 2 * stack.WINDOW, 256), torch.randn(2, 256)
    seen = {}

    def keep(name):
        def hook(_module, _args, kwargs, _output):
            seen[name] = kwargs
        return hook

    for i in (first, last):
        net.transformer_blocks[i].attn.register_forward_hook(keep(f"{i}"), with_kwargs=True)
    with flow.taps(net) as grounded:
        net(torch.randn(2, 16, 16, 16), states, pooled, torch.tensor([900.0, 300.0]))
        maps = grounded.layers()
    assert list(maps) == [f"{i}" for i in flow.GROUNDED]
    for i in (first, last):
        attn, given = net.transformer_blocks[i].attn, seen[f"{i}"]
        image, text = given["hidden_states"], given["encoder_hidden_states"]
        q = attn.norm_q(attn.to_q(image).unflatten(-1, (attn.heads, -1)).transpose(1, 2))
        own = attn.norm_k(attn.to_k(image).unflatten(-1, (attn.heads, -1)).transpose(1, 2))
        words = attn.norm_added_k(attn.add_k_proj(text).unflatten(-1, (attn.heads, -1)).transpose(1, 2))
        k = torch.cat([own, words], 2)
        reference = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1).mean(1)[..., 64:]
        torch.testing.assert_close(maps[f"{i}"], reference, atol=1e-5, rtol=1e-4)


def test_training_goes_on_from_the_pipeline_in_the_package():
    net, texts = flow.begun_from(WEIGHTS / "flow")
    pipe = load_miniature("flow")
    states, pooled = texts(*texts.ids([CAPTION]))
    theirs, _, their_pooled, _ = pipe.encode_prompt(CAPTION, None, None, do_classifier_free_guidance=False, max_sequence_length=stack.WINDOW)
    torch.testing.assert_close(states, theirs), torch.testing.assert_close(pooled, their_pooled)
    z, t = torch.randn(1, 16, 16, 16), torch.tensor([500.0])
    torch.testing.assert_close(net(z, states, pooled, t).sample, pipe.transformer(z, theirs, their_pooled, t).sample)
