"""What `compile=` asks for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from .errors import ConfigError, did_you_mean
from .parts import OfReward, Part, Setting
from .pipelines.families import family_of
from .pipelines.graphed import Graphs
from .rewards import CombinedReward, Reward

GRAPHS = "graphs"


@dataclass(frozen=True)
class Compiling:
    """backend: of torch.compile, None for none; graphs: the denoiser, decoder and reward as CUDA graphs, which hold what the backend
    compiled: of the denoiser its small functions (`fused`), of the others their layers.
    """

    backend: str | None = None
    graphs: bool = False

    @classmethod
    def read(cls, said: bool | str) -> Compiling:
        """Of `compile=`: True (inductor), False, "graphs", "graphs+BACKEND", or a backend of torch.compile. Raises ConfigError."""
        if not isinstance(said, (bool, str)) or said == "" or str(said).endswith("+"):
            raise ConfigError(
                Setting("compile", said), ": give True, False, 'graphs', 'graphs+inductor', or the name of a backend of torch.compile",
            )
        name, _, more = said.partition("+") if isinstance(said, str) else ("inductor" if said else "", "", "")
        backend = (more or None) if name == GRAPHS else (said if isinstance(said, str) else name) or None
        if backend not in (None, "inductor"):
            known = torch.compiler.list_backends(exclude_tags=())
            if backend not in known:
                raise ConfigError(
                    Setting("compile", said),
                    f": torch has no such backend{did_you_mean(backend, [GRAPHS, *known])}; give True, 'graphs', or one of {', '.join(known)}",
                )
        return cls(backend, name == GRAPHS)

    @property
    def said(self) -> bool | str:
        """As `compile=` takes it."""
        if self.graphs:
            return GRAPHS if self.backend is None else f"{GRAPHS}+{self.backend}"
        return self.backend == "inductor" or self.backend or False

    @property
    def remedy(self) -> tuple[str | Part, ...]:
        """What to do where the compiler fails."""
        return ("take ", Setting("compile", GRAPHS), " alone") if self.graphs else ("leave out ", Setting("compile", True))

    def graphs_for(self, pipe: Any, reward: Reward | None) -> Graphs | None:
        """Where none are asked for, None. Raises ConfigError where they cannot be."""
        if not self.graphs:
            return None
        if hasattr(pipe, "enable_fuser"):  # GLIGEN's attention to its boxes ends in the middle of a run
            raise ConfigError(
                Setting("compile", "graphs"),
                f": {type(pipe).__name__} switches parts of its denoiser off between steps, which a graph would not: leave it out",
            )
        device = pipe._execution_device
        if device.type != "cuda":
            raise ConfigError(
                Setting("compile", "graphs"), f": CUDA graphs need CUDA, and the pipeline is on {device}: use ", Setting("compile", True),
                ", or leave it out",
            )
        denoiser: Any = family_of(pipe).denoiser(pipe)
        if any(hasattr(m, "_hf_hook") for m in denoiser.modules()):
            raise ConfigError(
                Setting("compile", "graphs"), ": the denoiser is offloaded, and a graph needs its weights where they are: leave out one of the two",
            )
        if isinstance(reward, CombinedReward) and reward.conflicts == "project":
            raise ConfigError(
                Setting("compile", "graphs"), ": a graph passes a gradient back once, and ", OfReward("conflicts", "project"),
                " asks for one of each reward: leave out one of the two",
            )
        return Graphs()
