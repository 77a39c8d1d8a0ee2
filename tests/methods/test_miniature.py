"""On the trained miniature each method improves what it optimises, over the plain picture of the same seed."""

import functools

import pytest
import torch
import toys

from dymo import load_miniature, load_reward
from dymo.methods import load_method
from dymo.miniature.world import captions

PROMPTS = [caption.text for caption in captions("tune", 2)]
CALL = dict(num_inference_steps=6, guidance_scale=2.0, output_type="pt", height=64, width=64)
QUICK = {
    "best-of-n": {"n": 3}, "reno": {"iterations": 2}, "embedding": {"iterations": 3, "lr": 0.05}, "dno": {"iterations": 3},
    "freedom": {}, "fk-steering": {"k": 3}, "dymo": {"preset": "fast", "settings": {"semantic_weight": 0.0, "scouts": 0}},
}  # fmt: skip

pytestmark = pytest.mark.miniature


@functools.cache
def scores(method: str, eta: float) -> torch.Tensor:
    """Of the method's images, by the reward that it is given."""
    pipe, reward = load_miniature(), load_reward("mini-pickscore")
    pipe.set_progress_bar_config(disable=True)
    made = load_method(method, **QUICK.get(method, {})).run(pipe, PROMPTS, reward, None, toys.seeds(*range(len(PROMPTS))), eta=eta, **CALL)
    with torch.no_grad():
        return reward.score(made.images, PROMPTS)


@pytest.mark.parametrize("name", QUICK)
def test_the_reward_rises(name):
    # DNO and FK-steering steer a stochastic chain: so must be what they are compared with.
    eta = 1.0 if name in ("dno", "fk-steering") else 0.0
    before, after = scores("plain", eta), scores(name, eta)
    assert after.mean() > before.mean() + 0.02, (before, after)
