"""Whether a pipeline, in its present state, can be steered; each refusal names the remedy."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Collection, Iterable, Mapping
from numbers import Integral
from typing import Any

import torch
from torch import nn

from ..config import MOST_STEPS, Config
from ..errors import ConfigError, PipelineError, did_you_mean
from ..parts import Argument, Code, Limit, Offload, Set, Setting
from .calls import loop_call
from .families import family_of
from .schedulers import kind_of

# Names under which diffusers registers hooks that reuse features across steps or change dtypes on the way.
_REUSING = ("cache", "pyramid_attention_broadcast", "fbc_", "taylorseer")
# What diffusers still takes out of its **kwargs.
_DEPRECATED = ("callback", "callback_steps")

# Arguments that tell a pipeline whose picture is one a prompt, and not a control's or a reference beside the prompt.
_OF_PICTURES = ("strength", "mask_image", "image_guidance_scale", "noise_level", "adapter_conditioning_scale")


def check_pipeline(pipe: Any, config: Config, semantic: bool) -> None:
    """Raises PipelineError where gradients would be missing, wrong, or silently zero."""
    if torch.is_inference_mode_enabled():
        raise PipelineError(
            "called under torch.inference_mode(), where there are no gradients: call it outside, or under torch.no_grad()"
        )
    denoiser = family_of(pipe).denoiser(pipe)
    place = "unet" if denoiser is getattr(pipe, "unet", None) else "transformer"
    kind_of(pipe.scheduler)
    if any(p.is_inference() for p in denoiser.parameters()):
        raise PipelineError(
            "the pipeline was loaded under torch.inference_mode(), so its weights can have no part in a gradient: load it outside"
        )
    if type(denoiser).__module__.startswith("peft."):
        raise PipelineError(
            f"the denoiser is wrapped in {type(denoiser).__name__}: use pipe.load_lora_weights or pipe.{place}.add_adapter, which "
            "leave the denoiser itself in place, or take the wrapper's get_base_model()"
        )
    hook = _hook(denoiser, _REUSING)
    if getattr(denoiser, "is_cache_enabled", False) or hook:
        raise PipelineError(
            f"the denoiser reuses features across steps ({hook or 'cache'}): call pipe.{place}.disable_cache() first"
        )
    if _hook(denoiser, ("layerwise_casting",)):
        raise PipelineError(
            "the denoiser casts its layers' weights on the way (layerwise casting), which has no gradient: load it in float16 or bfloat16"
        )
    if config.checkpointing and not getattr(denoiser, "_supports_gradient_checkpointing", True):
        raise PipelineError(
            Setting("checkpointing", True),
            f": diffusers cannot compute the blocks of {type(denoiser).__name__} again in the backward; leave it out: ",
            Setting("gradient", "straight-through"), " keeps nothing of the denoiser, and ", Limit("bytes", Code("...")), " bounds what is kept",
        )
    compiled = [m for m in denoiser.modules() if hasattr(m, "_orig_mod") or getattr(m, "_compiled_call_impl", None) is not None]
    if compiled and semantic:
        how = "load it anew without compile_repeated_blocks()"
        how = f"pipe.{place} = pipe.{place}._orig_mod after torch.compile" if compiled[0] is denoiser else how
        raise PipelineError(
            f"the denoiser is compiled, and hooks added afterwards are ignored, so its attention maps cannot be read: use the eager one ({how}) "
            "with DyMO(..., ", Setting("compile", True), "), which compiles it for you, or ", Set(Setting("semantic_weight", 0)),
        )
    # A transformer's maps are read behind its projections.
    if semantic and place == "unet" and any(getattr(m, "fused_projections", False) for m in denoiser.modules()):
        raise PipelineError(
            "the attention projections are fused: call pipe.unfuse_qkv_projections() first, or ", Set(Setting("semantic_weight", 0)),
        )


def check_arguments(
    pipe: type, given: Mapping[str, Any], own: Iterable[str] = (), withheld: Collection[str] = (), call: Any = None
) -> None:
    """Raises ConfigError on a name that a class of diffusers' pipelines does not know: its **kwargs would swallow it in silence.

    own: the names that the caller knows besides; withheld: those that it does not take, which are not advised. call: the `__call__`
    that is given them, where it is not that with the loop. A pipeline from elsewhere is believed: what its **kwargs are for, nobody can
    tell.
    """
    call = call or loop_call(pipe)
    steps = given.get("num_inference_steps")
    if steps is not None and (not isinstance(steps, Integral) or steps < 1):
        raise ConfigError(Argument("num_inference_steps", steps), ": give a whole number above 0")
    if steps is not None and int(steps) > MOST_STEPS:
        raise ConfigError(Argument("num_inference_steps", steps), f": give {MOST_STEPS} or fewer")
    if not call.__module__.startswith("diffusers."):
        return
    parameters = inspect.signature(call).parameters.values()
    known = [p.name for p in parameters if p.name != "self" and p.kind is not inspect.Parameter.VAR_KEYWORD]
    for name in given:
        if name in known or name in _DEPRECATED:
            continue
        if name in {field.name for field in dataclasses.fields(Config)}:
            raise ConfigError(Setting(name), " is a setting of DyMO(..., ", Setting(name, Code("...")), "), not an argument of the call")
        open_to = [one for one in known if one not in withheld]
        close = did_you_mean(name, [*own, *open_to])
        raise ConfigError(f"{pipe.__name__} has no argument {name!r}{close}: it takes {', '.join(open_to)}")


def check_steps(scheduler: Any, steps: Any) -> None:
    """Raises ConfigError on more steps than the scheduler has noise levels, where it takes each once: in diffusers' words that is
    an attribute of its configuration.
    """
    most = getattr(getattr(scheduler, "config", None), "num_train_timesteps", None)
    if not isinstance(steps, Integral) or most is None or steps <= most:
        return
    try:
        type(scheduler).from_config(scheduler.config).set_timesteps(steps)
    except (ValueError, TypeError) as error:
        if "train_timesteps" in str(error):
            raise ConfigError(
                Argument("num_inference_steps", steps),
                f": {type(scheduler).__name__} has {most} noise levels, and no more steps; give {most} or fewer",
            ) from error


def check_generator(given: Any) -> None:
    """Raises ConfigError on what is neither None, a torch.Generator, nor a list of them."""
    if given is None or all(isinstance(one, torch.Generator) for one in (given if isinstance(given, list) else [given])):
        return
    seed = given if isinstance(given, Integral) else 0
    raise ConfigError(Argument("generator", Code(f"{given!r}")), f": give torch.Generator().manual_seed({seed}), or a list with one of them an image")


def images_per_prompt(number: Any) -> int:
    """Of `num_images_per_prompt`; None is 1, as diffusers takes it. Raises ConfigError."""
    if number is None:
        return 1
    if not isinstance(number, Integral) or number < 1:
        raise ConfigError(Argument("num_images_per_prompt", number), ": give a whole number above 0")
    return int(number)


def check_copies(pipe: type, given: Mapping[str, Any], prompts: int) -> None:
    """Raises ConfigError where each of several prompts has a picture of its own, and is to have several images: diffusers' pipelines go through
    all pictures before the first one comes again, and through all images of a prompt before the next prompt's.
    """
    if prompts == 1 or not any(name in inspect.signature(loop_call(pipe)).parameters for name in _OF_PICTURES):
        return
    for name in ("image", "mask_image"):
        pictures: Any = given.get(name)
        several = isinstance(pictures, (list, tuple)) or getattr(pictures, "ndim", 0) == 4
        if several and len(pictures) == prompts:
            raise ConfigError(
                Argument(name), f": {pipe.__name__} would paint some of the several images of a prompt from another prompt's picture: give the "
                f"{prompts} prompts one by one, each with its picture"
            )


def check_offload(pipe: Any, config: Config, preference: bool, preview: bool) -> None:
    """Model offload evicts the denoiser when the VAE decodes, while the denoiser's graph is still needed."""
    offloaded = bool(getattr(pipe, "_all_hooks", None))
    if offloaded and preference and not preview and config.gradient != "straight-through":
        raise PipelineError(
            Offload("model"), " would move the denoiser away while its gradient is needed: give ", Setting("preview_vae"),
            " (an AutoencoderTiny), ", Set(Setting("gradient", "straight-through")), ", or use ", Offload("sequential"),
        )


def _hook(denoiser: nn.Module, parts: Iterable[str]) -> str:
    """The first of diffusers' hooks whose registered name has one of the parts; '' without one."""
    for module in denoiser.modules():
        registry = getattr(module, "_diffusers_hook", None)
        for name in getattr(registry, "hooks", {}):
            if any(part in name for part in parts):
                return name
    return ""
