"""Every scheduler of diffusers: how it is steered, or why it is not and what to use in its place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

from ...errors import PipelineError
from ...guidance.levels import PREDICTION_TYPES, Level
from ...parts import Part, Sampler
from . import levels
from .history import Fields
from .levels import Levels


def _one_each(count: int) -> list[int]:
    return [1] * count


def _in_pairs(count: int) -> list[int]:
    """The last step, which ends at no noise, is one evaluation, and so is one that the pipeline cuts in two."""
    return [2] * (count // 2) + [1] * (count % 2)


def _first_twice(count: int) -> list[int]:
    return [2] + [1] * (count - 2) if count > 1 else [1] * count


def _as_it_is(fields: Fields, _output: Tensor) -> Fields:
    return fields


def _no_arguments(_age: int) -> dict[str, Any]:
    return {}


def _never(_scheduler: Any) -> bool:
    return False


def _always(_scheduler: Any) -> bool:
    return True


def _by_eta(_scheduler: Any) -> Literal["eta"]:
    return "eta"


def _no_objection(_scheduler: Any) -> str:
    return ""


@dataclass(frozen=True)
class Kind:
    """A scheduler that can be steered.

    levels: between which noise levels a step goes. state: the attributes that `step` and `scale_model_input` change.
    calls: evaluations of each step, of so many in all; those of one step are one to whoever steers it.
    anew(fields, output): the fields for a step of first order, from noise drawn anew, at this output of the denoiser;
    settled: what remains of them after that step. arguments(age): more arguments of a step so many steps after; memory:
    after how many its history is as long as any.
    erased(scheduler, place, here, there): where the next step starts once more from the sample before this one and
    forgets a displacement of z_{t-1}, the factor at which to add it to that sample, `last_sample`; None elsewhere.
    draws: whether its step draws noise; "eta" where the call's eta says so.
    denoised: the second value that `step` returns is the clean latents that a pipeline decodes.
    ends: how many of its timesteps, the last, are where a step ends and none begins.
    objection: why a configuration of it cannot be steered, and what to set; "" where it can.
    """

    levels: Levels
    state: tuple[str, ...] = ("_step_index", "is_scale_input_called")
    calls: Callable[[int], list[int]] = _one_each
    anew: Callable[[Fields, Tensor], Fields] = _as_it_is
    settled: Callable[[Fields], Fields] = dict
    arguments: Callable[[int], dict[str, Any]] = _no_arguments
    memory: int = 1
    erased: Callable[[Any, int, Level, Level], float | None] | None = None
    draws: Callable[[Any], bool | Literal["eta"]] = _never
    denoised: bool = False
    ends: int = 0
    objection: Callable[[Any], str] = _no_objection


# Time travel: the noise drawn anew makes older predictions foreign, so a step from it is of first order.


def _without_older(fields: Fields, _output: Tensor) -> Fields:
    return {**fields, "lower_order_nums": 0}


def _without_corrector(fields: Fields, _output: Tensor) -> Fields:
    return {**fields, "lower_order_nums": 0, "last_sample": None}


def _without_derivatives(fields: Fields, _output: Tensor) -> Fields:
    return {**fields, "derivatives": []}


def _of_one_output(fields: Fields, output: Tensor) -> Fields:
    """PNDM has no way down to first order but a history in which every prediction is the present one."""
    return fields if fields["counter"] == 0 else {**fields, "ets": [output] * 3}


def _its_own_output(fields: Fields) -> Fields:
    return {**fields, "ets": fields["ets"][-1:]}


# Predictor-corrector pairs: the corrector computes z_t anew from the sample before, in which it is affine.


def _unipc(scheduler: Any, place: int, here: Level, there: Level) -> float | None:
    """d z_t / d last_sample is s / s' where the solver integrates z0', and a / a' where eps: its inverse, arXiv 2302.04867."""
    if place in scheduler.disable_corrector:
        return None
    return here.s / there.s if scheduler.predict_x0 else here.a / there.a


