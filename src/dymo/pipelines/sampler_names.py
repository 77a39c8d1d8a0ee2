"""The names under which people know samplers, as the classes of diffusers with their options. Imports no library.

Samplers by the names of k-diffusion and of web UIs, as the table in diffusers' documentation of its schedulers has them;
"DPM++ SDE" is the class that was ported from the sampler of this name.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from ..errors import ConfigError, did_you_mean


class Sampler(NamedTuple):
    """A class of diffusers, and what it is given over the configuration of the model's own scheduler."""

    kind: str
    options: dict[str, Any]


_SDE, _ODE = {"algorithm_type": "sde-dpmsolver++"}, {"algorithm_type": "dpmsolver++"}
SAMPLERS: dict[str, Sampler] = {
    "ddim": Sampler("DDIMScheduler", {}),
    "ddpm": Sampler("DDPMScheduler", {}),
    "euler": Sampler("EulerDiscreteScheduler", {}),
    "euler a": Sampler("EulerAncestralDiscreteScheduler", {}),
    "dpm++ 2m": Sampler("DPMSolverMultistepScheduler", {**_ODE, "solver_order": 2}),
    "dpm++ 2m sde": Sampler("DPMSolverMultistepScheduler", {**_SDE, "solver_order": 2}),
    "dpm++ 3m": Sampler("DPMSolverMultistepScheduler", {**_ODE, "solver_order": 3}),
    "dpm++ 3m sde": Sampler("DPMSolverMultistepScheduler", {**_SDE, "solver_order": 3}),
    "dpm++ sde": Sampler("DPMSolverSDEScheduler", {}),
    "dpm++ 2s": Sampler("DPMSolverSinglestepScheduler", {**_ODE, "solver_order": 2}),
    "dpm2": Sampler("KDPM2DiscreteScheduler", {}),
    "dpm2 a": Sampler("KDPM2AncestralDiscreteScheduler", {}),
    "deis": Sampler("DEISMultistepScheduler", {}),
    "unipc": Sampler("UniPCMultistepScheduler", {}),
    "pndm": Sampler("PNDMScheduler", {"skip_prk_steps": True}),
    "lms": Sampler("LMSDiscreteScheduler", {}),
    "heun": Sampler("HeunDiscreteScheduler", {}),
    "lcm": Sampler("LCMScheduler", {}),
    "tcd": Sampler("TCDScheduler", {}),
}
"""The names without spacing; "ancestral" may stand for "a", and "-", "_" or nothing between words."""
SPACINGS: dict[str, dict[str, Any]] = {
    "karras": {"use_karras_sigmas": True},
    "exponential": {"use_exponential_sigmas": True},
    "beta": {"use_beta_sigmas": True},
    "trailing": {"timestep_spacing": "trailing"},
    "sgm uniform": {"timestep_spacing": "trailing"},
    "zero snr": {"timestep_spacing": "trailing", "rescale_betas_zero_snr": True},
}
"""What may follow a name."""
SIGMAS = ("use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas")
HAS_SIGMAS = {
    "EulerDiscreteScheduler", "DPMSolverMultistepScheduler", "DPMSolverSDEScheduler", "DPMSolverSinglestepScheduler",
    "KDPM2DiscreteScheduler", "KDPM2AncestralDiscreteScheduler", "DEISMultistepScheduler", "UniPCMultistepScheduler",
    "LMSDiscreteScheduler", "HeunDiscreteScheduler",
}  # fmt: skip
"""The classes that take `SIGMAS`."""
HAS_ZERO_SNR = {
    "DDIMScheduler", "DDPMScheduler", "EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler", "DPMSolverMultistepScheduler",
    "UniPCMultistepScheduler", "LCMScheduler", "TCDScheduler",
}  # fmt: skip
NO_SPACING = {"DPMSolverSinglestepScheduler"}
"""The classes that take no `timestep_spacing`."""
_SAME = {"plms": "pndm", "dpm2ancestral": "dpm2a", "eulerancestral": "eulera"}


def read_sampler(name: str) -> Sampler:
    """What a name stands for: "dpm++ 2m karras", "DPM++ 2M SDE Karras", "dpmpp_2m", "euler a", or a class of diffusers.

    A class may be named without its "Scheduler"; one that is not in `SAMPLERS` is looked for in diffusers later. A
    well-known name without spacing means none of `SIGMAS`, whatever the model's own scheduler has. Raises ConfigError.
    """
    kinds = {_short(sampler.kind.removesuffix("Scheduler")): sampler.kind for sampler in SAMPLERS.values()}
    short = _short(name.strip().removesuffix("Scheduler"))
    if short in kinds and short not in _BY_SHORT:
        return Sampler(kinds[short], {})
    spacing = next((one for one in SPACINGS if short.endswith(_short(one)) and short not in _BY_SHORT), None)
    bare = short.removesuffix(_short(spacing)) if spacing else short
    bare = _SAME.get(bare, bare)
    if bare in _BY_SHORT:
        return _with_spacing(name, SAMPLERS[_BY_SHORT[bare]], spacing)
    if re.fullmatch(r"[A-Z]\w*Scheduler", name.strip()):
        return Sampler(name.strip(), {})
    like = did_you_mean(name.lower(), SAMPLERS)
    raise ConfigError(
        f"{name!r}{like}: choose one of {', '.join(SAMPLERS)}, where it has one with a spacing ({', '.join(SPACINGS)}) behind, "
        "as 'dpm++ 2m karras'; or the name of a diffusers class, as DDIMScheduler"
    )


def _with_spacing(name: str, sampler: Sampler, spacing: str | None) -> Sampler:
    kind, plain = sampler.kind, {one: False for one in SIGMAS} if sampler.kind in HAS_SIGMAS else {}
    asked = SPACINGS[spacing] if spacing else {}
    if (
        (set(asked) & set(SIGMAS) and kind not in HAS_SIGMAS)
        or ("rescale_betas_zero_snr" in asked and kind not in HAS_ZERO_SNR)
        or ("timestep_spacing" in asked and kind in NO_SPACING)
    ):
        raise ConfigError(
            f"{name!r}: {kind} of diffusers has no {spacing} spacing; leave it out, or take another sampler"
        )
    return Sampler(kind, {**sampler.options, **plain, **asked})


def _short(name: str) -> str:
    """ "DPM++ 2M Karras" and "dpmpp_2m_karras" alike."""
    return re.sub(r"[\s_-]", "", name.lower()).replace("dpmpp", "dpm++")


_BY_SHORT = {_short(name): name for name in SAMPLERS}


def sampler_name(scheduler: Any) -> str:
    """What other programs call this scheduler."""
    name = type(scheduler).__name__.removesuffix("Scheduler").removesuffix("Discrete")
    return "Euler a" if name == "EulerAncestral" else name
