"""The rewards that have a name: what each is, and how it is loaded."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from .. import plugins
from ..errors import ConfigError, ModelWarning, RewardError, did_you_mean
from ..parts import InPython, OfReward, Part

if TYPE_CHECKING:
    import torch

    from .base import Reward

GROUP = "dymo.rewards"  # the entry point group of rewards from other packages
WEIGHT_FILES = (".safetensors", ".pt", ".pth", ".bin", ".ckpt")

Loader = Callable[..., "Reward"]
"""(spec, source, dtype, checkpointing=...) -> the reward; dtype None: as the file has it; checkpointing only where asked for."""
Guides = Literal["yes", "with another", "measure only"]


class OfScores(TypedDict):
    """Points that images of one prompt differ by, and the score of an ordinary image."""

    scale: float
    typical: float | None


@dataclass(frozen=True)
class Spec:
    """One row of `dymo rewards list`. What another package registers needs the first two alone."""

    name: str
    loader: Loader
    measures: str = ""
    typical: tuple[float, float] | None = None  # where scores of ordinary images lie
    licence: str = ""
    millions: float | None = None  # parameters, those of the prompt's tower included
    scale: float = 1.0  # by how many points images of one prompt usually differ: the unit that it guides in
    source: str = ""  # the hub id it comes from; "" for what is installed with it
    file: str = ""  # the weight file there
    reads_timestep: bool = False
    guides: Guides = "yes"
    """ "with another": it does not read the prompt; "measure only": it has no gradient, or one that finds other things."""
    about: str = ""  # what else a user should know, in a line
    gradient: bool = True  # whether its scores have one to the images

    @property
    def of_scores(self) -> OfScores:
        """What a reward is told of its own scores."""
        return {"scale": self.scale, "typical": None if self.typical is None else sum(self.typical) / 2}

    def load(self, source: str | Path | None = None, dtype: torch.dtype | None = None, **settings: Any) -> Reward:
        """source: in the place of the spec's own. Raises RewardError with the true reason."""
        from .checkpoint import reason

        if source is not None:
            source = self._checked(source)
        try:
            return self.loader(self, source or self.source, dtype, **settings)
        except RewardError as error:
            if source is None and self.source and isinstance(error.__cause__, OSError):
                raise RewardError(error, f". Installed here: {', '.join(plugins.names(GROUP))}") from error
            raise
        except Exception as error:
            place = source or self.source  # of a package's own there is none to name
            where = f" from {str(place)!r}" if place else ""
            raise RewardError(f"{self.name}: cannot be loaded{where}: {reason(error)}") from error

    def _checked(self, source: str | Path) -> str | Path:
        """Raises RewardError on an empty source, or on a path where nothing is; warns of the file of another version."""
        text = str(source)
        if not text.strip():
            raise RewardError(f"{self.name}: ", OfReward("source", source), " is empty; give a hub id, a folder or a file, or None")
        path = Path(source).expanduser()
        if not path.exists() and (text.count("/") != 1 or text[0] in "./~" or path.suffix in WEIGHT_FILES):
            raise RewardError(f"{self.name}: ", OfReward("source", text), ": no such file or folder, and a hub id is OWNER/NAME")
        # Files of one hub id differ in nothing but their values.
        stems = {Path(s.file).stem: s.name for s in OWN.values() if s.source == self.source and s.name != self.name}
        if path.stem in stems:
            alike = f"{path.name} is what {stems[path.stem]}'s file is called, and nothing in it tells the two apart"
            warnings.warn(ModelWarning(f"{self.name}: {alike}: if it is that file, load it as {stems[path.stem]!r}"), stacklevel=4)
        return path if path.exists() else source


def lazily(module: str, function: str) -> Loader:
    """The loader of that name in a module of this folder, which is imported when it is first called."""

    def load(spec: Spec, source: str | Path, dtype: torch.dtype | None = None, **settings: Any) -> Reward:
        return getattr(import_module(f".{module}", __package__), function)(spec, source, dtype, **settings)

    return load


_SPM = "SPO-Diffusion-Models/Step-Aware_Preference_Models"
_HPS = "xswu/HPSv2"
_step_aware, _hps = lazily("step_aware", "load_step_aware"), lazily("clip", "load_hps")

