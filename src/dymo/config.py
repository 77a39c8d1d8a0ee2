"""One frozen, validated configuration of the method, and its presets."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, Literal, get_args

from .errors import ConfigError, did_you_mean
from .parts import Setting
from .seeds import MOST_SEEDS

MOST_STEPS = 1_000_000
"""Of one run: no memory holds the trace of many more."""

Change = Literal["step", "evaluation"]
Pieces = Literal["mean", "each"]
MapRows = Literal["conditional", "all"]
Gradient = Literal["full", "conditional", "straight-through"]
GradientChoice = Literal["auto", "full", "conditional", "straight-through"]
StepRule = Literal["polyak", "residual"]
Units = Literal["relative", "absolute"]
Borders = Literal["timestep", "progress"]
Normalisation = Literal["none", "instance"]
PreferenceForm = Literal["exponential", "score", "norm"]
Truncation = Literal["chunk", "error", "report"]
Markup = Literal["webui", "plain"]
FewSteps = Literal["auto", "always", "never"]
OnHacking = Literal["warn", "stop", "best"]
ByStage = tuple[float, float, float]


@dataclass(frozen=True)
class Config:
    """All settings of the method, checked and immutable. Hashable; symbols are the paper's (arXiv 2412.00759).

    Three values are for the stages: semantic, mixed, preference.
    """

    # Schedule of the objectives.
    borders_by: Borders = "timestep"
    """"timestep": `borders` are noise levels t in 0..1000; "progress": fractions of the steps done."""
    borders: tuple[float, float] = (800.0, 500.0)
    resolution_shift: bool = True
    """Borders in t move with the resolution of a flow's latents: they stand for 64 x 64, and noise hides less of more pixels."""
    unguided_tail: float = 0.0
    """Fraction of the steps, at the end, that are left unguided (the reference's SDXL: 4 of 50)."""
    k: float = 5.0
    """w = 1 - exp(-k Delta), > 0."""
    change_of: Normalisation = "none"
    """Delta on z0' itself, or on z0' normalised per sample and channel."""
    change_since: Change = "step"
    """Delta against the prediction of the step before, or of the evaluation before, recurrences counted."""
    weights_have_gradient: bool = False
    """Whether the gradient passes through w too, which depends on z0'."""

    # Objectives.
    semantic_weight: float = 1.0
    """Factor of w_A, >= 0; 0 switches L_A off."""
    preference_weight: float = 1.0
    """Factor of w_R, >= 0; 0 switches L_R off."""
    preference_form: PreferenceForm = "exponential"
    """L_R: -exp(tau cos) for rewards that are a cosine, else -score; "score": always -score; "norm": -||scores||_2 of
    the views."""
    tau: float = 5.0
    clamp: bool = True
    """Cut the decoded prediction to [0, 1] before the reward sees it: pixels beyond have no gradient then."""
    pieces: Pieces = "mean"
    """A word of several tokens: the mean of their maps, or a pair for each."""
    wholes_and_parts: bool = False
    """Draw a thing and its part or garment apart like any two things."""
    numerals: bool = False
    """Draw a number and what it counts together, like a thing and its colour."""
    map_rows: MapRows = "conditional"
    """Maps of the conditional rows, or averaged over all rows of the guidance."""
    map_size: int | None = None
    """Rows of the cross-attention maps that are read; None takes the family's."""
    map_layers: tuple[int, ...] | None = None
    """Numbers of the attention layers whose maps are read, from 0 in the order of the forward pass; None takes the family's."""
    map_encoders: tuple[int, ...] | None = None
    """Where several text encoders read the prompt, the numbers of those whose tokens count, from 0 in the order of the tokens
    (SD3: CLIP, T5); None: all."""

    # Step length.
    units: Units = "relative"
    """In which `eta`, `damping` and `h` are: "relative" to the latents' size and the reward's spread (`guidance/units.py`), so that
    they hold for every model and reward; "absolute": ||g_t|| and L_R as they are."""
    step_rule: StepRule = "polyak"
    """Displacement of z_{t-1}: eta ||eps|| / ||g||^2 g, or eta ||eps_cond - eps_uncond|| g / ||g||."""
    eta: ByStage = (0.3, 0.08, 0.02)
    damping: float = 1.0
    """||g_t|| under which a step fades away, >= 0 (0: never)."""
    max_step: float | None = 0.06
    """No displacement is longer than this times ||eps|| (a vanishing gradient makes Polyak's step explode); None: no limit."""

    eta_steps: int | None = 25
    """Steps of the run that `eta` and `max_step` are for: a shorter one moves further in each, a longer one less, in proportion, but
    at most 2.5 times as far; None: the same in each step, however many there are."""

    # Dynamic time travel.
    recurrences: int | Literal["dynamic"] = "dynamic"
    """r_t for every guided step, or "dynamic": floor(h_t ||g_t||)."""
    h: ByStage = (3.0, 1.0, 0.0)
    max_recurrences: int | None = 3
    """The cap on r_t, >= 0; None: no cap."""

    # Few steps.
    few_steps: FewSteps = "auto"
    """Whether a run is steered as `methods/few_steps.py` says: "always", "never", or "auto", which does so for at most 8 steps
    without classifier-free guidance (LCM, Turbo, Lightning, Hyper, schnell)."""
    updates: int = 12
    """Evaluations of the first level there beyond the first, >= 0: other noises, then steps along the gradient from the best; a
    Budget of evaluations decides instead."""
    draws: int = 2
    """Evaluations of each later level there beyond the first, >= 0: likewise, or other noise alone below the last border; a
    Budget of evaluations decides instead."""

    # Several seeds.
    scouts: int = 0
    """Further seeds begun for each image, of which the one that the reward puts highest goes on (`dymo.generation.scouts`), >= 0."""
    scout_until: float = 800.0
    """The noise level t, in 0..1000, down to which they are begun."""

    # What the gradient goes through.
    gradient: GradientChoice = "auto"
    """"full"; its conditional rows alone; "straight-through" leaves the denoiser out, z0' depending on z_t by its formula
    alone. "auto" is "full" for a UNet and "straight-through" for a transformer, whose backward costs as much again."""
    views: int = 1
    """Images scored a prediction: the clean one and `views - 1` augmented copies."""
    fresh_views: bool = False
    """Other augmentations at each evaluation, in place of the same ones for all evaluations of a step."""
    checkpointing: bool = False
    """Trade compute for memory in the denoiser, the decoder, and rewards that are loaded by name."""
    free_text_encoders: bool = False
    """Once they have read the prompt, move the text encoders to the CPU's memory until the run ends (T5: 9.5 GB)."""

    # Words, and what is recorded.
    truncation: Truncation = "chunk"
    """A prompt longer than the text encoder's window: encode it in several windows; or cut it off, which is an error where
    words of the graph are lost, or reported in the trace."""
    markup: Markup = "webui"
    """Brackets are weights, as web UIs read them ("(red:1.3)", "(red)", "[red]"), or "plain" text."""
    record_maps: bool = False
    """Keep the words' attention maps in the trace."""

    @property
    def through(self) -> Gradient:
        """`gradient` where no pipeline's family has a say in "auto"."""
        return "full" if self.gradient == "auto" else self.gradient

    def __post_init__(self) -> None:
        for name, kind in (
            ("borders_by", Borders), ("change_of", Normalisation), ("preference_form", PreferenceForm),
            ("step_rule", StepRule), ("gradient", GradientChoice), ("truncation", Truncation), ("change_since", Change),
            ("pieces", Pieces), ("map_rows", MapRows), ("markup", Markup), ("few_steps", FewSteps), ("units", Units),
        ):  # fmt: skip
            if getattr(self, name) not in get_args(kind):
                raise ConfigError(
                    Setting(name, getattr(self, name)), f": choose one of {', '.join(map(repr, get_args(kind)))}"
                )
        for name in ("eta", "h", "borders"):
            value = getattr(self, name)
            wanted, give = (2, "give 2 numbers") if name == "borders" else (3, "give a number, or 3 numbers, one a stage")
            value = (value,) * 3 if _is_number(value) and name != "borders" else value
            if (
                not isinstance(value, (tuple, list))
                or len(value) != wanted
                or not all(_is_number(v) and v >= 0 for v in value)
            ):
                raise ConfigError(Setting(name, value), f": {give}, none of them negative, as {getattr(Config, name)}")
            object.__setattr__(self, name, tuple(float(v) for v in value))
        first, second = self.borders
        if (first < second) if self.borders_by == "timestep" else (first > second):
            order = "fall" if self.borders_by == "timestep" else "rise"
            raise ConfigError(Setting("borders", self.borders), ": with ", Setting("borders_by", self.borders_by), f" they must {order}")
        top = 1000.0 if self.borders_by == "timestep" else 1.0
        if max(self.borders) > top:
            raise ConfigError(Setting("borders", self.borders), ": with ", Setting("borders_by", self.borders_by), f" they lie in 0..{top:g}")
        for name, low, high in (
            ("unguided_tail", 0, 1), ("semantic_weight", 0, None), ("preference_weight", 0, None),
            ("max_step", 0, None), ("damping", 0, None), ("max_recurrences", 0, None), ("views", 1, MOST_SEEDS),
            ("updates", 0, None), ("draws", 0, MOST_SEEDS), ("scouts", 0, MOST_SEEDS), ("scout_until", 0, 1000), ("eta_steps", 1, None),
        ):  # fmt: skip
            value = getattr(self, name)
            if value is None and name in ("max_step", "max_recurrences", "eta_steps"):
                continue
            if not _is_number(value) or value < low or (high is not None and value > high):
                raise ConfigError(
                    Setting(name, value), f": must be at least {low}", f" and at most {high}" if high else ""
                )
        for name in ("k", "tau"):
            if not _is_number(getattr(self, name)) or getattr(self, name) <= 0:
                raise ConfigError(Setting(name, getattr(self, name)), ": must be positive")
        for name in _SWITCHES:
            if not isinstance(getattr(self, name), bool):
                raise ConfigError(Setting(name, getattr(self, name)), ": give True or False")
        for name in ("max_recurrences", "views", "updates", "draws", "scouts", "eta_steps"):
            if getattr(self, name) is not None and not _is_whole(getattr(self, name)):
                raise ConfigError(Setting(name, getattr(self, name)), ": must be a whole number")
        if self.recurrences != "dynamic" and (not _is_whole(self.recurrences) or self.recurrences < 0):
            raise ConfigError(Setting("recurrences", self.recurrences), ": give 'dynamic' or a whole number that is not negative")
        if self.map_size is not None and (not _is_whole(self.map_size) or self.map_size < 1):
            raise ConfigError(Setting("map_size", self.map_size), ": give a positive whole number or None")
        for name, what, example in (("map_layers", "attention layers", "(6, 7, 8)"), ("map_encoders", "text encoders", "(0,)")):
            chosen = getattr(self, name)
            if chosen is None:
                continue
            if not isinstance(chosen, (tuple, list)) or not chosen or not all(type(i) is int and i >= 0 for i in chosen):
                raise ConfigError(Setting(name, chosen), f": give numbers of {what} from 0 on, as {example}, or None")
            object.__setattr__(self, name, tuple(dict.fromkeys(chosen)))
        for name, value in vars(self).items():
            # Numbers of NumPy, as a sweep gives them, are no JSON: a trace and a plan hold plain ones.
            if isinstance(value, Real) and not isinstance(value, (int, float)):
                object.__setattr__(self, name, int(value) if isinstance(value, Integral) else float(value))