def _sa(scheduler: Any, place: int, here: Level, there: Level) -> float | None:
    """As UniPC's, but that noise of strength tau damps the sample by exp(-tau^2 h) besides, arXiv 2309.05019."""
    if not scheduler.predict_x0:
        return here.a / there.a
    tau = float(scheduler.tau_func(scheduler.timesteps[place]))
    log_snr = (there.a / there.s) / (here.a / here.s)
    return here.s / there.s * log_snr ** (tau**2)


# Configurations.


def _no_inner_solver(scheduler: Any) -> str:
    if scheduler.solver_p is None:
        return ""
    return "its solver_p is a scheduler of its own, whose state is not followed; make it with solver_p=None"


def _no_runge_kutta(scheduler: Any) -> str:
    if scheduler.config.skip_prk_steps:
        return ""
    return (
        "with skip_prk_steps=False it needs three predictions of earlier steps, and has no step of first order to repeat; use "
        "PNDMScheduler.from_config(pipe.scheduler.config, skip_prk_steps=True), as Stable Diffusion does"
    )


def _not_clipped(scheduler: Any) -> str:
    if not scheduler.config.clip_sample:
        return ""
    return "its own steps never clip, whatever clip_sample says; make it with clip_sample=False, which changes nothing else"


def _not_inverted(scheduler: Any) -> str:
    if not getattr(scheduler.config, "invert_sigmas", False):
        return ""
    return "invert_sigmas=True makes its sigma the share of the image, and its step takes it for that of the noise"


def _not_inverted_and_stochastic(scheduler: Any) -> str:
    found = _not_inverted(scheduler) if scheduler.config.stochastic_sampling else ""
    return found and f"{found}; set stochastic_sampling=False"


def _of_one_size(scheduler: Any) -> str:
    found = _not_inverted(scheduler)
    if not found and getattr(scheduler.config, "scale_factors", None):
        return "its scale_factors change the size of the latents in the run; set scale_factors=None"
    return found


_SOLVER = ("_step_index", "model_outputs", "lower_order_nums")
_CORRECTED = (*_SOLVER, "timestep_list", "last_sample")
_PAIR = ("_step_index", "sample", "dt", "prev_derivative")

SCHEDULERS: dict[str, Kind] = {
    "DDIMScheduler": Kind(levels.ddim, draws=_by_eta),
    "DDIMParallelScheduler": Kind(levels.ddim, draws=_by_eta),
    "CogVideoXDDIMScheduler": Kind(levels.ddim, objection=_not_clipped),
    "DDPMScheduler": Kind(levels.ddpm, draws=_always),
    "DDPMParallelScheduler": Kind(levels.ddpm, draws=_always),
    "EulerDiscreteScheduler": Kind(levels.exploding),
    "EulerAncestralDiscreteScheduler": Kind(levels.exploding, draws=_always),
    "DPMSolverMultistepScheduler": Kind(
        levels.solver, _SOLVER, anew=_without_older, draws=lambda scheduler: scheduler.config.algorithm_type.startswith("sde")
    ),
    "DEISMultistepScheduler": Kind(levels.solver, _SOLVER, anew=_without_older),
    "UniPCMultistepScheduler": Kind(
        levels.solver, (*_CORRECTED, "this_order"), anew=_without_corrector, erased=_unipc, objection=_no_inner_solver
    ),
    "SASolverScheduler": Kind(
        levels.solver, (*_CORRECTED, "last_noise", "this_predictor_order", "this_corrector_order"), anew=_without_corrector,
        erased=_sa, draws=_always,
    ),
    "PNDMScheduler": Kind(
        levels.pndm, ("ets", "counter", "cur_sample", "cur_model_output"), calls=_first_twice, anew=_of_one_output,
        settled=_its_own_output, objection=_no_runge_kutta,
    ),
    "LMSDiscreteScheduler": Kind(
        levels.exploding, ("_step_index", "is_scale_input_called", "derivatives"), anew=_without_derivatives,
        arguments=lambda age: {"order": age + 1}, memory=3,
    ),
    "HeunDiscreteScheduler": Kind(levels.exploding, _PAIR, calls=_in_pairs),
    "KDPM2DiscreteScheduler": Kind(levels.exploding, _PAIR, calls=_in_pairs),
    "KDPM2AncestralDiscreteScheduler": Kind(levels.exploding, _PAIR, calls=_in_pairs, draws=_always),
    "LCMScheduler": Kind(levels.lcm, draws=_always, denoised=True),
    "TCDScheduler": Kind(levels.tcd, draws=_by_eta),
    "SCMScheduler": Kind(levels.trig, draws=_always, denoised=True, ends=1),
    "FlowMatchEulerDiscreteScheduler": Kind(
        levels.flow, draws=lambda scheduler: scheduler.config.stochastic_sampling, objection=_not_inverted_and_stochastic
    ),
    "FlowMatchHeunDiscreteScheduler": Kind(levels.flow, _PAIR, calls=_in_pairs),
    "FlowMatchLCMScheduler": Kind(levels.flow, draws=_always, objection=_of_one_size),
    "LTXEulerAncestralRFScheduler": Kind(levels.flow, draws=lambda scheduler: scheduler.config.eta > 0),
}  # fmt: skip