_ALL = (
    Spec("pickscore", lazily("clip", "load_pickscore"), "which image users of Pick-a-Pic preferred for the prompt",
         (18, 25), "MIT (code; none said of the weights)", 986.1, 1.0, "yuvalkirstain/PickScore_v1",
         "model.safetensors"),
    Spec("step-aware-sd15", _step_aware, "the same preference on SD1.5's noisy one-step predictions", (18, 25),
         "Apache-2.0", 1306.2, 1.0, _SPM, "sd-v1-5_step-aware_preference_model.bin", reads_timestep=True,
         about="the paper's own guide"),
    Spec("step-aware-sdxl", _step_aware, "the same preference on SDXL's noisy one-step predictions", (18, 25),
         "Apache-2.0", 1306.2, 1.0, _SPM, "sdxl_step-aware_preference_model.bin", reads_timestep=True,
         about="the paper's own guide"),
    Spec("hpsv2", _hps, "which image people preferred for the prompt, HPD v2", (0.25, 0.29), "Apache-2.0", 986.1, 0.01,
         _HPS, "HPS_v2_compressed.pt", about="never compare with hpsv2.1"),
    Spec("hpsv2.1", _hps, "the same, trained on better data", (0.20, 0.34), "Apache-2.0", 986.1, 0.03, _HPS,
         "HPS_v2.1_compressed.pt", about="never compare with hpsv2"),
    Spec("imagereward", lazily("image_reward", "load_image_reward"), "how experts rate faithfulness and quality",
         (-2.3, 2.0), "Apache-2.0", 446.2, 1.0, "THUDM/ImageReward", "ImageReward.pt",
         about="one unit is one standard deviation"),
    Spec("aesthetic", lazily("aesthetic", "load_aesthetic"),
         "how much people like the look, whatever the prompt (LAION v2)", (5.0, 6.5), "Apache-2.0 (head), MIT (tower)",
         304.9, 0.5, "camenduru/improved-aesthetic-predictor", "sac+logos+ava1-l14-linearMSE.pth",
         guides="with another", about="the tower is openai/clip-vit-large-patch14"),
    Spec("clipscore", lazily("clip", "load_clipscore"), "how well image and prompt agree for CLIP ViT-L/14",
         (0.15, 0.35), "MIT", 427.6, 0.03, "openai/clip-vit-large-patch14", "model.safetensors", guides="measure only"),
    Spec("vqascore", lazily("vqa", "load_vqa"),
         "how likely a vision-language model says that the image shows the prompt", (0, 1), "Apache-2.0", 8292.2, 0.2,
         "Qwen/Qwen2.5-VL-7B-Instruct", "model.safetensors.index.json", guides="measure only",
         about="source= takes any other", gradient=False),
)  # fmt: skip

OWN: dict[str, Spec] = {spec.name: spec for spec in _ALL}


class Specs(Mapping[str, Spec]):
    """Every reward that has a name: `OWN`, and those that packages register in the group `dymo.rewards`.

    A package's code is imported when its own name is looked up, so that a broken one does not hinder the others.
    """

    def __getitem__(self, name: str) -> Spec:
        if name not in self:
            raise KeyError(name)
        return OWN[name] if name in OWN else dataclasses.replace(_plugged(name), name=name)

    def __contains__(self, name: object) -> bool:
        return name in OWN or (isinstance(name, str) and plugins.is_known(name, GROUP))

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys([*OWN, *plugins.names(GROUP)]))

    def __len__(self) -> int:
        return sum(1 for _ in self)


SPECS = Specs()


def spec_of(name: str) -> Spec:
    """What `load_reward(name)` would load, without its weights: so that a whole list can be checked first.

    name: one of `SPECS`, the folder of a CLIPModel, or `file.py:name`. Raises RewardError with the true reason.
    """
    if name in SPECS:
        return SPECS[name]
    if name.strip() and Path(name).expanduser().is_dir():
        path = Path(name).expanduser()
        return Spec(path.name, lazily("clip", "load_clip"), source=str(path))
    if plugins.is_reference(name):
        return _plugged(name)
    if said := plugins.no_name(name):
        raise RewardError(f"the reward {said}")
    what = "there is no folder" if "/" in name or not name.strip() else "unknown reward"
    raise RewardError(f"{what} {name!r}{did_you_mean(name, SPECS)}: ", remedy())


def remedy() -> tuple[str | Part, ...]:
    """What can be given as a reward."""
    names = ", ".join(map(repr, SPECS))
    function = InPython(", FILE.py:NAME, or a function f(images, prompts) -> scores", ", or FILE.py:NAME")
    return f"choose {names}, give the folder of a CLIPModel", function


def ready(reward: object) -> Reward:
    """An object that is a reward, or a function as one. Raises RewardError."""
    from .base import FunctionReward, Reward

    if isinstance(reward, type):
        raise RewardError(f"{reward.__name__} is a class: give one of its objects, as {reward.__name__}(...)")
    if isinstance(reward, Reward):
        return reward
    if callable(reward):
        return FunctionReward(reward)
    several = isinstance(reward, (list, tuple, set))
    advice = "several rewards are a dictionary, as {'pickscore': 1.0, 'hpsv2.1': 0.5}" if several else remedy()
    raise RewardError(f"{reward!r:.80} is no reward: ", advice)


def _plugged(name: str) -> Spec:
    """The Spec that an entry point or a reference stands for, or one of the reward or function that it stands for."""
    from .base import is_differentiable, scale_of

    try:
        found = plugins.load(name, GROUP)
        if isinstance(found, Spec):
            return found
        reward = ready(found)
    except (ConfigError, RewardError) as error:
        raise RewardError("the reward ", error) from error

    def load(spec: Spec, source: str | Path, dtype: torch.dtype | None = None, **settings: Any) -> Reward:
        if source:
            raise RewardError(f"{spec.name} is a reward in Python, which no ", OfReward("source", str(source)), " can serve")
        return reward

    gradient = is_differentiable(reward)
    guides: Guides = "yes" if gradient else "measure only"
    return Spec(name, load, scale=scale_of(reward), reads_timestep=reward.reads_timestep, guides=guides, gradient=gradient)
