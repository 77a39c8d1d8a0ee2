"""What a run lowers, and what it watches: the objectives and the held-out rewards of one call of an aligner."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ..config import Config
from ..guidance.objectives import Objective, Preference, SemanticAlignment
from ..guidance.units import relative_gain
from ..guidance.watch import Watch
from ..pipelines.graphed import Graphs
from ..prompt.tokens import TokenPairs
from ..rewards import CombinedReward, Reward, scale_of
from ..trace import Trace

if TYPE_CHECKING:
    from ..aligner import DyMO


@dataclass
class Aims:
    """The objectives and rewards of a call. pairs: one an image; graphs: in which the reward is captured, if it is."""

    aligner: DyMO
    config: Config
    trace: Trace
    pairs: list[TokenPairs]
    graphs: Graphs | None

    def objectives(self, generator: Any) -> list[Objective]:
        """What the run lowers. generator: the call's, or a list of them, one an image; None: torch's own."""
        config, reward = self.config, self.aligner.reward
        objectives: list[Objective] = []
        if config.semantic_weight > 0 and any(p.positive or p.negative for p in self.pairs):
            objectives.append(SemanticAlignment(self.pairs))
        if reward is not None:
            form = config.preference_form, config.tau, getattr(reward, "cosine_scale", None)
            relative = config.units == "relative"
            gain = relative_gain(*form, getattr(reward, "typical", None), scale_of(reward), config.views) if relative else 1.0
            objectives.append(
                Preference(
                    self.scorer(reward, guides=True), *form, config.views, config.fresh_views,
                    self._seeds(generator) if config.fresh_views else (), config.clamp, gain,
                )
            )  # fmt: skip
        return [*objectives, *self.aligner.objectives]

    def scorer(self, reward: Reward, guides: bool) -> Callable[[Tensor, list[int], float | None], Tensor]:
        """The reward of images with their samples' prompts: (n,), or (K, n) where its summands go separate ways."""
        score = reward.scores if isinstance(reward, CombinedReward) and reward.conflicts == "project" else reward.score

        def scored(images: Tensor, samples: list[int], t: float | None) -> Tensor:
            self.trace.cost.reward_calls += len(samples) * guides
            texts = [self.trace.texts[i] for i in samples]
            if self.graphs is None or not guides or getattr(reward, "reads_timestep", False):
                return score(images, texts, t)
            # Scores are compared with later ones, which the graph would write over them.
            return self.graphs.of_one(("reward", *texts), lambda x: score(x, texts, t))(images).clone()

        return scored

    def watch(self) -> Watch | None:
        """The held-out rewards beside the guide; None where there are none."""
        aligner = self.aligner
        if not aligner.watched or aligner.reward is None:
            return None
        return Watch(
            {name: self.scorer(reward, guides=False) for name, reward in aligner.watched.items()},
            {name: scale_of(reward) for name, reward in aligner.watched.items()},
            scale_of(aligner.reward),
            aligner.on_hacking,
        )

    def _seeds(self, generator: Any) -> list[int]:
        """Of each image's augmentations: its generator's."""
        images = len(self.trace.prompts)
        each = generator if isinstance(generator, list) else [generator] * images
        return [0 if one is None else one.initial_seed() % 2**31 for one in each]
