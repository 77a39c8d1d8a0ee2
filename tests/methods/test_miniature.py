"""On the trained miniature each method improves what it optimises, over the plain picture of the same seed."""

import pytest
import torch
import toys

from dymo import load_miniature, load_reward
from dymo.methods import load_method
from dymo.methods.attend_excite import excitation
from dymo.miniature.world import captions
from dymo.pipelines.attention import AttentionTaps
from dymo.pipelines.families import map_layers
from dymo.pipelines.loop import Hooks, Loop
from dymo.prompt import parse, token_pairs
from dymo.trace import Trace

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


class Reads(Hooks):
    """Attend-and-Excite's loss at step 4, after z_3's successor was put in the place of the run's own, if one is given."""

    def __init__(self, layers, subjects, latent=None):
        self.layers, self.subjects, self.latent = layers, subjects, latent

    def before(self, index, z, look):
        if index == 4:
            with AttentionTaps(self.layers) as taps, torch.no_grad():
                look(z)
                maps = torch.stack([taps.probabilities(name).mean(1) for name in self.layers]).mean(0)
                side = round(maps.shape[1] ** 0.5)
                self.loss = excitation(maps, self.subjects, (side, side))

    def after(self, index, predict, z):
        return self.latent if index == 3 and self.latent is not None else z


def test_attend_and_excite_gives_the_neglected_subject_more_attention(pipe):
    """Its own objective in the middle of a plain run, and from the latent that it had moved by then."""
    layers, _ = map_layers(pipe.unet, 16, None)
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
    for latent in (None, moved["latents"]):
        hooks = Reads(layers, subjects, latent)
        with Loop(pipe, Trace(evaluations=[0] * 4), hooks, layers=layers):
            pipe(PROMPTS, generator=toys.seeds(0, 1, 2, 3), **CALL)
        losses.append(hooks.loss.mean().item())
    assert losses[1] < losses[0], losses
