"""What has a name, and what is done with what has none."""

import pytest
import tiny
import torch
from transformers import CLIPConfig, CLIPModel, CLIPVisionConfig, CLIPVisionModelWithProjection

from dymo import RewardError, load_reward
from dymo.rewards import SPECS, Reward
from dymo.rewards.clip import vit_h_config
from dymo.rewards.head import AffineHead
from dymo.rewards.image_reward import ImageRewardModel, Sizes
from dymo.rewards.step_aware import StepAwareCLIP


def vit_l() -> dict:
    return {
        "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16, "patch_size": 14,
        "projection_dim": 768,
    }  # fmt: skip


FULL = {
    "pickscore": lambda: CLIPModel(vit_h_config()),
    "hpsv2": lambda: CLIPModel(vit_h_config()),
    "hpsv2.1": lambda: CLIPModel(vit_h_config()),
    "step-aware-sd15": lambda: StepAwareCLIP(vit_h_config()),
    "step-aware-sdxl": lambda: StepAwareCLIP(vit_h_config()),
    "imagereward": lambda: ImageRewardModel(Sizes()),
    "aesthetic": lambda: torch.nn.ModuleList(
        [CLIPVisionModelWithProjection(CLIPVisionConfig(**vit_l())), AffineHead(768)]
    ),
    "clipscore": lambda: CLIPModel(
        CLIPConfig(
            text_config={"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12},
            vision_config=vit_l(),
            projection_dim=768,
        )
    ),
}


@pytest.mark.parametrize("name", FULL)
def test_the_sizes_are_those_of_the_models(name):
    with torch.device("meta"):
        count = sum(p.numel() for p in FULL[name]().parameters())
    assert SPECS[name].millions == pytest.approx(count / 1e6, abs=0.05)


def test_every_row_is_whole():
    assert set(FULL) <= set(SPECS)
    for name, spec in SPECS.items():
        assert spec.name == name and spec.measures and spec.licence
        assert spec.typical[0] < spec.typical[1] and 0 < spec.scale < spec.typical[1] - spec.typical[0]
        assert spec.reads_timestep == ("step-aware" in name)
        assert name.startswith("mini-") or (spec.source and spec.file)
    assert SPECS["aesthetic"].guides == "with another"


def test_without_the_hub_the_one_in_the_package_is_named(monkeypatch):
    def unreachable(*_, **__):
        raise OSError("We couldn't connect to 'https://huggingface.co'")

    monkeypatch.setattr(CLIPModel, "from_pretrained", unreachable)
    with pytest.raises(RewardError, match=r"couldn't connect.*reward='mini-pickscore' is in the package"):
        load_reward("pickscore")
    with pytest.raises(RewardError, match="couldn't connect") as told:
        load_reward("pickscore", source="somewhere/else")
    assert "mini-pickscore" not in str(told.value)


@pytest.mark.miniature
@pytest.mark.parametrize("name", ["mini-pickscore", "mini-hps"])
def test_the_miniature_s_are_rewards(name):
    reward = load_reward(name)
    assert isinstance(reward, Reward) and reward.scale == SPECS[name].scale and reward.name == name
    parts = getattr(reward, "model", reward).parameters()
    assert sum(p.numel() for p in parts) / 1e6 == pytest.approx(SPECS[name].millions, abs=0.05)


def test_what_is_not_there():
    with pytest.raises(
        RewardError, match=r"'prickscore' \(did you mean 'pickscore'\?\): choose 'pickscore', 'step-aware-sd15'"
    ):
        load_reward("prickscore")


def test_a_function_is_a_reward():
    reward = load_reward(tiny.brightness)
    assert reward.name == "brightness"
    torch.testing.assert_close(reward.score(torch.ones(2, 3, 4, 4), ["a", "b"]), torch.ones(2))
    timed = load_reward(lambda images, prompts, timestep: images.mean((1, 2, 3)) * timestep)
    torch.testing.assert_close(timed.score(torch.ones(1, 3, 4, 4), ["a"], 500.0), torch.tensor([500.0]))
