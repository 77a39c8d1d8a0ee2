"""What happened at each step of a run, and what it cost."""

from __future__ import annotations

import json
import reprlib
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class Step:
    """One accepted step. Lists hold one value a sample; None where the quantity was not computed."""

    index: int
    timestep: float
    stage: str
    """"semantic", "mixed", "preference" or "unguided"."""
    weights: dict[str, list[float]] = field(default_factory=dict)
    """Objective ("semantic", "preference", ...) -> its weight, w_A or w_R, in the evaluation that the step goes on from: the last, or of few
    steps the best (of the last step: of all levels after the first, whose best the image is)."""
    losses: dict[str, list[float | None]] = field(default_factory=dict)
    """Objective -> its loss, L_A or L_R, likewise."""
    reward: list[float | None] = field(default_factory=list)
    """The reward's own score of the clean one-step prediction, likewise."""
    gradient_norm: list[float | None] = field(default_factory=list)
    """||g_t||, in the `units` of the configuration, of the first guided evaluation, the one that decides r_t."""
    displacement: list[float | None] = field(default_factory=list)
    """Length of the accepted displacement of z_{t-1}, in latent units."""
    recurrences: list[int] = field(default_factory=list)
    unguided: list[str | None] = field(default_factory=list)
    """Why a sample that was to be guided was not: "nan", "infinite", "zero", "budget" (of few steps: guided, but by no gradient); else None."""
    watched: dict[str, list[float | None]] = field(default_factory=dict)
    """Held-out reward -> its score of the same predictions as `reward`."""


@dataclass
class Cost:
    """The compute account of a run."""

    denoiser_calls: int = 0
    """Calls of the denoiser's forward."""
    denoiser_rows: int = 0
    """Rows that went through it: one an image without, two with classifier-free guidance."""
    denoiser_backwards: int = 0
    """Rows that were differentiated through it."""
    decodes: int = 0
    """Images decoded for the reward (the final ones not counted)."""
    reward_calls: int = 0
    """Images scored, views counted."""
    seconds: float = 0.0
    compile_seconds: float = 0.0
    """Of `seconds`, those in which a run with compile=True was compiled, before its first step."""
    peak_bytes: int | None = None
    """Peak device memory; None without an accelerator, or where the peak was before this run."""


@dataclass
class Trace:
    """The record of one run: `steps` in order of time, `cost`, and what to say about the words.

    `evaluations`: denoiser evaluations (NFE) of each sample; a conditional and unconditional pair counts once.
    """

    prompts: list[str] = field(default_factory=list)
    graphs: list[dict | None] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    evaluations: list[int] = field(default_factory=list)
    truncated: list[list[str]] = field(default_factory=list)
    failures: dict[str, int] = field(default_factory=dict)
    """Why -> how many evaluations of single samples were left unguided, or "budget": steps."""
    cost: Cost = field(default_factory=Cost)
    hacked: dict[int, int] = field(default_factory=dict)
    """sample -> index of the step at which the held-out rewards contradicted the guide."""
    ends: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    """With on_hacking="best": held-out reward -> its scores of the "aligned" and of the "unguided" images."""
    returned: list[str] = field(default_factory=list)
    """With on_hacking="best": which of them each image returned is, "aligned" or "unguided"."""
    maps: dict[int, dict[str, list]] = field(default_factory=dict)
    """With record_maps: step index -> "sample:word" -> the word's map (side x side nested list, its maximum scaled to 1)."""

    scouts: list[list[float | None]] = field(default_factory=list)
    """With scouts: the reward of each image's seeds where they were compared, its own seed first; the highest went on."""
    one_seed: str | None = None
    """Why no further seeds were begun, where the preset has scouts: `Told`, until it is read from JSON."""
    cancelled: bool = False
    """Whether the run was stopped before its last step."""
    texts: list[str] = field(default_factory=list)
    """The prompts as the rewards read them: without the marks of weights."""

    def __repr__(self) -> str:
        brief = reprlib.Repr()
        brief.maxlist, brief.maxstring = 4, 60
        return (
            f"Trace(prompts={brief.repr(self.prompts)}, steps={len(self.steps)}, "
            f"evaluations={brief.repr(self.evaluations)}, seconds={self.cost.seconds:.1f})"
        )

    def to_json(self, indent: int | None = None) -> str:
        """As strict JSON. Raises ValueError on a number that is not finite."""
        return json.dumps(asdict(self), indent=indent, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Trace:
        """What `to_json` wrote."""
        data = json.loads(text)
        data["steps"] = [Step(**step) for step in data["steps"]]
        data["cost"] = Cost(**data["cost"])
        data["hacked"] = {int(sample): index for sample, index in data.get("hacked", {}).items()}
        data["maps"] = {int(index): maps for index, maps in data["maps"].items()}
        return cls(**data)
