"""The options of the command line, each declared once: a settings object for every command, which its work receives."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_type_hints

import typer

from ..config import PRESETS, Config, OnHacking, Truncation

PRESET = "fast"
"""The preset of the commands where the user names none."""
MINIATURE = "dymo-miniature"
"""What images and reports call the embedded model."""

_IMAGE, _METHOD, _MACHINE, _OUTPUT, _WHAT, _MESSAGES = "Image", "Method", "Machine", "Output", "Comparison", "Messages"
Settings = TypeVar("Settings", bound="Common")
Precision = Literal["float32", "float16", "bfloat16"]
Offload = Literal["none", "model", "sequential"]
Level = Literal["debug", "info", "warning", "error"]


def _option(help: str, *names: str, metavar: str | None = None, panel: str | None = None, **more: Any) -> Any:
    return typer.Option(*names, help=help, metavar=metavar, rich_help_panel=panel, **more)


def _several(help: str, *names: str, metavar: str, panel: str | None = None) -> Any:
    return _option(f"{help} Can be repeated.", *names, metavar=metavar, panel=panel, show_default=False)


Outdir = Annotated[Path, _option("Folder of the results.", panel=_OUTPUT)]
Overwrite = Annotated[
    bool, _option("Replace files of the same name, which are otherwise kept.", "--overwrite", panel=_OUTPUT)
]
Device = Annotated[str | None, _option("cuda, cuda:1, mps, cpu. [default: the best there is]", panel=_MACHINE)]
Dtype = Annotated[
    Precision | None,
    _option("Precision. [default: a pipeline float16 on cuda, else float32; a reward as its file]", panel=_MACHINE),
]
Steps = Annotated[int | None, _option("Steps of the sampler. [default: the pipeline's own]", panel=_IMAGE)]
GuidanceScale = Annotated[
    float | None, _option("Classifier-free guidance. [default: the pipeline's own]", panel=_IMAGE)
]
Scheduler = Annotated[
    str | None,
    _option(
        "ddim, ddpm, euler, euler-ancestral, or the name of a diffusers class. [default: the model's own]",
        metavar="NAME", panel=_IMAGE,
    ),
]  # fmt: skip
Unet = Annotated[
    str | None,
    _option("Another UNet in the model, as those of Diffusion-DPO.", metavar="ID_OR_PATH", panel=_IMAGE),
]
Json = Annotated[bool, _option("Print JSON.", "--json")]


@dataclass(frozen=True, kw_only=True)
class Common:
    """What every command has."""

    verbose: Annotated[
        int, _option("Log what is done; -vv more.", "--verbose", "-v", count=True, panel=_MESSAGES, show_default=False)
    ] = 0
    log_level: Annotated[Level | None, _option("Log from this level on.", panel=_MESSAGES)] = None


@dataclass(frozen=True, kw_only=True)
class Parsing(Common):
    """What reads the prompts."""

    parser: Annotated[
        str,
        _option("spacy (offline), llm (an endpoint) or transformers (a local model).", metavar="NAME", panel=_METHOD),
    ] = "spacy"
    parser_model: Annotated[
        str | None,
        _option("The model of llm [default: $DYMO_LLM_MODEL] or transformers.", metavar="NAME", panel=_METHOD),
    ] = None
    base_url: Annotated[
        str | None,
        _option(
            "The endpoint of llm [default: $OPENAI_BASE_URL]; its key is $OPENAI_API_KEY.", metavar="URL", panel=_METHOD
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class Generate(Parsing):
    """`dymo generate`."""

    prompts: Annotated[
        list[str], typer.Argument(metavar="PROMPT", help="What the image should show, in quotes.", show_default=False)
    ] = ()  # type: ignore[assignment]
    file: Annotated[
        Path | None, _option("More prompts, one a line.", metavar="PROMPTS.txt", panel=_IMAGE)
    ] = None
    model: Annotated[
        str | None,
        _option(
            "A hub id, a diffusers folder, or a .safetensors checkpoint. [default: the embedded miniature]",
            "--model", "-m", metavar="ID_OR_PATH", panel=_IMAGE,
        ),
    ] = None  # fmt: skip
    config: Annotated[
        str | None,
        _option(
            "With a .safetensors checkpoint: the diffusers folder or hub id with the configuration and tokenizers of "
            "its family. [default: the family's first model, from the hub]",
            metavar="ID_OR_PATH", panel=_IMAGE,
        ),
    ] = None  # fmt: skip
    seeds: Annotated[str, _option("One image a prompt for each: `0-7`, `1,5,9`.", panel=_IMAGE)] = "0"
    steps: Steps = None
    guidance_scale: GuidanceScale = None
    negative_prompt: Annotated[str | None, _option("What to keep out of the image.", panel=_IMAGE)] = None
    scheduler: Scheduler = None
    height: Annotated[
        int | None, _option("Pixels, a multiple of 8. [default: the model's own]", panel=_IMAGE)
    ] = None
    width: Annotated[int | None, _option("Pixels, a multiple of 8. [default: the model's own]", panel=_IMAGE)] = None
    loras: Annotated[
        list[str],
        _several(
            "LoRA weights: a file, folder or hub id, with its strength (1 unless said).",
            "--lora", metavar="FILE[:STRENGTH]", panel=_IMAGE,
        ),
    ] = ()  # type: ignore[assignment]  # fmt: skip
    unet: Unet = None
    pipeline_kwargs: Annotated[
        str | None,
        _option("More arguments of the pipeline's call, as `'{\"eta\": 1}'`.", metavar="JSON", panel=_IMAGE),
    ] = None
    reward: Annotated[
        str | None,
        _option(
            "The reward that guides: a name of `dymo rewards list`, a local folder, or FILE.py:NAME. "
            "[default: mini-pickscore for the miniature, else pickscore]",
            metavar="NAME", panel=_METHOD,
        ),
    ] = None  # fmt: skip
    watch: Annotated[
        list[str], _several("A held-out reward, scored and never followed.", metavar="NAME", panel=_METHOD)
    ] = ()  # type: ignore[assignment]
    on_hacking: Annotated[
        OnHacking,
        _option(
            "Where the guiding reward rises and the watched ones fall: warn; stop guiding by it; or return the best "
            "of this image and the unguided one, by the watched rewards.",
            panel=_METHOD,
        ),
    ] = "warn"
    preset: Annotated[str, _option(f"One of {', '.join(PRESETS)}.", metavar="NAME", panel=_METHOD)] = PRESET
    set: Annotated[
        list[str],
        _several(
            f"Replace a value of the preset. Keys: {', '.join(field.name for field in dataclasses.fields(Config))}.",
            metavar="KEY=VALUE", panel=_METHOD,
        ),
    ] = ()  # type: ignore[assignment]  # fmt: skip
    truncation: Annotated[
        Truncation | None,
        _option(
            "Words beyond the text encoder's window: error, or report them and go on. [default: error]", panel=_METHOD
        ),
    ] = None
    graph: Annotated[
        Path | None,
        _option(
            "The prompt's graph, as `dymo graph --json` prints it. [default: the prompt is parsed]",
            metavar="FILE.json", panel=_METHOD,
        ),
    ] = None  # fmt: skip
    budget_evaluations: Annotated[
        int | None, _option("At most so many denoiser evaluations (NFE) an image.", metavar="N", panel=_METHOD)
    ] = None
    budget_seconds: Annotated[
        float | None, _option("At most so many seconds an image.", metavar="S", panel=_METHOD)
    ] = None
    preview_vae: Annotated[
        str | None,
        _option(
            "Decode predictions with this AutoencoderTiny: less memory, less time.", metavar="ID_OR_PATH", panel=_METHOD
        ),
    ] = None
    device: Device = None
    dtype: Dtype = None
    offload: Annotated[
        Offload, _option("Keep in device memory only the model (or the layer) at work.", panel=_MACHINE)
    ] = "none"
    compare: Annotated[
        bool, _option("Generate the unguided images too, and a contact sheet.", "--compare", panel=_OUTPUT)
    ] = False
    outdir: Outdir = Path("outputs")
    overwrite: Overwrite = False


@dataclass(frozen=True, kw_only=True)
class Demo(Common):
    """`dymo demo`."""

    outdir: Outdir = Path("outputs/demo")
    prompts: Annotated[int, _option("How many held-out prompts of two objects.")] = 16
    seed: Annotated[int, _option("Chooses the prompts and the noise.")] = 0
    overwrite: Overwrite = False
    words: Annotated[bool, _option("List the words that the miniature knows, and stop.", "--words")] = False


@dataclass(frozen=True, kw_only=True)
class Graph(Parsing):
    """`dymo graph`."""

    prompt: Annotated[
        list[str], typer.Argument(metavar="[PROMPT]", help="The prompt, in quotes.", show_default=False)
    ] = ()  # type: ignore[assignment]
    on_failure: Annotated[
        str | None, _option("Where the model fails: error, or fallback to spacy.", metavar="WHAT", panel=_METHOD)
    ] = None
    concurrency: Annotated[int | None, _option("Questions at a time, of llm.", metavar="N", panel=_METHOD)] = None
    graph: Annotated[
        Path | None, _option("Show this graph instead; the reference's format is read too.", metavar="FILE.json")
    ] = None
    tokenizer: Annotated[
        str | None,
        _option("Add the tokens of each word: miniature, a hub id, a pipeline's folder.", metavar="ID_OR_PATH"),
    ] = None
    json: Annotated[bool, _option("Print JSON, for `dymo generate --graph`.", "--json")] = False
    svg: Annotated[Path | None, _option("Draw the graph.", metavar="FILE.svg", panel=_OUTPUT)] = None
    file: Annotated[
        Path | None, _option("Read many prompts, one a line; resumes an earlier run.", metavar="PROMPTS.txt")
    ] = None
    out: Annotated[Path | None, _option("With --file: one graph a line.", metavar="GRAPHS.jsonl", panel=_OUTPUT)] = None
    overwrite: Overwrite = False


@dataclass(frozen=True, kw_only=True)
class Score(Common):
    """`dymo score`."""

    images: Annotated[list[Path], typer.Argument(metavar="IMAGE", help="Images, and folders of images.")]
    metrics: Annotated[
        str,
        _option("Rewards: names of `dymo rewards list`, local folders, FILE.py:NAME, or judge.", metavar="A,B,..."),
    ]
    prompt: Annotated[str | None, _option("The prompt of all images.")] = None
    prompts: Annotated[
        Path | None,
        _option(
            'Lines {"image": "a.png", "prompt": "..."}. [default: the parameters that a PNG carries]',
            metavar="FILE.jsonl",
        ),
    ] = None
    sources: Annotated[
        list[str], _several("Where a metric's weights are.", "--source", metavar="METRIC=PATH")
    ] = ()  # type: ignore[assignment]
    json: Json = False
    out: Annotated[Path | None, _option("Write the table: .csv, .json or .md.", metavar="FILE", panel=_OUTPUT)] = None
    overwrite: Overwrite = False
    device: Device = None
    dtype: Dtype = None


@dataclass(frozen=True, kw_only=True)
class RewardsList(Common):
    """`dymo rewards list`."""

    json: Json = False


@dataclass(frozen=True, kw_only=True)
class RewardsCheck(Common):
    """`dymo rewards check`."""

    name: Annotated[str, typer.Argument(help="As `dymo rewards list` names it, or the folder of a CLIP model.")]
    source: Annotated[
        str | None, _option("Another hub id, folder or weight file than its own.", metavar="ID_OR_PATH")
    ] = None
    images: Annotated[
        Path | None,
        _option("Where the images are whose scores the authors published.", "--images", metavar="FOLDER"),
    ] = None
    device: Device = None
    dtype: Dtype = None


@dataclass(frozen=True, kw_only=True)
class Bench(Common):
    """`dymo bench`; None is not given."""

    config: Annotated[Path | None, _option("A whole comparison.", metavar="FILE.yaml", panel=_WHAT)] = None
    table: Annotated[int | None, _option("One of the paper's tables, 1 to 4.", panel=_WHAT)] = None
    methods: Annotated[
        list[str], _several("A row: a method's name, or FILE.py:NAME.", "--method", metavar="NAME", panel=_WHAT)
    ] = ()  # type: ignore[assignment]
    prompts: Annotated[
        str | None,
        _option(
            "miniature; a .txt, .jsonl or .parquet file; pick-a-pic, hpdv2, parti-prompts, drawbench, t2i-compbench; "
            "hub:OWNER/NAME:SPLIT:COLUMN. [default: miniature]",
            metavar="SET", panel=_WHAT,
        ),
    ] = None  # fmt: skip
    n: Annotated[int | None, _option("How many prompts.", "--n", panel=_WHAT)] = None
    seeds: Annotated[str | None, _option("As `0-3`. [default: 0]", panel=_WHAT)] = None
    metrics: Annotated[str | None, _option("Rewards, and judge.", metavar="A,B,...", panel=_WHAT)] = None
    versus: Annotated[
        str | None, _option("The row that the others are tested against.", metavar="ROW", panel=_WHAT)
    ] = None
    pipeline: Annotated[
        str | None, _option("[default: miniature]", metavar="ID_OR_PATH", panel=_IMAGE)
    ] = None
    unet: Unet = None
    lora: Annotated[
        str | None, _option("LoRA weights on the pipeline.", metavar="ID_OR_PATH", panel=_IMAGE)
    ] = None
    steps: Steps = None
    guidance_scale: GuidanceScale = None
    scheduler: Scheduler = None
    reward: Annotated[str | None, _option("The reward that guides.", metavar="NAME", panel=_METHOD)] = None
    budget_evaluations: Annotated[
        int | None, _option("Evaluations (NFE) an image, for each --method.", metavar="N", panel=_METHOD)
    ] = None
    budget_seconds: Annotated[
        float | None, _option("Seconds an image, for each --method.", metavar="S", panel=_METHOD)
    ] = None
    engine: Annotated[Literal["local", "ray"], _option("What runs it.", panel=_MACHINE)] = "local"
    address: Annotated[
        str | None, _option("Of the Ray cluster. [default: what RAY_ADDRESS says]", panel=_MACHINE)
    ] = None
    batch: Annotated[int | None, _option("Prompts generated together. [default: 1]", panel=_MACHINE)] = None
    device: Device = None
    dtype: Dtype = None
    outdir: Annotated[
        Path | None, _option("Folder of the run. [default: runs/NAME-HASH, one a comparison]", panel=_OUTPUT)
    ] = None
    extend: Annotated[
        bool, _option("Turn the comparison in --outdir into this one, and keep what both have.", "--extend", panel=_OUTPUT)
    ] = False


@dataclass(frozen=True, kw_only=True)
class BenchReport(Common):
    """`dymo bench report`."""

    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run.")]
    versus: Annotated[str | None, _option("The row that the others are tested against.", metavar="ROW")] = None
    out: Annotated[Path | None, _option("Write it there. [default: RUN]", metavar="FOLDER", panel=_OUTPUT)] = None


def with_options_of(kind: type[Settings], work: Callable[[Settings], None]) -> Callable[..., None]:
    """A function whose parameters are the fields of `kind`, as Typer reads them; it calls `work` with the settings.

    Of a group of commands it does so only where none of the group is called.
    """
    hints = {**get_type_hints(kind, include_extras=True), "context": typer.Context}

    def call(context: typer.Context, **values: Any) -> None:
        if context.invoked_subcommand is None:
            work(kind(**values))

    call.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [_parameter("context", typer.Context)]
        + [_parameter(field.name, hints[field.name], field.default) for field in _own_first(kind)]
    )
    call.__annotations__ = hints
    call.__name__, call.__doc__ = work.__name__, work.__doc__
    return call


def _parameter(name: str, annotation: Any, default: Any = dataclasses.MISSING) -> inspect.Parameter:
    empty = inspect.Parameter.empty
    default = empty if default is dataclasses.MISSING else default
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default)


def _own_first(kind: type[Common]) -> list[dataclasses.Field]:
    """The fields that the class declares itself, then its parent's, last those of all commands."""
    depth = {name: n for n, parent in reversed(list(enumerate(kind.__mro__))) for name in vars(parent).get("__annotations__", {})}
    return sorted(dataclasses.fields(kind), key=lambda field: depth[field.name])