_FLOWS = tuple(name for name, kind in SCHEDULERS.items() if kind.levels is levels.flow)


@dataclass(frozen=True)
class Refusal:
    """Why a scheduler cannot be steered. instead: the one to use in its place, "" where its models run with no other."""

    reason: str
    instead: str = "DPMSolverMultistepScheduler"


_TOKENS = Refusal("it samples discrete tokens, to which no gradient passes", "")
_EDM = Refusal(
    "its models run inside of EDM's preconditioning (sigma_data), so that their output is neither noise, v nor the clean latents",
    "",
)
_INVERSE = "it runs from the image to the noise"
_PIXELS = "it is made for unconditional models of pixels, with a loop of its own"

REFUSED: dict[str, Refusal] = {
    "DPMSolverSinglestepScheduler": Refusal(
        "its steps come in groups, each of which starts once more from the group's first sample: a displacement inside is thrown away"
    ),
    "DPMSolverSDEScheduler": Refusal(
        "it reads its noise off one Brownian path, so a step that is taken again would be given the same noise; "
        "algorithm_type='sde-dpmsolver++' draws it anew"
    ),
    "IPNDMScheduler": Refusal("it has a noise schedule of its own, whatever the model was trained with"),
    "CosineDPMSolverMultistepScheduler": Refusal("it is made for Stable Audio, whose models run inside of EDM's preconditioning", ""),
    "EDMEulerScheduler": _EDM,
    "EDMDPMSolverMultistepScheduler": _EDM,
    "DDIMInverseScheduler": Refusal(_INVERSE, "DDIMScheduler"),
    "DPMSolverMultistepInverseScheduler": Refusal(_INVERSE),
    "RePaintScheduler": Refusal("it goes back in time by itself, around a known region", "DDIMScheduler"),
    "UnCLIPScheduler": Refusal("it is made for the models of unCLIP (Karlo); diffusers itself asks for DDPM in its place", "DDPMScheduler"),
    "DDPMWuerstchenScheduler": Refusal("it is made for Wuerstchen and Stable Cascade, whose image comes from a chain of three models", ""),
    "CogVideoXDPMScheduler": Refusal("its step is given the prediction before, by pipelines of its own", "CogVideoXDDIMScheduler"),
    "CMStochasticIterativeScheduler": Refusal("it is made for consistency models of pixels, without a prompt", ""),
    "ConsistencyDecoderScheduler": Refusal("it belongs to a decoder of latents (ConsistencyDecoderVAE), not to a denoiser", ""),
    "ScoreSdeVeScheduler": Refusal(_PIXELS, ""),
    "ScoreSdeVpScheduler": Refusal(_PIXELS, ""),
    "KarrasVeScheduler": Refusal(_PIXELS, ""),
    "FlowMapEulerDiscreteScheduler": Refusal("it is made for flow maps of video models (AnyFlow), which are told where a step ends", ""),
    "PiflowScheduler": Refusal("it is made for distilled video models (Kandinsky 6), whose output is a policy of several predictions", ""),
    "HeliosScheduler": Refusal("it is made for a video model (Helios) and changes the size of its latents in the run", ""),
    "HeliosDMDScheduler": Refusal("it is made for a video model (Helios) and changes the size of its latents in the run", ""),
    "MiniMaxH3Scheduler": Refusal("it is made for a video model (MiniMax-H3)", ""),
    "RFD4ProteinaScheduler": Refusal("it is made for protein structures, and its models make no images", ""),
    "AmusedScheduler": _TOKENS,
    "VQDiffusionScheduler": _TOKENS,
    "BlockRefinementScheduler": _TOKENS,
    "EntropyBoundScheduler": _TOKENS,
    "DiscreteDDIMScheduler": _TOKENS,
}  # fmt: skip


