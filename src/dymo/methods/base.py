"""The contract of a method, and what one run of any of them shares: the pipeline, the account, the budget."""

from __future__ import annotations

import inspect
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from ..errors import ConfigError, PipelineError, PromptError, RewardError
from ..guidance.recurrence import Budget
from ..pipelines.attach import lock_of
from ..pipelines.freeze import checkpointed, frozen
from ..pipelines.loop import Hooks, Layers, Loop, undecorated
from ..pipelines.patch import patched
from ..rewards import Reward, is_differentiable
from ..rewards.base import check_scores
from ..trace import Trace


@dataclass
class Result:
    """What a method made: `images` in the `output_type` asked for ("pil" by default), and the account of the run."""

    images: Any
    trace: Trace


class Method(Protocol):
    """One system. Reusable, and without state between runs; its settings are the fields of a dataclass."""

    def run(
        self,
        pipe: Any,
        prompts: str | Sequence[str],
        reward: Reward | None,
        budget: Budget | None = None,
        generator: Any = None,
        **pipeline_kwargs: Any,
    ) -> Result:
        """Paint one picture a prompt (times `num_images_per_prompt`) with `pipe`, which is as before afterwards.

        reward: what to raise; only methods that need none accept None. budget: what one picture may spend.
        generator: a torch.Generator, or one a picture; `pipeline_kwargs` reach the pipeline untouched.
        Raises PromptError, ConfigError, PipelineError or RewardError.
        """
        ...


