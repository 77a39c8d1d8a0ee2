"""On the trained miniature each method improves what it optimises, over the plain picture of the same seed."""

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