SETTINGS = tuple(field.name for field in dataclasses.fields(Config))
"""The names of all settings."""
_SWITCHES = tuple(field.name for field in dataclasses.fields(Config) if field.type == "bool")


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def _is_whole(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


# The authors' program; its runs use DDIM, 50 steps, eta 1, guidance scale 7.5 (SDXL: 5). docs/settings.md has what differs.
_OFFICIAL: dict[str, Any] = dict(
    few_steps="never", borders_by="progress", borders=(8 / 50, 25 / 50), k=1.0, change_of="instance", change_since="evaluation",
    weights_have_gradient=True, preference_form="norm", clamp=False, pieces="each", wholes_and_parts=True, numerals=True, map_rows="all",
    step_rule="residual", max_step=None, eta_steps=None, damping=0.0, max_recurrences=None, views=11, fresh_views=True, gradient="full",
    units="absolute",
)  # fmt: skip

PRESETS: dict[str, Config] = {
    "default": Config(),
    # The equations of arXiv 2412.00759 and nothing else: no damping, no caps. It gives no eta and h.
    "paper": Config(
        few_steps="never", gradient="full", eta=(0.1, 0.08, 0.05), damping=0.0, max_step=None, eta_steps=None, max_recurrences=None, units="absolute",
        wholes_and_parts=True, numerals=True,
    ),
    "official-sd15": Config(**_OFFICIAL, semantic_weight=10.0, eta=(1.5, 1.0, 1.0), h=(1.0, 1.0, 3.0)),
    "official-sdxl": Config(
        **_OFFICIAL, unguided_tail=4 / 50, semantic_weight=50.0, eta=(1.0, 1.0, 3.0), h=(0.5, 0.5, 1.5)
    ),
    "fast": Config(gradient="straight-through", scouts=3, scout_until=500.0),
    # Twice as many seeds, told apart a little earlier.
    "thorough": Config(gradient="straight-through", scouts=7, scout_until=600.0),
}
"""Name -> settings; docs/settings.md says what each is for."""


def preset(name: str, **overrides: Any) -> Config:
    """A preset with some of its values replaced. Raises ConfigError on an unknown preset or setting."""
    if name not in PRESETS:
        raise ConfigError(f"unknown preset {name!r}: choose one of {', '.join(map(repr, PRESETS))}")
    unknown = sorted(set(overrides) - set(SETTINGS))
    if unknown:
        raise ConfigError(
            f"unknown setting {unknown[0]!r}{did_you_mean(unknown[0], SETTINGS)}: choose from {', '.join(sorted(SETTINGS))}"
        )
    return dataclasses.replace(PRESETS[name], **overrides)