class Run(ExitStack):
    """One run: holds the pipeline's lock, freezes its parameters, counts what is done, and knows what is left.

    Pictures are float32 tensors (n, 3, H, W) in [0, 1] until `result`. Every painting starts from the same state of the
    user's generators unless it is given others, so that the same choice gives the same picture.
    """

    def __init__(
        self, pipe: Any, prompts: str | Sequence[str], reward: Reward | None, budget: Budget | None, generator: Any,
        kwargs: dict[str, Any],
    ):  # fmt: skip
        super().__init__()
        self.pipe, self.reward, self.budget = pipe, reward, budget or Budget()
        self.texts = [prompts] if isinstance(prompts, str) else list(prompts)
        if not self.texts or not all(isinstance(text, str) and text.strip() for text in self.texts):
            raise PromptError(f"prompts={self.texts!r}: give at least one, none of them empty")
        self.kwargs = {key: value for key, value in kwargs.items() if key not in ("output_type", "return_dict")}
        self.output_type = kwargs.get("output_type", "pil")
        self.repeats = self.kwargs.pop("num_images_per_prompt", None) or 1
        self.prompts = [text for text in self.texts for _ in range(self.repeats)]
        self.trace = Trace(prompts=self.prompts, evaluations=[0] * len(self.prompts))
        if self.steps is not None and self.budget.evaluations is not None and self.budget.evaluations < self.steps:
            raise ConfigError(
                f"Budget(evaluations={self.budget.evaluations}) is less than the {self.steps} steps of one trajectory: "
                "raise the budget or lower num_inference_steps"
            )
        if generator is None:
            generator = torch.Generator().manual_seed(int(torch.randint(2**62, ())))
        self.generator = generator
        self._states = [g.get_state() for g in self._generators]
        self._rounds: list[int] = []
        self._differentiated = False

    @property
    def steps(self) -> int | None:
        """Steps of one trajectory, as far as the call or the pipeline's own default says."""
        for name in ("timesteps", "sigmas"):
            if self.kwargs.get(name) is not None:
                return len(self.kwargs[name])
        own = inspect.signature(type(self.pipe).__call__).parameters.get("num_inference_steps")
        return self.kwargs.get("num_inference_steps") or (None if own is None else own.default)

    @property
    def _generators(self) -> list[torch.Generator]:
        return self.generator if isinstance(self.generator, list) else [self.generator]

    def __enter__(self) -> Run:
        super().__enter__()
        try:
            self.enter_context(lock_of(self.pipe))
            self.enter_context(frozen(self.pipe))
            if self.reward is not None:
                self.reward.to(self.pipe._execution_device)
        except BaseException:
            self.close()
            raise
        self._cuda = self.pipe._execution_device.type == "cuda"
        if self._cuda:
            torch.cuda.reset_peak_memory_stats(self.pipe._execution_device)
        self._began = time.perf_counter()
        return self

    def need_gradient(self) -> Reward:
        """The reward, where it can be followed. Raises RewardError otherwise."""
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
        found: list[list[torch.Generator]] = [[] for _ in range(n)]
        for generator, state in zip(self._generators, self._states, strict=True):
            copy = torch.Generator(generator.device)
            copy.set_state(state)
            for i, seed in enumerate(torch.randint(2**62, (n,), generator=copy, device=generator.device).tolist()):
                found[i].append(torch.Generator(generator.device).manual_seed(seed))
        return [one if isinstance(self.generator, list) else one[0] for one in found]

    def affords(self, trajectories: int = 1) -> bool:
        """Whether that many more trajectories, each as dear as the dearest so far, fit into the budget."""
        spent = max(self.trace.evaluations)
        dearest = max(self._rounds, default=self.steps or 1)
        if self.budget.evaluations is not None and spent + trajectories * dearest > self.budget.evaluations:
            return False
        if self.budget.seconds is None or not self._rounds:
            return True
        # The mean, with what was done between paintings: a backward belongs to its round.
        elapsed = time.perf_counter() - self._began
        return elapsed * (1 + trajectories / len(self._rounds)) <= self.budget.seconds

    def seconds_left(self) -> float:
        """Seconds of the budget that are left; infinite without a limit."""
        if self.budget.seconds is None:
            return float("inf")
        return self.budget.seconds - (time.perf_counter() - self._began)

    def paint(
        self, hooks: Hooks | None = None, *, gradient: bool = False, generator: Any = None, prompts: list[str] | None = None,
        copies: int = 1, layers: Layers | None = None,
    ) -> Tensor:  # fmt: skip
        """One trajectory of every picture (`copies` of each) -> (n * copies, 3, H, W) in [0, 1].

        gradient: with a graph from what `hooks` put in to the pictures, at the memory of one step. generator: in place of
        the user's. prompts: in place of the user's, one each. layers: where `Hooks.before` looks.
        """
        if generator is None:
            generator = self.generator
            for one, state in zip(self._generators, self._states, strict=True):
                one.set_state(state)
        before = max(self.trace.evaluations)
        call = undecorated(self.pipe) if gradient else type(self.pipe).__call__
        self._differentiated |= gradient
        loop = Loop(self.pipe, self.trace, hooks or Hooks(), checkpointing=gradient, layers=layers)
        with ExitStack() as stack:
            stack.enter_context(torch.set_grad_enabled(gradient))
            stack.enter_context(loop)
            if hooks is not None:
                hooks.loop = loop
            if gradient:
                stack.enter_context(checkpointed([self.pipe.vae]))
                if hasattr(self.pipe, "run_safety_checker"):  # it leaves the graph; `result` asks it in the end
                    stack.enter_context(patched(self.pipe, "run_safety_checker", lambda image, *_: (image, None)))
            found = call(
                self.pipe, prompt=prompts or self.texts, num_images_per_prompt=self.repeats * copies,
                generator=generator, output_type="pt", **self.kwargs,
            )  # fmt: skip
        images = found.images
        if not isinstance(images, Tensor):
            raise PipelineError(f"{type(self.pipe).__name__} gave no tensor for output_type='pt'")
        self._rounds.append(max(self.trace.evaluations) - before)
        return images.float()

    def score(self, images: Tensor, prompts: Sequence[str] | None = None, timestep: float | None = None) -> Tensor:
        """The reward of pictures (n, 3, H, W), for the user's prompts unless others are given -> (n,) float32."""
        reward = self.need_reward()
        words = self.prompts if prompts is None else list(prompts)
        found = reward.score(images, words, timestep)
        check_scores(reward.name, found, len(words))
        if not torch.isfinite(found).all():
            raise RewardError(f"{reward.name} gave {found.tolist()}: scores must be finite")
        self.trace.cost.reward_calls += len(words)
        return found.float()

    def result(self, images: Tensor) -> Result:
        """The chosen pictures in the user's output type, with the account closed."""
        if self._differentiated and getattr(self.pipe, "safety_checker", None) is not None:
            device, dtype = self.pipe._execution_device, self.pipe.dtype
            images = self.pipe.run_safety_checker(images * 2 - 1, device, dtype)[0] / 2 + 0.5
        self.trace.cost.seconds = time.perf_counter() - self._began
        if self._cuda:
            self.trace.cost.peak_bytes = torch.cuda.max_memory_allocated(self.pipe._execution_device)
        images = images.detach()
        if self.output_type == "pt":
            return Result(images, self.trace)
        processor = self.pipe.image_processor
        arrays = processor.pt_to_numpy(images)
        if self.output_type == "np":
            return Result(arrays, self.trace)
        if self.output_type != "pil":
            raise ConfigError(f"output_type={self.output_type!r}: methods give 'pil', 'np' or 'pt'")
        return Result(processor.numpy_to_pil(arrays), self.trace)
