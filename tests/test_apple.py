"""Apple's devices (MPS), where there is none: torch's own list says for which devices it has each operation of a run."""

import flows
import pytest
import tiny
import tiny_rewards
import torch
import torch.nn.functional as F
import torchgen
import yaml
from torch.utils._python_dispatch import TorchDispatchMode

from dymo import Budget, DyMO, load_miniature, load_reward
from dymo.methods import load_method
from dymo.rewards.clip import CLIPReward
from dymo.rewards.image_reward import ImageReward
from dymo.rewards.preprocess import longest_side_pad
from dymo.rewards.step_aware import StepAwareReward

# On other devices scaled_dot_product_attention chooses other operations.
CHOSEN_BY_DEVICE = ("_scaled_dot_product_flash_attention_for_cpu",)


class Operations(TorchDispatchMode):
    """Which are called inside, as torch's list names them: "add.Tensor"."""

    def __init__(self):
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name, overload = function._schema.name, function._schema.overload_name
        if name.startswith("aten::"):
            self.names.add(name.removeprefix("aten::") + (f".{overload}" if overload else ""))
        return function(*args, **(kwargs or {}))


@pytest.fixture(scope="module")
def without_kernel():
    """The operations of a set that torch has for CPUs and not for MPS."""
    path = f"{torchgen.__path__[0]}/packaged/ATen/native/native_functions.yaml"
    with open(path, encoding="utf-8") as file:
        listed = {entry["func"].partition("(")[0]: entry for entry in yaml.load(file, yaml.CSafeLoader)}

    def kernels(name):
        entry = listed[name]
        if "structured_delegate" in entry:
            return kernels(entry["structured_delegate"])
        return {key.strip() for keys in entry.get("dispatch", ["CompositeImplicit"]) for key in keys.split(",")}

    def missing(names):
        devices = {name: kernels(name) for name in names if not name.startswith(CHOSEN_BY_DEVICE)}
        return {name for name, found in devices.items() if "MPS" not in found and not any(key.startswith("Composite") for key in found)}

    return missing


def rewards():
    """One of each kind of reward model, whose images are resized on the way."""
    return {
        "clip": CLIPReward(tiny_rewards.clip(), tiny.tokenizer(), "clip"),
        "padded": CLIPReward(tiny_rewards.clip(), tiny.tokenizer(), "padded", prepare=longest_side_pad),
        "step-aware": StepAwareReward(tiny_rewards.step_aware(), tiny.tokenizer(), "step-aware"),
        "image-reward": ImageReward(tiny_rewards.image_reward(), tiny_rewards.bert_tokenizer(), "image-reward"),
    }


@pytest.mark.parametrize("make", [tiny.sd, tiny.sdxl, flows.sd3, flows.flux, flows.qwen_image, flows.z_image], ids=lambda make: make.__name__)
def test_a_guided_run_needs_no_operation_that_apple_s_devices_lack(make, without_kernel):
    aligner = DyMO(tiny.brightness, preset="fast", borders_by="progress", borders=(0.3, 0.6), views=2, scouts=1, few_steps="never")
    with Operations() as operations:
        aligner(make(), tiny.PROMPT, **tiny.SMALL)
    assert len(operations.names) > 40 and not without_kernel(operations.names)


def test_the_list_tells_what_they_lack(without_kernel):
    images = torch.rand(1, 3, 8, 8, requires_grad=True)
    with Operations() as operations:
        F.interpolate(images, (4, 4), mode="bilinear", antialias=True).sum().backward()
    assert without_kernel(operations.names) == {"_upsample_bilinear2d_aa_backward"}


@pytest.mark.parametrize("name", rewards())
def test_a_reward_and_its_gradient_need_none_either(name, without_kernel):
    images = torch.rand(1, 3, 40, 24, requires_grad=True)
    with Operations() as operations:
        rewards()[name].score(images, [tiny.PROMPT], 500.0).sum().backward()
    assert images.grad is not None and not without_kernel(operations.names)


@pytest.mark.miniature
@pytest.mark.parametrize("name", ["fk-steering", "reno", "freedom", "attend-excite", "embedding"])
def test_the_miniature_with_the_other_methods_needs_none_either(name, without_kernel):
    with Operations() as operations:
        load_method(name).run(
            load_miniature(), tiny.PROMPT, load_reward("mini-pickscore"), num_inference_steps=2, height=64, width=64,
            budget=Budget(evaluations=4), generator=torch.Generator().manual_seed(0),
        )
    assert not without_kernel(operations.names)
