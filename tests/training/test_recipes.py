"""The parts of the recipes that can be checked without a training."""

import json
import random

import pytest
import torch

from dymo.miniature.world import ALL_THINGS, NOUNS, WORDS, caption_of, sample_caption
from training import checkpoints, stack
from training.autoencoder import distance, high_frequencies
from training.classifier import named
from training.denoiser import by_thing, naming_loss, rate, side_position, word_positions
from training.fit import arguments, fit, keep, resume
from training.image_reward import finding_loss
from training.measure import wilson
from training.scenes import stands
from training.scorers import FACTS, KINDS, facts, mistaken, sides


def test_every_word_is_one_token_and_the_numbering_has_no_chance_in_it():
    tok = stack.tokenizer()
    assert tok.get_vocab() == stack.tokenizer().get_vocab()
    for word in WORDS:
        assert len(tok(word).input_ids) == 3
    longest = "an orange umbrella to the left of an orange anchor and an orange apple"
    assert len(tok(longest).input_ids) == len(longest.split()) + 2 <= stack.WINDOW


def test_word_positions_point_at_the_words_tokens():
    tok, rng = stack.tokenizer(), random.Random(0)
    for _ in range(100):
        caption = sample_caption(rng, ALL_THINGS)
        tokens = tok.tokenize(caption.text)
        found = word_positions(caption.text)
        assert [which for _, _, which in found] == [NOUNS.index(t.noun) for t in caption.things]
        for (colour, noun, _), thing in zip(found, caption.things, strict=True):
            assert tokens[colour - 1] == f"{thing.colour}</w>" and tokens[noun - 1].startswith(thing.noun[:3])


def test_the_word_of_a_side_is_found():
    said = {"to the left of": "left", "to the right of": "right", "above": "above", "below": "below"}
    tok, rng, seen = stack.tokenizer(), random.Random(1), set()
    for _ in range(100):
        caption = sample_caption(rng, ALL_THINGS)
        at = side_position(caption.text)
        word = tok.tokenize(caption.text)[at - 1].removesuffix("</w>") if at else ""
        assert word == said.get(caption.relation, "")
        seen.add(word)
    assert seen == {"", "left", "right", "above", "below"}


def test_finding_is_least_where_words_lead_to_their_cells_or_to_the_first_token_for_none():
    at = torch.tensor([[[2, 1], [5, 4], [0, 0]]])  # two things, their nouns at 2 and 5 and colours at 1 and 4
    same = torch.zeros(1, 3, 3, 2, dtype=torch.bool)
    same[0, 0, 0] = True  # the first thing is the first object
    same[0, 1, 1, 0] = True  # of the second only the noun is shown
    cover = torch.zeros(1, 3, 64)
    cover[0, 0, 10], cover[0, 1, 20] = 1, 1

    def led(to):
        found = torch.zeros(1, 4, 8, 65)
        for token, cell in to.items():
            found[0, :2, token, cell] = 1
        return found

    first, both = led({2: 11, 1: 11, 5: 21, 4: 0}), led({2: 11, 1: 11, 5: 0, 4: 0})
    assert finding_loss([first, both], at, same, cover).item() == pytest.approx(0, abs=1e-3)
    for wrong in ([both, both], [first, first], [led({2: 12, 1: 11, 5: 21, 4: 0}), both]):
        assert finding_loss(wrong, at, same, cover).item() > 1
    unasked = first.clone()
    unasked[:, 2:] = 1 / 65
    assert torch.equal(finding_loss([unasked], at, same, cover), finding_loss([first], at, same, cover))


def test_equal_objects_become_one_thing():
    masks = torch.zeros(1, 3, 16, 16, dtype=torch.uint8)
    masks[0, 0, 0], masks[0, 1, 1], masks[0, 2, 2] = 200, 100, 50
    joined, nouns = by_thing(masks, torch.tensor([[4, 4, 9]]))
    assert nouns.tolist() == [[4, -1, 9]]
    assert (
        joined[0, 0, 0, 0] == 200 and joined[0, 0, 1, 0] == 100 and joined[0, 1].sum() == 0 and joined[0, 2, 2, 0] == 50
    )
    three, nouns = by_thing(masks, torch.tensor([[4, 4, 4]]))
    assert nouns.tolist() == [[4, -1, -1]] and three[0, 0].int().sum() == 350 * 16


