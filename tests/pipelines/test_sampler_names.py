"""The names of samplers: what they stand for, against diffusers' own classes."""

import inspect
import re
from pathlib import Path

import diffusers
import pytest

from dymo.errors import ConfigError
from dymo.pipelines.sampler_names import HAS_SIGMAS, HAS_ZERO_SNR, NO_SPACING, SAMPLERS, SIGMAS, SPACINGS, read_sampler


@pytest.mark.parametrize(
    "name, kind, options",
    [
        ("DPM++ 2M Karras", "DPMSolverMultistepScheduler", {"algorithm_type": "dpmsolver++", "use_karras_sigmas": True}),
        ("dpmpp_2m_sde_exponential", "DPMSolverMultistepScheduler",
         {"algorithm_type": "sde-dpmsolver++", "use_exponential_sigmas": True, "use_karras_sigmas": False}),
        ("dpm++ 3m sde", "DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++", "solver_order": 3}),
        ("dpm++ sde", "DPMSolverSDEScheduler", {}),
        ("euler a", "EulerAncestralDiscreteScheduler", {}),
        ("euler-ancestral", "EulerAncestralDiscreteScheduler", {}),
        ("euler_ancestral trailing", "EulerAncestralDiscreteScheduler", {"timestep_spacing": "trailing"}),
        ("Euler Beta", "EulerDiscreteScheduler", {"use_beta_sigmas": True, "use_karras_sigmas": False}),
        ("DPM2 a Karras", "KDPM2AncestralDiscreteScheduler", {"use_karras_sigmas": True}),
        ("ddim", "DDIMScheduler", {}),
        ("ddim zero snr", "DDIMScheduler", {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}),
        ("UniPC SGM Uniform", "UniPCMultistepScheduler", {"timestep_spacing": "trailing"}),
        ("uni_pc", "UniPCMultistepScheduler", {}),
        ("PLMS", "PNDMScheduler", {"skip_prk_steps": True}),
        ("lcm", "LCMScheduler", {}),
        ("EulerDiscrete", "EulerDiscreteScheduler", {}),
        ("DPMSolverMultistepScheduler", "DPMSolverMultistepScheduler", {}),
        ("SomethingNewScheduler", "SomethingNewScheduler", {}),
    ],
)  # fmt: skip
def test_a_name_is_a_class_with_options(name, kind, options):
    found = read_sampler(name)
    assert found.kind == kind and options.items() <= found.options.items()
    if name.endswith("Scheduler") or name == "EulerDiscrete":
        assert not found.options  # a class means what the model's own configuration says


@pytest.mark.parametrize(
    "name, said",
    [
        ("dpm", "'dpm' (did you mean 'dpm2'?): choose one of ddim, ddpm, euler, euler a, dpm++ 2m"),
        ("euler a karras", "EulerAncestralDiscreteScheduler of diffusers has no karras spacing; leave it out"),
        ("deis zero snr", "DEISMultistepScheduler of diffusers has no zero snr spacing"),
        ("dpm++ 2s trailing", "no trailing spacing"),
        ("karras", "choose one of"),
        ("", "choose one of"),
        ("scheduler", "choose one of"),
    ],
)
def test_what_is_no_name_is_refused(name, said):
    with pytest.raises(ConfigError) as raised:
        read_sampler(name)
    assert said in str(raised.value)


def test_the_options_are_those_of_diffusers_classes():
    for sampler in SAMPLERS.values():
        takes = set(inspect.signature(getattr(diffusers, sampler.kind)).parameters)
        if takes == {"args", "kwargs"}:  # diffusers' placeholder where a library, torchsde, is not installed
            continue
        assert sampler.options.keys() <= takes
        assert (set(SIGMAS) <= takes) is (sampler.kind in HAS_SIGMAS), sampler.kind
        assert ("rescale_betas_zero_snr" in takes) is (sampler.kind in HAS_ZERO_SNR), sampler.kind
        assert ("timestep_spacing" not in takes) is (sampler.kind in NO_SPACING), sampler.kind


def test_no_spacing_is_part_of_a_name():
    """So that every name is read as itself, and with every spacing behind it as that."""
    for name in SAMPLERS:
        assert read_sampler(name).kind == SAMPLERS[name].kind
        for spacing in SPACINGS:
            try:
                assert read_sampler(f"{name} {spacing}").kind == SAMPLERS[name].kind
            except ConfigError as error:
                assert f"has no {spacing} spacing" in str(error)


def test_the_page_has_every_name_with_its_class_and_options():
    page = (Path(__file__).parents[2] / "docs" / "cli.md").read_text(encoding="utf-8")

    def said(options):
        return ", ".join(f"`{name}={value!r}`" for name, value in options.items())

    rows = re.findall(r"^\| (\S[^|]*) \| `(\w+)` \| ([^|]*)\|$", page, re.MULTILINE)
    kinds = {name: (f"{kind}Scheduler", options.strip()) for name, kind, options in rows}
    assert kinds == {name: (sampler.kind, said(sampler.options)) for name, sampler in SAMPLERS.items()}
    for name, options in SPACINGS.items():
        assert f"| {name} | {said(options)} |" in page
