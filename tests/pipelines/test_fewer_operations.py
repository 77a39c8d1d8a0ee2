"""Fewer operations, the same numbers: rows with and without a graph in one forward, attention by `Lean`, and their refusals."""

import pytest
import tiny
import torch
from diffusers.models.attention_processor import AttnProcessor, AttnProcessor2_0
from torch import nn

from dymo import DyMO
from dymo.pipelines.attention import Lean, lean_processors
from dymo.pipelines.block import Mixed, OneBlock


def inputs(kind, n, blocks=2):
    torch.manual_seed(1)
    xl = kind is tiny.unet_xl
    words = torch.randn(blocks * n, 48, 64 if xl else 32)
    more = (
        {"added_cond_kwargs": {"text_embeds": torch.randn(blocks * n, 32), "time_ids": torch.randn(blocks * n, 6)}}
        if xl
        else {}
    )
    return torch.randn(n, 4, 32, 32, requires_grad=True), words, more


@pytest.mark.parametrize(
    ("kind", "n", "blocks", "at"), [(tiny.unet, 1, 2, 1), (tiny.unet_xl, 2, 2, 1), (tiny.unet, 2, 3, 0)]
)
@pytest.mark.parametrize("lean", [False, True])
def test_one_block_of_a_batch_has_its_own_gradient_and_the_rest_their_values(kind, n, blocks, at, lean):
    torch.manual_seed(0)
    unet = kind().requires_grad_(False)
    if lean:
        unet.set_attn_processor(lean_processors(unet))
    z, words, more = inputs(kind, n, blocks)
    own = slice(at * n, at * n + n)
    expected = unet(torch.cat([z] * blocks), 500, encoder_hidden_states=words, **more).sample
    (gradient,) = torch.autograd.grad(expected[own].square().sum(), z)
    sizes = set()
    unet.conv_out.register_forward_hook(lambda module, args, out: sizes.add((len(out), len(OneBlock.whole(out)))))
    with OneBlock(blocks, at) as rows:
        more = {k: {name: rows.shown(x) for name, x in v.items()} for k, v in more.items()}
        t = rows.shown(torch.tensor(500).expand(blocks * n))
        shown = unet(rows.shown(torch.cat([z] * blocks)), t, encoder_hidden_states=rows.shown(words), **more).sample
    torch.testing.assert_close(OneBlock.whole(shown), expected)
    torch.testing.assert_close(shown, expected[own])
    torch.testing.assert_close(torch.autograd.grad(shown.square().sum(), z)[0], gradient)
    assert sizes == {(n, blocks * n)}


@pytest.mark.parametrize(
    "mix",
    [lambda x: x.sum(0), lambda x: x.flip(0), lambda x: torch.cat([x, x]), lambda x: x.softmax(0), lambda x: x.transpose(0, 1), lambda x: x[:1],
     lambda x: x.unbind()[0], lambda x: x.mean(), lambda x: x[None], lambda x: x.cumsum(1)],
)  # fmt: skip
def test_an_operation_that_may_mix_rows_is_refused(mix):
    with OneBlock(2, 1) as rows, pytest.raises(Mixed):
        mix(rows.shown(torch.randn(4, 3)))


def test_masks_of_the_rows_are_refused_where_an_operation_takes_them_by_name():
    q, mask = torch.randn(2, 1, 3, 4), torch.zeros(2, 1, 3, 3)
    with OneBlock(2, 1) as rows, pytest.raises(Mixed):
        own = rows.shown(q)
        torch.nn.functional.scaled_dot_product_attention(own, own, own, attn_mask=rows.shown(mask))


def test_what_is_made_inside_of_a_forward_is_the_same_for_all_rows():
    x, y = torch.randn(4, 3), torch.randn(2, 3)
    with OneBlock(2, 1) as rows:
        found = rows.shown(x) * y
    torch.testing.assert_close(OneBlock.whole(found), x * torch.cat([y, y]))


