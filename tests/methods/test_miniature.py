"""On the trained miniature each method improves what it optimises, over the plain picture of the same seed."""

import pytest
import torch
import toys

from dymo import load_miniature, load_reward
from dymo.guidance.loop import Need
from dymo.methods import load_method
from dymo.methods.attend_excite import excitation
from dymo.methods.run import Run
from dymo.miniature.world import captions
from dymo.prompt import parse, token_pairs

PROMPTS = [caption.text for caption in captions("tune", 4)]
CALL = dict(num_inference_steps=8, guidance_scale=2.0, output_type="pt")
QUICK = {
    "best-of-n": {"n": 3}, "reno": {"iterations": 2}, "embedding": {"iterations": 3, "lr": 0.05}, "dno": {"iterations": 3},
    "freedom": {}, "fk-steering": {"k": 3}, "dymo": {"preset": "fast", "settings": {"semantic_weight": 0.0}},
}  # fmt: skip

pytestmark = pytest.mark.miniature


@pytest.fixture(scope="module")
def pipe():
    found = load_miniature()
    found.set_progress_bar_config(disable=True)
    return found


@pytest.mark.parametrize("name", QUICK)
def test_the_reward_rises(name, pipe):
    reward, seeds = load_reward("mini-pickscore"), range(len(PROMPTS))
    # DNO and FK-steering steer a stochastic chain: so must be what they are compared with.
    call = {**CALL, "eta": 1.0} if name in ("dno", "fk-steering") else CALL
    with torch.no_grad():
        before, after = (
            reward.score(
                load_method(method, **settings).run(pipe, PROMPTS, reward, None, toys.seeds(*seeds), **call).images,
                PROMPTS,
            )
            for method, settings in (("plain", {}), (name, QUICK[name]))
        )
    assert after.mean() > before.mean() + 0.02, (before, after)


def test_attend_and_excite_gives_the_neglected_subject_more_attention(pipe):
    """Its own objective in the middle of a plain run, and from the latents that it had moved by then."""
    subjects = []
    for text in PROMPTS:
        graph = parse(text)
        words = token_pairs(graph, pipe.tokenizer).words
        subjects.append([words[entity.text] for entity in graph.entities])
    moved = {}

    def keep(_pipe, index, _t, given):
        moved.update({"latents": given["latents"].clone()} if index == 3 else {})
        return given

    load_method("attend-excite").run(
        pipe, PROMPTS, None, generator=toys.seeds(0, 1, 2, 3), callback_on_step_end=keep, **CALL
    )
    losses = []

    def read(loop, latents):
        """Attend-and-Excite's loss at step 4, from the run's own latents or from those that are given."""
        for now in loop:
            seen = loop.predict(need=Need(maps=now.index == 4))
            if now.index == 4:
                losses.append(excitation(seen.maps, subjects, seen.grid).mean().item())
            z = loop.sampler_step(seen)
            loop.accept(latents if now.index == 3 and latents is not None else z)

    for latents in (None, moved["latents"]):
        with Run(pipe, PROMPTS, None, None, toys.seeds(0, 1, 2, 3), dict(CALL)) as run:
            run.generate(lambda loop, latents=latents: read(loop, latents))
    assert losses[1] < losses[0], losses