def kind_of(scheduler: Any) -> Kind:
    """How a scheduler is steered, by the nearest class that is known. Raises PipelineError with the reason and a remedy."""
    name = type(scheduler).__name__
    known = [base.__name__ for base in type(scheduler).__mro__]
    near = next((one for one in known if one in SCHEDULERS or one in REFUSED), None)
    if near is None:
        raise PipelineError(
            f"{name} cannot be steered: diffusers has no scheduler of this name, and it derives from none that is known here. ",
            _instead("DPMSolverMultistepScheduler"),
        )
    if near in REFUSED:
        refusal = REFUSED[near]
        raise PipelineError(f"{name} cannot be steered: {refusal.reason}. ", _instead(refusal.instead))
    kind = SCHEDULERS[near]
    objection = kind.objection(scheduler) or _prediction_objection(scheduler)
    if objection:
        raise PipelineError(f"{name} cannot be steered as it is configured: {objection}")
    return kind


def draws_noise(scheduler: Any, given: Mapping[str, Any]) -> bool:
    """Whether the steps of a call with the arguments `given` draw noise."""
    draws = kind_of(scheduler).draws(scheduler)
    return bool(given.get("eta") if draws == "eta" else draws)


def evaluations(scheduler: Any, steps: int) -> int:
    """Of the denoiser, in a run of so many steps."""
    calls = kind_of(scheduler).calls
    return next(count for count in range(steps, 2 * steps + 1) if len(calls(count)) == steps)


def _instead(name: str) -> tuple[str | Part, ...]:
    if not name:
        return ("Its models run with no other; of diffusers' other samplers most can be steered (docs/models.md)",)
    return "Use another, e.g. ", Sampler(name), "; docs/models.md lists them"


def is_flow(scheduler: Any) -> bool:
    """Whether the levels are those of flow matching, a = 1 - s."""
    by_name = any(base.__name__ in _FLOWS for base in type(scheduler).__mro__)
    return by_name or bool(getattr(scheduler.config, "use_flow_sigmas", False))


def prediction_of(scheduler: Any) -> str:
    """What the denoiser predicts, one of `PREDICTION_TYPES`; schedulers of flow matching alone do not say it.

    `invert_sigmas` (OmniGen's) counts from noise to image, and so does the velocity.
    """
    velocity = "reversed_flow_prediction" if getattr(scheduler.config, "invert_sigmas", False) else "flow_prediction"
    return getattr(scheduler.config, "prediction_type", velocity)


def _prediction_objection(scheduler: Any) -> str:
    kind, flow = prediction_of(scheduler), is_flow(scheduler)
    if kind not in PREDICTION_TYPES:
        return f"prediction_type={kind!r} is not one of {', '.join(PREDICTION_TYPES)}"
    if kind == "flow_prediction" and not flow:
        return "prediction_type='flow_prediction' needs the levels of flow matching: set use_flow_sigmas=True"
    if kind == "v_prediction" and flow:
        return (
            "prediction_type='v_prediction' is defined on variance-preserving levels, not on those of use_flow_sigmas=True: a flow "
            "model has prediction_type='flow_prediction'"
        )
    return ""