def test_a_denoiser_with_an_unknown_operation_is_run_twice_and_gives_the_same():
    def run(pipe):
        found = DyMO(None, recurrences=0, borders=(0.0, 0.0))(
            pipe, tiny.PROMPT, **tiny.SMALL, generator=torch.Generator().manual_seed(0)
        )
        return found, found.trace.cost

    class Strange(nn.Module):
        def forward(self, x):
            return nn.functional.silu(x) + 0 * x.flip(0)

    plain, cost = run(tiny.sd())
    strange = tiny.sd()
    strange.unet.conv_act = Strange()
    found, more = run(strange)
    torch.testing.assert_close(found.images, plain.images, atol=1e-5, rtol=0)
    assert cost.denoiser_calls == 4 and more.denoiser_calls == 9  # the first one was begun, and given up
    assert more.denoiser_rows == cost.denoiser_rows + 2


@pytest.mark.parametrize("kind", [tiny.unet, tiny.unet_xl])
def test_lean_attention_is_diffusers_own(kind):
    torch.manual_seed(0)
    unet = kind().requires_grad_(False)
    z, words, more = inputs(kind, 2, 1)

    def run():
        out = unet(z, 500, encoder_hidden_states=words, **more).sample
        return out, torch.autograd.grad(out.square().sum(), z)[0]

    plain = run()
    lean = lean_processors(unet)
    assert all(isinstance(x, Lean) for x in lean.values())
    unet.set_attn_processor(dict(lean))
    for _ in range(2):  # the second with the words' keys and values of the first
        for found, expected in zip(run(), plain, strict=True):
            torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_kept_keys_and_values_are_those_of_the_words_and_weights_as_they_are():
    torch.manual_seed(0)
    unet = tiny.unet().requires_grad_(False)
    z, words, _ = inputs(tiny.unet, 1, 1)
    lean = lean_processors(unet)
    own = dict(unet.attn_processors)

    def both():
        unet.set_attn_processor(dict(lean))
        found = unet(z, 500, encoder_hidden_states=words).sample
        unet.set_attn_processor(dict(own))
        torch.testing.assert_close(found, unet(z, 500, encoder_hidden_states=words).sample, atol=1e-5, rtol=1e-4)
        return found

    first = both()
    words.mul_(2)
    assert not torch.equal(both(), first)
    unet.mid_block.attentions[0].transformer_blocks[0].attn2.to_v.weight.mul_(3)
    second = both()
    words = torch.randn(1, 48, 32)
    assert not torch.equal(both(), second)


def test_attention_that_is_not_plain_is_left_alone():
    unet = tiny.unet()
    names = list(unet.attn_processors)
    unet.set_attn_processor({name: AttnProcessor() if i else AttnProcessor2_0() for i, name in enumerate(names)})
    found = lean_processors(unet)
    assert [isinstance(found[name], Lean) for name in names] == [i == 0 for i in range(len(names))]
    unet.set_attn_processor(AttnProcessor2_0())
    attention = unet.mid_block.attentions[0].transformer_blocks[0].attn1
    attention.to_q.register_forward_hook(lambda *_: None)
    one = lean_processors(unet)["mid_block.attentions.0.transformer_blocks.0.attn1.processor"]
    assert isinstance(one, Lean) and one.weight is None  # called as modules, so that the hook is


def test_after_a_run_the_denoiser_has_its_own_attention():
    pipe = tiny.sd()
    before = dict(pipe.unet.attn_processors)
    seen = []
    DyMO(tiny.brightness, recurrences=0)(
        pipe,
        tiny.PROMPT,
        **tiny.SMALL,
        listeners=[lambda event: seen.append(set(map(type, pipe.unet.attn_processors.values())))],
    )
    assert {Lean} in seen
    assert all(pipe.unet.attn_processors[name] is x for name, x in before.items())


def test_rows_that_do_not_lie_one_behind_the_other_are_reshaped():
    """One row can be flattened without a copy where all of them cannot: what attention hands on, on a GPU."""
    x = torch.randn(4, 2, 6).transpose(0, 1)
    with OneBlock(2, 1) as rows:
        found = rows.shown(x).view(4, 6) * 2
    torch.testing.assert_close(found, 2 * x[1])
    torch.testing.assert_close(OneBlock.whole(found), 2 * x.reshape(8, 6))
