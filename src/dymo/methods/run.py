"""What one run of any method shares: the pipeline, the account of what was spent, the budget."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..budget import Allotment, Budget, check_budget
from ..errors import ConfigError, PipelineError, PromptError, RewardError
from ..parts import Argument, Limit, Name
from ..pipelines.calls import given_call, loop_call
from ..pipelines.checks import check_arguments, check_copies, check_generator, check_steps, images_per_prompt
from ..pipelines.decode import decoder, decoding_vae
from ..pipelines.encoding import Words
from ..pipelines.families import arguments, family_of
from ..pipelines.hold import checkpointed, counted, frozen, held
from ..pipelines.images import copied, further, images_in, one_an_image
from ..pipelines.latents import Change
from ..pipelines.loop import PipelineLoop
from ..pixels import opaque
from ..rewards import Reward, RewardLike, is_differentiable, load_reward, placed
from ..rewards.base import check_scores
from ..trace import Trace
from ..wording import Wording, wording_of
from .contract import Result

Algorithm = Callable[[PipelineLoop], None]


class Run(ExitStack):
    """One run: holds the pipeline's components, counts what is done, and knows what is left.

    Images are float32 tensors (n, 3, H, W) in [0, 1] until `result`. Every trajectory starts from the same state of the
    user's generators unless it is given others, so that the same choice gives the same image.
    """

    def __init__(
        self, pipe: Any, prompts: str | Sequence[str], reward: RewardLike | None, budget: Budget | None, generator: Any,
        kwargs: dict[str, Any],
    ):  # fmt: skip
        super().__init__()
        check_budget(budget)
        self.pipe, self.budget = pipe, budget or Budget()
        self.reward: Reward | None = None if reward is None else load_reward(reward)
        self.texts = [prompts] if isinstance(prompts, str) else list(prompts)
        if not self.texts or not all(isinstance(text, str) and text.strip() for text in self.texts):
            raise PromptError(f"prompts={self.texts!r}: give at least one, none of them empty")
        check_arguments(type(pipe), kwargs, ("pipe", "prompts", "reward", "budget", "generator"), call=given_call(pipe))
        check_generator(generator)
        check_steps(getattr(pipe, "scheduler", None), kwargs.get("num_inference_steps"))
        self._one = isinstance(prompts, str)
        # Where the prompts are a list, diffusers asks for every other text in the same form.
        listed = () if self._one else ("prompt_", "negative_prompt")
        self.kwargs: dict[str, Any] = {
            key: [value] * len(self.texts) if isinstance(value, str) and key.startswith(listed) else value
            for key, value in kwargs.items() if key not in ("output_type", "return_dict")
        }  # fmt: skip
        self.output_type = kwargs.get("output_type", "pil")
        if self.output_type not in ("pil", "np", "pt"):
            raise ConfigError(Argument("output_type", self.output_type), ": methods give 'pil', 'np' or 'pt'")
        self.repeats = images_per_prompt(self.kwargs.pop("num_images_per_prompt", None))
        self.said = self._said(self.texts)
        self.prompts = [reading.text for reading in self.said.readings for _ in range(self.repeats)]
        """As the reward reads them."""
        written = [text for text in self.texts for _ in range(self.repeats)]
        self.trace = Trace(prompts=written, texts=self.prompts, evaluations=[0] * len(self.prompts))
        self._calls: dict[tuple[str, ...], dict[str, Any]] = {}
        if self.budget.evaluations is not None and self.budget.evaluations < self._least:
            raise ConfigError(
                Limit("evaluations", self.budget.evaluations),
                f" is less than the {self._least} steps of one trajectory: raise the budget or lower ", Name(Argument("num_inference_steps")),
            )
        if generator is None:
            generator = torch.Generator().manual_seed(int(torch.randint(2**62, ())))
        self.generator = generator
        self._states = [g.get_state() for g in self._generators]
        self._rounds: list[int] = []
        self._whole = False
        self._began = time.perf_counter()

    @property
    def steps(self) -> int | None:
        """Steps of one trajectory, as far as the call or the pipeline's own default says."""
        for name in ("timesteps", "sigmas"):
            if self.kwargs.get(name) is not None:
                return len(self.kwargs[name])
        calls = (given_call(self.pipe), loop_call(type(self.pipe)))
        own = next((found for call in calls if (found := inspect.signature(call).parameters.get("num_inference_steps"))), None)
        return self.kwargs.get("num_inference_steps") or (None if own is None else own.default)

    @property
    def _least(self) -> int:
        """Steps that one trajectory takes at least: of a picture that is painted over, a part; 0 where nothing says."""
        given = arguments(self.pipe, self.kwargs)
        if any(given.get(name) is not None for name in ("denoising_start", "denoising_end")):
            return 0
        return int((self.steps or 0) * min(1.0, given.get("strength") or 1.0))

    @property
    def _generators(self) -> list[torch.Generator]:
        return self.generator if isinstance(self.generator, list) else [self.generator]

    def __enter__(self) -> Run:
        super().__enter__()
        try:
            self.denoiser = denoiser_of(self.pipe)
            self.enter_context(held(self.pipe, (self.denoiser, self.pipe.scheduler)))
            self.enter_context(placed([] if self.reward is None else [self.reward], self.pipe._execution_device))
        except BaseException:
            self.close()
            raise
        device = self.pipe._execution_device
        self._peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None
        return self

    def need_gradient(self) -> Reward:
        """The reward, where it can be followed; the parameters are frozen from here on. Raises RewardError otherwise."""
        self._freeze(self)
        reward = self.need_reward()
        if not is_differentiable(reward):
            raise RewardError(
                f"{reward.name} has no gradient: use a method that only compares (best-of-n, fk-steering)"
            )
        return reward

    def need_reward(self) -> Reward:
        """The reward. Raises RewardError where there is none."""
        if self.reward is None:
            raise RewardError("this method needs a reward: give one, as load_reward('pickscore')")
        return self.reward

    def others(self, n: int) -> list[Any]:
        """`n` further generators, or lists of them, each a fixed function of the user's; the user's stay as they are."""
        each = []
        for generator, state in zip(self._generators, self._states, strict=True):
            start = copied(generator)
            start.set_state(state)
            each.append(further(start, n))
        found = [list(row) for row in zip(*each, strict=True)]
        return [one if isinstance(self.generator, list) else one[0] for one in found]

    def affords(self, trajectories: int = 1) -> bool:
        """Whether that many more trajectories, each as dear as the dearest so far, fit into the budget."""
        spent = max(self.trace.evaluations)
        dearest = max(self._rounds, default=self.steps or 1)
        if self.budget.evaluations is not None and spent + trajectories * dearest > self.budget.evaluations:
            return False
        if self.budget.seconds is None or not self._rounds:
            return True
        # The mean, with what was done between trajectories: a backward belongs to its round.
        elapsed = time.perf_counter() - self._began
        return elapsed * (1 + trajectories / len(self._rounds)) <= self.budget.seconds

    def seconds_left(self) -> float:
        """Seconds of the budget that are left; infinite without a limit."""
        if self.budget.seconds is None:
            return float("inf")
        return self.budget.seconds - (time.perf_counter() - self._began)

    def decode(self, z0: Tensor, vae: Any = None) -> Tensor:
        """z0' (n, c, h, w) -> images (n, 3, H, W) in [0, 1], by the pipeline's VAE or another one."""
        self.trace.cost.decodes += len(z0)
        own = decoding_vae(self.pipe.vae if vae is None else vae, self.pipe._execution_device)
        return decoder(own, family_of(self.pipe).form)(z0).clamp(0, 1)

    def generate(
        self, algorithm: Algorithm | None = None, *, start: Change | None = None, words: Words | None = None, whole: bool = False,
        generator: Any = None, prompts: list[str] | None = None, copies: int = 1,
    ) -> Tensor:  # fmt: skip
        """One trajectory of every image (`copies` of each) -> (n * copies, 3, H, W) in [0, 1]; 4 channels where the VAE has as many.

        algorithm: what to do with the loop; None runs the pipeline untouched. start, words: see `PipelineLoop`.
        whole: with a graph from what these put in to the images, at the memory of one step. generator, prompts: in place
        of the user's.
        """
        if generator is None:
            generator = self.generator
            for one, state in zip(self._generators, self._states, strict=True):
                one.set_state(state)
        kwargs = {
            **self._call(prompts or self.texts), "num_images_per_prompt": self.repeats * copies, "generator": generator,
            "output_type": "pt",
        }  # fmt: skip
        if copies > 1:
            check_copies(type(self.pipe), kwargs, len(self.texts))
            if kwargs.get("latents") is not None:
                kwargs["latents"] = kwargs["latents"].repeat_interleave(copies, 0)
            for name in family_of(self.pipe).by_image:
                if kwargs.get(name) is not None:
                    kwargs[name] = one_an_image(kwargs[name], len(self.prompts) * copies)
        before = max(self.trace.evaluations)
        if algorithm is None:
            found = self._untouched(kwargs)
        else:
            if whole and not self._whole:
                # Until the end: what the way back computes again must be cut into the same pieces.
                self.enter_context(checkpointed([self.pipe.vae]))
            self._whole |= whole
            with ExitStack() as stack:
                stack.enter_context(torch.enable_grad())
                self._freeze(stack)
                loop = stack.enter_context(
                    PipelineLoop(self.pipe, kwargs, decode=self.decode, cost=self.trace.cost, start=start, words=words, whole=whole)
                )
                if start is not None and loop.timesteps and loop.timesteps[0].done > 0:
                    raise ConfigError(
                        "what is optimised is the noise that an image begins at, and this run begins at a picture, in the midst of the schedule: "
                        "let it begin at noise, or take a method that moves the latents on their way"
                    )
                if not self._rounds:
                    Allotment(self.budget).open(len(loop.timesteps), sum(now.calls for now in loop.timesteps))
                algorithm(loop)
            if loop.result is None:
                raise PipelineError("the algorithm has left the loop before its end, where the image is made: go on until the loop stops")
            found = loop.result
            self._count(loop.evaluations)
        images = images_in(found)
        if isinstance(images, np.ndarray):  # StableDiffusionAdapterPipeline's, whatever is asked for
            images = torch.from_numpy(images).permute(0, 3, 1, 2).to(self.pipe._execution_device)
        if not isinstance(images, Tensor) or images.ndim != 4:
            raise PipelineError(f"{type(self.pipe).__name__} gave no batch of images as a tensor for ", Argument("output_type", "pt"))
        self._rounds.append(max(self.trace.evaluations) - before)
        return images.float()

    def _call(self, prompts: list[str]) -> dict[str, Any]:
        """The call's arguments that say these prompts; what has to be encoded for it is encoded once."""
        key = tuple(prompts)
        if key not in self._calls:
            said = self.said if prompts == self.texts else self._said(prompts)
            self._calls[key] = said.call(self.pipe)
        return self._calls[key]

    def _said(self, prompts: list[str]) -> Wording:
        """The user's call with these prompts, one text where one was given: a class's own `__call__` may write on in it."""
        return wording_of(self.pipe, {**self.kwargs, "prompt": prompts[0] if self._one else prompts})

    def _freeze(self, stack: ExitStack) -> None:
        stack.enter_context(frozen([m for m in self.pipe.components.values() if isinstance(m, nn.Module)]))

    def _count(self, rows: list[int]) -> None:
        """Evaluations by row: the images share the rows of their copies."""
        each = max(1, len(rows) // len(self.trace.evaluations))
        for row, spent in enumerate(rows):
            self.trace.evaluations[row // each] += spent

    def _untouched(self, kwargs: dict[str, Any]) -> Any:
        """The pipeline's own call, its denoiser counted by a hook, and its steps, of all its loops where it has several."""
        rows: list[int] = []

        def count(_module: nn.Module, args: tuple, named: dict, _output: Any) -> None:
            sample = args[0] if args else named["sample" if "sample" in named else "hidden_states"]
            rows.append(len(sample))

        handle = self.denoiser.register_forward_hook(count, with_kwargs=True)
        try:
            with counted(self.pipe.scheduler, "step") as steps:
                found = self.pipe(**kwargs)
        finally:
            handle.remove()
        self.trace.cost.denoiser_calls += len(rows)
        self.trace.cost.denoiser_rows += sum(rows)
        copies = kwargs["num_images_per_prompt"] // self.repeats
        self._count([len(steps)] * (len(self.prompts) * copies))
        return found

    def score(self, images: Tensor, prompts: Sequence[str] | None = None, timestep: float | None = None) -> Tensor:
        """The reward of images (n, 3 or 4, H, W), for the user's prompts unless others are given -> (n,) float32."""
        reward = self.need_reward()
        words = self.prompts if prompts is None else list(prompts)
        found = reward.score(opaque(images), words, timestep)
        check_scores(reward.name, found, len(words))
        if not torch.isfinite(found).all():
            raise RewardError(f"{reward.name} gave {found.tolist()}: scores must be finite")
        self.trace.cost.reward_calls += len(words)
        return found.float()

    def result(self, images: Tensor) -> Result:
        """The chosen images in the user's output type, with the account closed."""
        device = self.pipe._execution_device
        if self._whole and getattr(self.pipe, "safety_checker", None) is not None:
            images = self.pipe.run_safety_checker(images * 2 - 1, device, self.pipe.dtype)[0] / 2 + 0.5
        self.trace.cost.seconds = time.perf_counter() - self._began
        if self._peak is not None:
            peak = torch.cuda.max_memory_allocated(device)
            self.trace.cost.peak_bytes = peak if peak > self._peak else None
        images = images.detach()
        if self.output_type == "pt":
            return Result(images, self.trace)
        processor = self.pipe.image_processor
        arrays = processor.pt_to_numpy(images)
        return Result(arrays if self.output_type == "np" else processor.numpy_to_pil(arrays), self.trace)


def denoiser_of(pipe: Any) -> nn.Module:
    """The pipeline's UNet or transformer. Raises PipelineError where it has neither."""
    for name in ("unet", "transformer"):
        module = getattr(pipe, name, None)
        if isinstance(module, nn.Module):
            return module
    raise PipelineError(f"{type(pipe).__name__} has neither a UNet nor a transformer: its cost cannot be counted")
