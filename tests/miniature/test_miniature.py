"""The trained weights: that they load by plain means, fit together, and do what they are for."""

import pytest
import torch
from PIL import Image

from dymo import DyMO, load_miniature, load_reward
from dymo.miniature import WEIGHTS, load_judge, load_tiny_decoder
from dymo.miniature.judge import Seen, satisfied
from dymo.miniature.world import COLOURS, NOUNS, Caption, Thing, captions
from dymo.pipelines.decode import decoder
from dymo.rewards import SPECS

pytestmark = pytest.mark.miniature


def generators(n):
    return [torch.Generator().manual_seed(i) for i in range(n)]


@pytest.fixture(scope="module")
def pipe():
    pipe = load_miniature()
    pipe.set_progress_bar_config(disable=True)
    return pipe


def test_all_weights_are_safetensors_and_small():
    files = [path for path in WEIGHTS.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 48e6
    assert not [path for path in files if path.suffix in (".bin", ".pt", ".pth", ".ckpt", ".pkl")]
    assert (WEIGHTS / "README.md").is_file()


def test_every_part_numbers_the_words_alike(pipe):
    words = sorted({word for caption in captions("test", 200) for word in caption.text.split()} | {*NOUNS, *COLOURS})
    ids = pipe.tokenizer(words).input_ids
    assert all(len(one) == 3 for one in ids)  # start, the word, end
    for name in ("mini-pickscore", "mini-hps", "mini-imagereward", "mini-step-aware"):
        assert load_reward(name).tokenizer(words).input_ids == ids


@pytest.mark.parametrize("name", ["mini-pickscore", "mini-hps"])
def test_a_scorer_knows_every_noun_and_colour_of_its_tokenizer(pipe, name):
    """Painted by the pipeline itself, checked by the judge: weights that were numbered otherwise would fail."""
    things = [Thing(noun, list(COLOURS)[i % len(COLOURS)]) for i, noun in enumerate(NOUNS)]
    pictures = pipe(
        [thing.text for thing in things], num_inference_steps=15, guidance_scale=3.0, generator=generators(len(things)),
        output_type="pt",
    ).images  # fmt: skip
    right = [
        satisfied(Caption((t,)), seen).correct for t, seen in zip(things, load_judge().read(pictures), strict=True)
    ]
    shown = [k for k, is_right in enumerate(right) if is_right]
    assert len(shown) >= 9
    scorer = load_reward(name)
    with torch.no_grad():
        table = torch.stack([scorer.score(pictures[shown], [t.text] * len(shown)) for t in things])  # texts x pictures
    assert (table.argmax(0) == torch.tensor(shown)).float().mean() > 0.85


@pytest.mark.parametrize("name", [name for name in SPECS if name.startswith("mini-")])
def test_scorers_like_clear_pictures_better_than_blurred_ones_and_have_a_gradient(pipe, name):
    prompts = ["a red apple", "a blue car", "a green tree", "a yellow star"]
    call = dict(num_inference_steps=15, guidance_scale=3.0, generator=generators(4), output_type="pt")
    pictures = pipe(prompts, **call).images.requires_grad_()
    blurred = torch.nn.functional.avg_pool2d(pictures.detach(), 9, stride=1, padding=4, count_include_pad=False)
    reward = load_reward(name)
    assert reward.name == name and reward.reads_timestep == (name == "mini-step-aware")
    scores = reward.score(pictures, prompts, 1.0)
    assert (scores.detach() - reward.score(blurred, prompts, 1.0)).mean() > 0
    (gradient,) = torch.autograd.grad(scores.sum(), pictures)
    assert torch.isfinite(gradient).all() and (gradient.flatten(1).norm(dim=1) > 0).all()


def test_the_step_aware_mirror_reads_the_timestep():
    reward, pictures = load_reward("mini-step-aware"), torch.rand(2, 3, 64, 64, generator=generators(1)[0])
    with torch.no_grad():
        early, late = (reward.score(pictures, ["a red apple", "a blue car"], t) for t in (800.0, 50.0))
    assert not torch.allclose(early, late)


def test_it_paints_pictures_of_64(pipe):
    picture = pipe("a red apple", num_inference_steps=2, generator=generators(1)).images[0]
    assert isinstance(picture, Image.Image) and picture.size == (64, 64)
    assert pipe.unet.config.sample_size == 16


def test_the_tiny_decoder_shows_what_the_full_one_does(pipe):
    latents = pipe(
        "a red apple and a green car", num_inference_steps=10, generator=generators(1), output_type="latent"
    ).images
    with torch.no_grad():
        full, small = decoder(pipe.vae)(latents), decoder(load_tiny_decoder())(latents)
    assert (full - small).square().mean().sqrt() < 0.1


def test_the_judge_and_its_verdicts():
    assert load_judge().read(torch.full((1, 3, 64, 64), 0.6)) == [[]]
    caption = Caption((Thing("apple", "red"), Thing("car", "green")), "to the left of")
    apple, car = Seen("apple", "red", (0.2, 0.5), 0.1), Seen("car", "green", (0.8, 0.5), 0.1)
    assert satisfied(caption, [apple, car]) == satisfied(caption, [car, apple])
    assert satisfied(caption, [apple, car]).correct and satisfied(caption, [apple, car]).relation
    swapped = [Seen("apple", "green", (0.8, 0.5), 0.1), Seen("car", "red", (0.2, 0.5), 0.1)]
    verdict = satisfied(caption, swapped)
    assert verdict.objects and not verdict.colours and not verdict.correct and not verdict.relation
    assert not satisfied(caption, [apple]).correct


@pytest.mark.parametrize("name", ["mini-pickscore", "mini-hps"])
def test_a_scorer_prefers_the_pictures_own_prompts(pipe, name):
    chosen = captions("test", 12)
    texts = [c.text for c in chosen]
    images = pipe(texts, num_inference_steps=15, generator=generators(12), output_type="pt").images
    with torch.no_grad():
        scorer = load_reward(name)
        own, other = scorer.score(images, texts), scorer.score(images, texts[1:] + texts[:1])
    assert (own > other).float().mean() >= 0.75


def test_guidance_raises_its_own_reward(pipe):
    texts = [c.text for c in captions("tune", 6)]
    settings = dict(num_inference_steps=12, output_type="pt")
    plain = pipe(texts, generator=generators(6), **settings).images
    aligned = DyMO("mini-pickscore", preset="fast", max_recurrences=1)(pipe, texts, generator=generators(6), **settings)
    reward = load_reward("mini-pickscore")
    with torch.no_grad():
        assert reward.score(aligned.images, texts).mean() > reward.score(plain, texts).mean()
    assert not aligned.trace.failures
