import math

import pytest
import torch

from dymo.config import PRESETS, Config
from dymo.guidance.levels import Level
from dymo.guidance.loop import Timestep
from dymo.guidance.schedule import change, stage, weights


def at(t=0.0, done=0.0):
    return Timestep(0, 1, t, Level(1.0, 0.0), Level(1.0, 0.0), done)


def test_the_paper_s_stages_by_noise_level():
    paper = PRESETS["paper"]
    assert [stage(paper, at(t=t)) for t in (999, 800, 799, 500, 499, 1)] == [
        "semantic", "semantic", "mixed", "mixed", "preference", "preference",
    ]  # fmt: skip


def test_a_flow_s_borders_move_with_its_resolution_unless_they_are_told_not_to():
    now = Timestep(0, 1, 850.0, Level(0.15, 0.85), Level(0.2, 0.8), 0.0, t_64=700.0)
    assert stage(Config(), now) == "mixed"
    assert stage(Config(resolution_shift=False), now) == "semantic"


def test_the_reference_s_stages_by_step_of_fifty():
    stages = [stage(PRESETS["official-sdxl"], at(done=i / 50)) for i in range(50)]
    assert stages == ["semantic"] * 8 + ["mixed"] * 17 + ["preference"] * 21 + ["unguided"] * 4


def test_change_by_hand_per_sample():
    before = torch.tensor([[3.0, 4.0], [1.0, 0.0]]).view(2, 1, 1, 2)
    after = torch.tensor([[3.0, 9.0], [1.0, 0.0]]).view(2, 1, 1, 2)
    torch.testing.assert_close(change(after, before, "none"), torch.tensor([1.0, 0.0]))
    assert change(after, None, "none").isinf().all()


def test_instance_normalised_change_ignores_brightness_and_contrast():
    z = torch.randn(2, 4, 8, 8)
    assert change(3 * z + 2, z, "instance").max() < 1e-4
    assert change(3 * z + 2, z, "none").min() > 1


def test_the_dynamic_weight():
    config = Config(k=2.0, semantic_weight=10.0)
    delta = torch.tensor([0.0, 0.5, float("inf")])
    w = torch.tensor([0.0, 1 - math.exp(-1.0), 1.0])
    w_A, w_R = weights(config, "mixed", delta)
    torch.testing.assert_close(w_A, 10 * w)
    torch.testing.assert_close(w_R, 1 - w)
    for now, expected in (("semantic", (10.0, 0.0)), ("preference", (0.0, 1.0)), ("unguided", (0.0, 0.0))):
        assert tuple(x[1].item() for x in weights(config, now, delta)) == pytest.approx(expected)
