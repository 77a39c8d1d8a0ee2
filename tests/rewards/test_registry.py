"""What has a name, and what is done with what has none."""

import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import tiny
import torch
from transformers import (
    AutoModelForImageTextToText,
    CLIPConfig,
    CLIPModel,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
    Qwen2_5_VLConfig,
)

from dymo import RewardError, load_reward, plugins
from dymo.miniature.judge import Seen
from dymo.rewards import SPECS, Reward, Spec, spec_of
from dymo.rewards.clip import vit_h_config
from dymo.rewards.head import AffineHead
from dymo.rewards.image_reward import ImageRewardModel, Sizes
from dymo.rewards.registry import OWN
from dymo.rewards.step_aware import StepAwareCLIP


def vit_l() -> dict:
    return {
        "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16, "patch_size": 14,
        "projection_dim": 768,
    }  # fmt: skip


def qwen() -> dict:
    """Qwen2.5-VL-7B's."""
    text = {
        "hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28, "num_attention_heads": 28,
        "num_key_value_heads": 4, "vocab_size": 152064,
    }  # fmt: skip
    vision = {"depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16, "out_hidden_size": 3584}
    return {"text_config": text, "vision_config": vision, "tie_word_embeddings": False}


FULL = {
    "vqascore": lambda: AutoModelForImageTextToText.from_config(Qwen2_5_VLConfig(**qwen())),
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


@pytest.mark.miniature
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_r1_the_precision_asked_for_reaches_every_tower(dtype):
    images = torch.rand(1, 3, 80, 64)
    for name in ("mini-pickscore", "mini-hps", "mini-imagereward", "mini-aesthetic", "mini-step-aware"):
        reward = load_reward(name, dtype=dtype)
        parts = getattr(reward, "tower", getattr(reward, "model", reward)).parameters()
        assert {p.dtype for p in parts} == {dtype}, name
        assert reward.score(images, ["a red apple"]).dtype == (
            torch.float64 if dtype == torch.float64 else torch.float32
        )


def test_every_row_is_whole():
    assert set(FULL) <= set(SPECS)
    for name, spec in SPECS.items():
        assert spec.name == name and spec.measures and spec.licence
        assert spec.typical[0] < spec.typical[1] and 0 < spec.scale < spec.typical[1] - spec.typical[0]
        assert spec.reads_timestep == ("step-aware" in name)
        assert (name in OWN) == bool(spec.source and spec.file)
    assert SPECS["aesthetic"].guides == "with another"


def test_without_the_hub_those_of_installed_packages_are_named(monkeypatch):
    def unreachable(*_, **__):
        raise OSError("We couldn't connect to 'https://huggingface.co'")

    monkeypatch.setattr(CLIPModel, "from_pretrained", unreachable)
    with pytest.raises(RewardError, match=r"couldn't connect.*Installed here: mini-pickscore"):
        load_reward("pickscore")
    with pytest.raises(RewardError, match="couldn't connect") as told:
        load_reward("pickscore", source="somewhere/else")
    assert "mini-pickscore" not in str(told.value)


def test_rewards_name_no_other_room_of_the_package():
    """Whoever registers in the group is found by `dymo.plugins`; the layers below torch and transformers know none."""
    import dymo.rewards

    folder = Path(dymo.rewards.__file__).parent
    assert not [path.name for path in folder.glob("*.py") if "miniature" in path.read_text()]
    code = "import sys, dymo.rewards; assert not [m for m in sys.modules if 'miniature' in m]; print('mini-hps' in dymo.rewards.SPECS)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "True\n"


@pytest.mark.miniature
@pytest.mark.parametrize("name", ["mini-pickscore", "mini-hps"])
def test_the_miniature_s_are_rewards(name):
    reward = load_reward(name)
    assert isinstance(reward, Reward) and reward.scale == SPECS[name].scale and reward.name == name
    parts = getattr(reward, "model", reward).parameters()
    assert sum(p.numel() for p in parts) / 1e6 == pytest.approx(SPECS[name].millions, abs=0.05)


@pytest.mark.miniature
def test_c6_the_judge_is_a_reward_that_measures_only_and_reads_places():
    judge = load_reward("judge")
    assert not judge.differentiable and judge.score(torch.rand(1, 3, 80, 80), ["a red apple"]).tolist() == [0.0]
    seen = [Seen("shirt", "red", (0.5, 0.2)), Seen("tree", "green", (0.5, 0.8))]
    judge.model.read = lambda images: [seen] * len(images)
    prompts = [
        "a red shirt above a green tree",
        "a red shirt below a green tree",
        "a red shirt and a green tree",
        "a blue tree",
    ]
    assert judge.score(torch.rand(4, 3, 64, 64), prompts).tolist() == [1.0, 0.0, 1.0, 0.0]  # S4
    for prompt in ("a castle", "a red castle", "a red shirt and a green tree and a blue car"):
        with pytest.raises(RewardError, match="the judge cannot read .*captions say one to 3 things"):
            judge.score(torch.rand(1, 3, 64, 64), [prompt])


OWN_REWARD = """
from dymo.rewards import BlackBoxReward, FunctionReward, Spec

def warmth(images, prompts):
    return images[:, 0].mean((1, 2))

class Kind:
    pass

number = 3
box = BlackBoxReward(lambda images, prompts: [2.0] * len(images), "box")
spec = Spec("spec", lambda spec, source, dtype, **settings: FunctionReward(lambda images, prompts: images.mean((1, 2, 3)) * len(str(source))))
"""


def test_c6_an_own_reward_is_a_reference(tmp_path):
    file, images = tmp_path / "mine.py", torch.full((2, 3, 4, 4), 0.5)
    file.write_text(OWN_REWARD)
    assert load_reward(f"{file}:warmth").score(images, ["a", "b"]).tolist() == [0.5, 0.5]
    assert spec_of(f"{file}:box").guides == "measure only"
    assert load_reward(f"{file}:spec", source=tmp_path).score(images, ["a", "b"])[0] == 0.5 * len(str(tmp_path))
    both = load_reward({f"{file}:warmth": 2.0, f"{file}:box": 1.0})
    assert both.score(images, ["a", "b"]).tolist() == [3.0, 3.0]
    for name, said in (
        ("Kind", r"Kind is a class: give one of its objects, as Kind\(...\)"),
        ("number", "3 is no reward"),
        ("lost", r"there is no 'lost'.*there: .*warmth"),
    ):
        with pytest.raises(RewardError, match=said):
            spec_of(f"{file}:{name}")
    with pytest.raises(RewardError, match="is a reward in Python, which no source="):
        load_reward(f"{file}:warmth", source=tmp_path)


def test_c6_an_installed_package_s_reward_has_its_entry_point_s_name(tmp_path, monkeypatch):
    (tmp_path / "their_package.py").write_text(OWN_REWARD)
    monkeypatch.syspath_prepend(tmp_path)
    points = [
        EntryPoint("theirs", "their_package:spec", "dymo.rewards"),
        EntryPoint("broken", "nothing_here:x", "dymo.rewards"),
    ]
    monkeypatch.setattr(plugins, "entry_points", lambda group, name=None: [p for p in points if name in (None, p.name)])
    assert {"theirs", "broken", "pickscore"} <= set(SPECS) and SPECS["theirs"].name == "theirs"
    assert load_reward("theirs", source=tmp_path).score(torch.ones(1, 3, 2, 2), ["a"]).item() == len(str(tmp_path))
    with pytest.raises(RewardError, match=r"the reward broken \(nothing_here:x\): .*No module named 'nothing_here'"):
        load_reward("broken")


def test_a_loader_s_own_exception_is_a_reward_error():
    def fails(spec, source, dtype, **settings):
        raise ZeroDivisionError("division by zero")

    with pytest.raises(RewardError, match="x: cannot be loaded from 'there': division by zero"):
        load_reward(Spec("x", fails, source="there"))
    with pytest.raises(RewardError, match="^x: cannot be loaded: division by zero$"):  # of a package's own there is no place to name
        load_reward(Spec("x", fails))


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