def test_naming_is_least_for_the_head_that_tells_what_is_there():
    masks = torch.zeros(1, 3, 16, 16)
    masks[0, 0, :8] = 1
    head = torch.nn.Conv2d(2, len(NOUNS) + 1, 1)
    with torch.no_grad():
        head.weight.zero_(), head.bias.zero_()
        head.weight[6, 0], head.weight[-1, 1] = 30, 30
    features = torch.zeros(1, 2, 8, 8)
    features[0, 0, :4], features[0, 1, 4:] = 1, 1
    heads = torch.nn.ModuleList([head])
    assert naming_loss(heads, [features], masks, torch.tensor([[6, -1, -1]])).item() < 1e-6
    assert naming_loss(heads, [features], masks, torch.tensor([[5, -1, -1]])).item() > 10


def test_the_rate_warms_up_stays_and_comes_down_in_the_last_quarter():
    assert rate(0, 0, 100) == pytest.approx(0.01) and rate(500, 74, 100) == 1
    assert rate(500, 87.5, 100) == pytest.approx(0.51) and rate(500, 100, 100) == pytest.approx(0.02)
    assert rate(500, 1e9, float("inf")) == 1


def test_the_linear_map_is_inverted_up_to_what_it_drops():
    images = torch.randint(0, 256, (40, 32, 32, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    space = stack.PatchPCA.fit(images.numpy())
    z = space.encode(images)
    assert z.shape == (40, stack.LATENT_CHANNELS, 4, 4)
    # A projection: coding the linear decoding again changes nothing.
    again = space.encode(space.decode(z).permute(0, 2, 3, 1) * 255)
    torch.testing.assert_close(again, z, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(z.mean((0, 2, 3)), torch.zeros(stack.LATENT_CHANNELS), atol=1e-4, rtol=0)


def test_relations_of_centres():
    assert stands("to the left of", (10, 50), (60, 70)) and not stands("to the left of", (10, 50), (30, 90))
    assert stands("below", (50, 90), (40, 20)) and not stands("below", (40, 20), (50, 90))
    assert stands("next to", (90, 50), (20, 60)) and not stands("next to", (50, 20), (60, 90))


def test_mistakes_are_mistakes():
    rng, kinds = random.Random(0), set()
    for _ in range(600):
        caption = sample_caption(rng, ALL_THINGS)
        kind, other = mistaken(caption, rng)
        kinds.add(kind)
        assert other != caption and 1 <= len(other.instances) <= 3
        assert caption_of(other.text) == other
        assert (len(other.instances) != len(caption.instances)) == (kind in ("missing", "count"))
    assert kinds == set(KINDS)


def test_facts_are_what_the_caption_says():
    row = torch.tensor(facts("two red apples above a green car"))
    assert len(row) == FACTS and row.sum() == 5  # two things, a count, two sides
    assert (torch.tensor(facts("two red apples below a green car")) - row).abs().sum() == 4
    assert (torch.tensor(facts("a red apple above a green car")) - row).abs().sum() == 1


def test_named_asks_for_the_surest_nouns_only():
    logits = torch.tensor([[3.0, 2.0, 1.0, 0.0]])
    assert named(logits, torch.tensor([[0, 1, -1]])).nan_to_num(-1).tolist() == [[1, 1, -1]]
    assert named(logits, torch.tensor([[0, 2, -1]])).nan_to_num(-1).tolist() == [[1, 0, -1]]


def test_wilsons_interval():
    low, high = wilson(48, 64)
    assert (low, high) == (0.632, 0.84)
    assert wilson(0, 64)[0] == 0 and wilson(64, 64)[1] == 1


def test_blur_lowers_the_high_frequencies_and_costs_distance():
    x = (torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)) > 0.5).float()
    soft = torch.nn.functional.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)
    assert (high_frequencies(soft) < 0.3 * high_frequencies(x)).all()
    assert distance(x, x) == 0 and distance(soft, x) > 0


