"""FreeDoM: the reward's gradient in the middle of the trajectory, with time travel (Yu et al., arXiv 2303.09833).

As in the comparison that DyMO's paper makes, the loss is minus the reward, in place of FreeDoM's own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from ..budget import Allotment
from ..errors import ConfigError, PipelineError
from ..guidance.levels import renoise
from ..guidance.loop import PREDICTION, Loop, Need, Timestep, pick, put
from ..guidance.step import norms, per_sample, residual_length, usable
from ..parts import Argument, OfMethod
from ..pipelines.decode import preview_of
from ..pipelines.families import arguments, family_of
from ..pipelines.loop import PipelineLoop
from .contract import Result
from .handed import follows_loop
from .run import Run


@dataclass(frozen=True)
class FreeDoM:
    """z_{t-1} -= rho g, rho = length s ||eps_cond - eps_uncond|| / ||g||, s the guidance scale.

    guided: from and to, as fractions of the steps; repeated: from where each step is taken `times` times. preview_vae: decodes the
    predictions in place of the pipeline's own VAE; an AutoencoderTiny, or its folder or hub id.
    """

    needs_reward: ClassVar[bool] = True
    follows_gradient: ClassVar[bool] = True
    length: float = 0.2
    guided: tuple[float, float] = (0.3, 0.7)
    repeated: float = 0.4
    times: int = 3
    preview_vae: Any = None

    def __post_init__(self) -> None:
        if not 0 <= self.guided[0] < self.guided[1]:
            raise ConfigError(OfMethod("guided", self.guided), ": give two fractions of the steps from 0 on, the first one less, as (0.3, 0.7)")
        if self.times < 1:
            raise ConfigError(OfMethod("times", self.times), ": give a whole number from 1 on")

    @follows_loop
    def run(self, pipe, prompts, reward=None, budget=None, generator=None, **pipeline_kwargs: Any) -> Result:
        family, given = family_of(pipe), arguments(pipe, {"prompt": prompts, **pipeline_kwargs})
        true = "true_cfg_scale" in given  # beside it, guidance_scale is an input of the denoiser
        name = "true_cfg_scale" if true else "guidance_scale"
        scheduled = given.get("guidance_schedule") is not None  # a scale for each step
        if name not in given:  # a guider of the pipeline's says
            if not family.guided(pipe, given):
                raise ConfigError(f"FreeDoM's step is a part of the guidance, and {type(pipe).__name__} has no guider that guides this call")
        elif not scheduled and (not (given.get(name) or 0) > family.unguided_scale or (true and not family.guided(pipe, given))):
            also = (" and ", Argument("negative_prompt")) if true else ""
            least = f": FreeDoM's step is a part of the guidance; give more than {family.unguided_scale:g}"
            raise ConfigError(Argument(name, given.get(name)), least, also)
        for cut in ("cfg_trunc_ratio", "cfg_truncation"):
            if given.get(cut) is not None and given[cut] < self.guided[1]:
                raise ConfigError(
                    Argument(cut, given[cut]), " leaves steps without guidance, of which FreeDoM's step is a part: give ",
                    Argument(cut, self.guided[1]), " or more",
                )
        # A layer's skipping has a scale of its own.
        if reason := family.unshared(pipe, given | dict.fromkeys(("skip_guidance_layers", "cfg_trunc_ratio"))):
            raise PipelineError(f"FreeDoM's step is as long as the guidance, whose length cannot be told, since {reason}: take another method")
        with Run(pipe, prompts, reward, budget, generator, pipeline_kwargs) as run:
            run.need_gradient()
            method = replace(self, preview_vae=preview_of(self.preview_vae, pipe))

            def steps(loop: PipelineLoop) -> None:
                if not family.guided(pipe, given):
                    raise PipelineError(
                        f"FreeDoM's step is a part of the guidance, whose scale {type(pipe).__name__} gives to its denoiser: take another method"
                    )
                if not any(self.pushes(now) for now in loop.timesteps):
                    done = ", ".join(f"{now.done:.3g}" for now in loop.timesteps[:9])
                    raise ConfigError(OfMethod("guided", self.guided), f": no step of this run begins between these, but at {done}")
                method.steps(loop, run, lambda: family.scale(pipe, given), Allotment(run.budget))

            return run.result(run.generate(steps))

    def pushes(self, now: Timestep) -> bool:
        """Whether the latents are pushed at this step."""
        # A small tolerance, since 3 / 10 is not exact in binary.
        return self.guided[0] - 1e-9 <= now.done < self.guided[1] - 1e-9

    def steps(self, loop: Loop, run: Run, scale: Callable[[], float], allotment: Allotment) -> None:
        """Algorithm 2 of arXiv 2303.09833: the efficient time travel. scale: s at this moment."""
        for now in loop:
            guided = self.pushes(now)
            times = self.times if guided and now.done >= self.repeated - 1e-9 else 1
            rows, done, granted = list(range(loop.samples)), 0, [times - 1] * loop.samples
            z = z_next = None
            while rows:
                seen = loop.predict(z, rows, Need(through="full") if guided else PREDICTION)
                s = scale() if guided else 0.0  # a schedule's, before the sampler counts the step
                moved = loop.sampler_step(seen)
                if guided:
                    if seen.residual is None:
                        raise PipelineError(
                            "there is no prediction without the prompt, and FreeDoM's step is a part of the guidance: it was switched off in the run"
                        )
                    score = run.score(run.decode(seen.z0, self.preview_vae), [run.prompts[i] for i in rows], now.t)
                    g = seen.pull(-score, False) * now.here.radius
                    size = norms(g)
                    goes = usable(size)
                    rho = residual_length(self.length * s, seen.residual) / size
                    moved = moved - now.there.radius * (per_sample(rho, g) * g).where(per_sample(goes, g), 0.0)
                allotment.count(rows, "guided" if guided else "unguided", now.calls)
                z_next = put(z_next, rows, moved)
                if guided and done == 0:
                    left = now.steps - now.index - 1
                    wanted = [(times - 1) * ok for ok in goes.tolist()]
                    granted = allotment.grant(rows, wanted, size.tolist(), left, "guided", now.calls, now.ahead)
                done += 1
                rows = [i for i in rows if granted[i] >= done]
                if rows:
                    z = renoise(pick(z_next, rows), now.there, now.here, loop.noise(rows))
            assert z_next is not None
            loop.accept(z_next)