def test_kept_weights_come_back_and_are_not_put_over_others(tmp_path):
    cache, into, new = tmp_path / "cache", tmp_path / "kept", tmp_path / "new"
    cache.mkdir()
    model, args = torch.nn.Linear(3, 2), arguments(None).parse_args(["--cache", str(cache)])
    x = torch.randn(8, 3, generator=torch.Generator().manual_seed(0))
    fit("classifier", model, lambda generator, step: {"square": model(x).square().mean()}, args, steps=3, lr=1e-2)
    torch.save({"basis": torch.rand(192, 16)}, cache / "pca.pt")
    names = {"unet.a": torch.rand(4)}
    torch.save({"model": names, "ema": {"unet.a": torch.zeros(4)}, "step": 9}, cache / "denoiser.pt")
    torch.save({"model": {"unet.a": torch.ones(4)}, "step": 7}, cache / "denoiser-plateau.pt")
    checkpoints.save(cache, into)
    assert json.loads((into / "steps.json").read_text()) == {"denoiser": 7, "classifier": 3}
    assert checkpoints.load_file(into / "denoiser/raw.safetensors")["unet.a"].tolist() == [1] * 4
    checkpoints.restore(new, into)
    again = torch.nn.Linear(3, 2)
    args.cache = new
    assert fit("classifier", again, lambda generator, step: {"square": again(x).square().mean()}, args, steps=3, lr=1e-2)
    torch.testing.assert_close(again.weight, model.weight, atol=1e-3, rtol=1e-3)
    with pytest.raises(FileExistsError, match="classifier.pt"):
        checkpoints.restore(new, into)


def test_sides_are_read_from_the_masks_and_are_what_the_caption_says():
    masks, nouns = torch.zeros(2, 3, 16, 16), torch.tensor([[4, 7, -1], [4, 4, -1]])
    masks[:, 0, 2:4, 2:4], masks[:, 1, 3:5, 10:12] = 1, 1
    left_and_right, one_noun = sides(masks, nouns).view(2, len(NOUNS), 4)
    said = torch.tensor(facts(f"a red {NOUNS[4]} to the left of a blue {NOUNS[7]}"))[-80:].view(len(NOUNS), 4)
    assert torch.equal(left_and_right, said) and not one_noun.any()
    below = sides(masks.transpose(2, 3), nouns).view(2, len(NOUNS), 4)[0]
    assert torch.equal(below, torch.tensor(facts(f"a red {NOUNS[4]} above a blue {NOUNS[7]}"))[-80:].view(len(NOUNS), 4))


def test_a_run_goes_on_from_what_it_kept(tmp_path):
    def parts(fill):
        model, ema = (torch.nn.Linear(2, 1) for _ in range(2))
        for module, value in ((model, fill), (ema, 2 * fill)):
            torch.nn.init.constant_(module.weight, value)
        return model, ema, torch.optim.AdamW(model.parameters(), lr=0.1)

    file, made = tmp_path / "x.pt", parts(3.0)
    assert resume(file, *made, "cpu") == (0, 0.0, 0)
    made[0](torch.ones(1, 2)).sum().backward()
    made[2].step()
    keep(file, *made, step=7, spent=1.5)
    other = parts(0.0)
    assert resume(file, *other, "cpu") == (7, 1.5, 0) and not file.with_suffix(".partial").exists()
    assert torch.equal(other[0].weight, made[0].weight) and torch.equal(other[1].weight, made[1].weight)
    assert len(other[2].state_dict()["state"]) == 2
    saved = torch.load(file, weights_only=True)
    torch.save(saved | {"optimiser": None}, file)
    assert resume(file, *parts(0.0), "cpu") == (7, 1.5, 7)
