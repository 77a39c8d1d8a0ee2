"""The options of the command line, each declared once: a settings object for every command, which its work receives.

The classes' docstrings are the commands' help.
"""

# ruff: noqa: RUF009 -- what the calls return are fields
from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_origin, get_type_hints

import typer

from ..config import PRESETS, SETTINGS, OnHacking, Truncation
from ..errors import ConfigError
from ..pipelines.sampler_names import SAMPLERS

PRESET = "fast"
"""The preset of the commands where the user names none."""
RECORDED = "dymo-miniature"
"""What images and reports call the embedded model."""

Settings = TypeVar("Settings", bound="Common")
Offload = Literal["none", "model", "sequential"]
_REQUIRED: Any = dataclasses.MISSING
_EMPTY = inspect.Parameter.empty


def _option(
    panel: str | None, help: str, metavar: str | None = None, *names: str, default: Any = None, **more: Any
) -> Any:
    """A field of a settings object that is an option. names: where they are not the field's own."""
    more |= {"help": help, "metavar": metavar, "rich_help_panel": panel}
    return dataclasses.field(default=default, metadata={"of": typer.Option, "names": names, "more": more})


def _argument(help: str, metavar: str, default: Any = _REQUIRED) -> Any:
    more = {"help": help, "metavar": metavar, "show_default": False}
    return dataclasses.field(default=default, metadata={"of": typer.Argument, "names": (), "more": more})


_plain, _image, _method, _machine, _output, _what, _messages = (
    partial(_option, panel) for panel in (None, "Image", "Method", "Machine", "Output", "Comparison", "Messages")
)
# Options of several commands.
_overwrite = partial(_output, "Replace files of the same name, which are otherwise kept.", default=False)
_device = partial(_machine, "cuda, cuda:1, mps, cpu. [default: the best there is]")
_dtype = partial(_machine, "float32, float16 or bfloat16. [default: as the reward's file has it]", "NAME")
_precision = partial(
    _machine,
    "float32, float16, bfloat16; or auto, as the model's files have it. [default: on cuda float16, and bfloat16 for a transformer; else float32]",
    "NAME",
)
_offload = partial(
    _machine,
    "none; or keep in device memory the model at work only, or (sequential) the layer. Not on the CPU, where a model "
    "is in memory anyway.",
)
_variant = partial(_image, "Which of a folder's or hub id's weight files, as fp16. [default: the plain ones]", "NAME")
_revision = partial(_image, "A branch, tag or commit of the hub id. [default: main]", "NAME")
_lora = partial(
    _image,
    "A LoRA with its strength (1 unless said): a file, a folder, OWNER/NAME, OWNER/NAME/FILE.",
    "FILE[:STRENGTH]",
    "--lora",
    default=(),
)
_steps = partial(_image, "Steps of the sampler. [default: the pipeline's own; of the miniature 25]")
_guidance_scale = partial(_image, "Classifier-free guidance. [default: the pipeline's own; of the miniature 4]")
_SCHEDULERS = f"{', '.join(SAMPLERS)}; most also with a spacing, as `dpm++ 2m karras`; or a diffusers class. [default: the model's own]"
_scheduler = partial(_image, _SCHEDULERS, "NAME")
_pipeline_kwargs = partial(_image, "More arguments of the pipeline's call, as `'{\"eta\": 1}'`.", "JSON")
_unet = partial(_image, "Another UNet in the model, as those of Diffusion-DPO.", "ID_OR_PATH")
_transformer = partial(
    _image, "Another transformer in the model, as one in GGUF: a .gguf or .safetensors file, OWNER/NAME/FILE, a folder, a hub id.", "FILE_OR_ID"
)


# fmt: off
@dataclass(frozen=True, kw_only=True)
class Common:
    """What every command has."""

    verbose: int = _messages(
        "Log what is done; -vv more.", None, "--verbose", "-v", default=0, count=True, show_default=False
    )
    log_level: Literal["debug", "info", "warning", "error"] | None = _messages("Log from this level on.")


@dataclass(frozen=True, kw_only=True)
class Parsing(Common):
    """What reads the prompts."""

    parser: str = _method("spacy (offline), llm (an endpoint), transformers (a local model).", "NAME", default="spacy")
    parser_model: str | None = _method("The model of llm [default: $DYMO_LLM_MODEL] or transformers.", "NAME")
    base_url: str | None = _method("Endpoint of llm [default: $OPENAI_BASE_URL]; its key is $OPENAI_API_KEY.", "URL")
    on_failure: str | None = _method("Where the model fails: error, or fallback to spacy.", "WHAT")


@dataclass(frozen=True, kw_only=True)
class Generate(Parsing):
    """Generate images of prompts with a pipeline **guided by DyMO**.

    For every prompt and seed: a PNG that carries its parameters, the trace as JSON, and its plot. Files that are there
    already are kept: the new ones get a number. Bad input is refused before the model is loaded, with exit code 2.
    """

    prompts: list[str] = _argument("What the image should show, in quotes.", "PROMPT", default=())
    file: Path | None = _image("More prompts: a .txt (one a line), .csv, .tsv, .json, .jsonl or .parquet file.", "PROMPTS")
    model: str | None = _image(
        "A hub id, a diffusers folder, or a .safetensors checkpoint. [default: the embedded miniature]",
        "ID_OR_PATH", "--model", "-m"
    )
    config: str | None = _image(
        "With a .safetensors checkpoint: the diffusers folder or hub id with the configuration and tokenizers of its "
        "family. [default: the family's first model, from the hub]", "ID_OR_PATH"
    )
    seeds: str = _image("One image a prompt for each: `0-7`, `1,5,9`.", default="0")
    steps: int | None = _steps()
    guidance_scale: float | None = _guidance_scale()
    negative_prompt: str | None = _image("What to keep out of the image.")
    scheduler: str | None = _scheduler()
    height: int | None = _image("Pixels, a multiple of 8. [default: the model's own]")
    width: int | None = _image("Pixels, a multiple of 8. [default: the model's own]")
    variant: str | None = _variant()
    revision: str | None = _revision()
    loras: list[str] = _lora()
    unet: str | None = _unet()
    transformer: str | None = _transformer()
    pipeline_kwargs: str | None = _pipeline_kwargs()
    reward: str | None = _method(
        "The reward that guides: a name of `dymo rewards list`, a local folder, or FILE.py:NAME. "
        "[default: mini-pickscore for the miniature, else pickscore]", "NAME"
    )
    watch: list[str] = _method("A held-out reward, scored and never followed.", "NAME", default=())
    on_hacking: OnHacking = _method(
        "Where the guiding reward rises and the watched ones fall: warn; stop guiding by it; or return the best of this "
        "image and the unguided one, by the watched rewards.", default="warn"
    )
    preset: str = _method(f"One of {', '.join(PRESETS)}.", "NAME", default=PRESET)
    set: list[str] = _method(
        f"Replace a value of the preset. Keys: {', '.join(SETTINGS)}.",
        "KEY=VALUE", default=()
    )
    truncation: Truncation | None = _method(
        "A prompt longer than the encoder's window: encoded in chunks; or cut off, an error where words of the graph are lost, "
        "or reported. [default: chunk]"
    )
    graph: Path | None = _method("The prompt's graph, as `dymo graph --json` prints it, not parsed anew.", "FILE.json")
    budget_evaluations: int | None = _method("At most so many denoiser evaluations (NFE) an image.", "N")
    budget_seconds: float | None = _method("At most so many seconds an image.", "S")
    preview_vae: str | None = _method("An AutoencoderTiny for predictions: less memory and time.", "ID_OR_PATH")
    device: str | None = _device()
    dtype: str | None = _precision()
    offload: Offload = _offload(default="none")
    compile: bool = _machine(
        "Compile the model's blocks first: the first image of a size waits, a minute or more, and every evaluation is faster.", default=False
    )
    graphs: bool = _machine(
        "On CUDA: replay each kind of evaluation as a CUDA graph, so that it waits for its arithmetic and not for its launches.", default=False
    )
    compare: bool = _output("Generate the unguided images too, and a contact sheet.", default=False)
    outdir: Path = _output("Folder of the results.", default=Path("outputs"))
    overwrite: bool = _overwrite()


@dataclass(frozen=True, kw_only=True)
class Demo(Common):
    """Generate with the **embedded miniature**, unguided and aligned, and show by how much it helped.

    Writes the images, an overview, a contact sheet, the traces with their plots, `report.html` and `report.md`; prints the table:
    the guiding reward, a held-out reward, the accuracy by an independent judge, evaluations and seconds.
    """

    outdir: Path = _output("Folder of the results.", default=Path("outputs/demo"))
    prompts: int = _plain("How many held-out prompts of two and three things.", default=16)
    seed: int = _plain("Chooses the prompts and the noise.", default=0)
    overwrite: bool = _overwrite()
    words: bool = _plain("List the words that the miniature knows, and stop.", default=False)


@dataclass(frozen=True, kw_only=True)
class Graph(Parsing):
    """Show **what the parser understood**: the things a prompt names, their attributes and relations, and its style."""

    prompt: list[str] = _argument("The prompt, in quotes.", "[PROMPT]", default=())
    concurrency: int | None = _method("Questions at a time, of llm.", "N")
    graph: Path | None = _plain("Show this graph instead; the reference's format is read too.", "FILE.json")
    tokenizer: str | None = _plain("Add each word's tokens: miniature, a hub id, a pipeline's folder.", "ID_OR_PATH")
    json: bool = _plain("Print JSON, for `dymo generate --graph`.", default=False)
    svg: Path | None = _output("Draw the graph.", "FILE.svg")
    file: Path | None = _plain(
        "Read many prompts: a .txt (one a line), .csv, .tsv, .json, .jsonl or .parquet file. Resumes an earlier run.", "PROMPTS"
    )
    out: Path | None = _output("With --file: one graph a line.", "GRAPHS.jsonl")
    overwrite: bool = _overwrite()


@dataclass(frozen=True, kw_only=True)
class Maps(Parsing):
    """Show **which attention layers** say early where the words' things will be: for `--set map_layers=[...]`.

    The pipeline runs unguided, once for each size of its maps. A layer's agreement is the correlation of its map of a word
    with the mean of all other layers' at the end of the run; early: at the steps that the semantic objective steers.
    """

    prompts: list[str] = _argument("What the images should show: several things, in quotes.", "PROMPT", default=())
    file: Path | None = _image("More prompts: a .txt (one a line), .csv, .tsv, .json, .jsonl or .parquet file.", "PROMPTS")
    model: str | None = _image(
        "A hub id, a diffusers folder, or a .safetensors checkpoint. [default: the embedded miniature]",
        "ID_OR_PATH", "--model", "-m"
    )
    config: str | None = _image(
        "With a .safetensors checkpoint: the diffusers folder or hub id with its family's configuration and tokenizers.", "ID_OR_PATH"
    )
    seed: int = _image("Of the noise.", default=0)
    steps: int | None = _steps()
    guidance_scale: float | None = _guidance_scale()
    scheduler: str | None = _scheduler()
    variant: str | None = _variant()
    revision: str | None = _revision()
    transformer: str | None = _transformer()
    pipeline_kwargs: str | None = _pipeline_kwargs()
    preset: str = _method(f"Whose steps count as early: one of {', '.join(PRESETS)}.", "NAME", default=PRESET)
    json: bool = _plain("Print JSON.", default=False)
    device: str | None = _device()
    dtype: str | None = _precision()
    offload: Offload = _offload(default="none")


@dataclass(frozen=True, kw_only=True)
class Score(Common):
    """Score images with **reward models**, and print a table."""

    images: list[Path] = _argument("Images, and folders of images.", "IMAGE")
    metrics: str = _plain("Of `dymo rewards list`, folders, FILE.py:NAME, or judge.", "A,B,...", default=_REQUIRED)
    prompt: str | None = _plain("The prompt of all images.")
    prompts: Path | None = _plain(
        'Lines {"image": "a.png", "prompt": "..."}, with folders where names repeat. [default: the parameters that a PNG carries]', "FILE.jsonl"
    )
    sources: list[str] = _plain("Where a metric's weights are.", "METRIC=PATH", "--source", default=())
    json: bool = _plain("Print JSON.", default=False)
    out: Path | None = _output("Write the table: .csv, .json or .md.", "FILE")
    overwrite: bool = _overwrite()
    device: str | None = _device()
    dtype: str | None = _dtype()


@dataclass(frozen=True, kw_only=True)
class RewardsList(Common):
    """Say of each reward what it measures, its range, licence and size, whether it reads the timestep, and if it can guide."""

    json: bool = _plain("Print JSON.", default=False)


@dataclass(frozen=True, kw_only=True)
class RewardsCheck(Common):
    """Load a reward, try it on **two supplied images**, and compare it with published scores where these are known.

    Exit code 1 if something does not hold.
    """

    name: str = _argument("As `dymo rewards list` names it, or the folder of a CLIP model.", "NAME")
    source: str | None = _plain("Another hub id, folder or weight file than its own.", "ID_OR_PATH")
    images: Path | None = _plain("Where the images are whose scores the authors published.", "FOLDER")
    device: str | None = _device()
    dtype: str | None = _dtype()


@dataclass(frozen=True, kw_only=True)
class Bench(Common):
    """Compare **methods x prompts x seeds x metrics**, DyMO among them, on any pipeline.

    Results are kept as they come: run the same command again to resume, or in a second shell to share the work. Ends with
    a report: tables with intervals and tests, score against cost, images, failures.
    """

    config: Path | None = _what("A whole comparison.", "FILE.yaml")
    table: int | None = _what("One of the paper's tables, 1 to 4.")
    methods: list[str] = _what("A row: a method's name, or FILE.py:NAME.", "NAME", "--method", default=())
    prompts: str | None = _what(
        "miniature; a .txt, .csv, .tsv, .json, .jsonl or .parquet file; pick-a-pic, hpdv2, parti-prompts, drawbench, t2i-compbench; "
        "hub:OWNER/NAME:SPLIT:COLUMN. [default: miniature]", "SET"
    )
    n: int | None = _what("How many prompts.")
    seeds: str | None = _what("As `0-3`. [default: 0]")
    metrics: str | None = _what("Rewards, and judge.", "A,B,...")
    versus: str | None = _what("The row that the others are tested against.", "ROW")
    pipeline: str | None = _image("As `--model` of `dymo generate`. [default: miniature]", "ID_OR_PATH")
    pipeline_config: str | None = _image(
        "With a .safetensors checkpoint: the diffusers folder or hub id with its family's configuration and tokenizers.", "ID_OR_PATH"
    )
    variant: str | None = _variant()
    revision: str | None = _revision()
    unet: str | None = _unet()
    lora: list[str] = _lora()
    steps: int | None = _steps()
    guidance_scale: float | None = _guidance_scale()
    scheduler: str | None = _scheduler()
    reward: str | None = _method("The reward that guides.", "NAME")
    budget_evaluations: int | None = _method("Evaluations (NFE) an image, for each --method.", "N")
    budget_seconds: float | None = _method("Seconds an image, for each --method.", "S")
    engine: Literal["local", "ray"] = _machine("What runs it.", default="local")
    address: str | None = _machine("Of the Ray cluster. [default: what RAY_ADDRESS says]")
    batch: int | None = _machine("Prompts generated together. [default: 1]")
    device: str | None = _device()
    dtype: str | None = _precision()
    offload: Offload | None = _offload()
    outdir: Path | None = _output("Folder of the run. [default: runs/NAME-HASH, one a comparison]")
    extend: bool = _output("Turn the comparison in --outdir into this one, and keep what both have.", default=False)


@dataclass(frozen=True, kw_only=True)
class BenchReport(Common):
    """Write the **report** of a run anew: `report.html`, which opens without a server, and `report.md`."""

    run: Path = _argument("The folder of a run.", "RUN")
    versus: str | None = _plain("The row that the others are tested against.", "ROW")
    out: Path | None = _output("Write it there. [default: RUN]", "FOLDER")


@dataclass(frozen=True, kw_only=True)
class Study(Common):
    """Ask people which of two images of a bench run is better: a web page for any number of raters.

    Every two of the rows are compared on every prompt and seed that both have. Sides and order are random for each rater,
    nothing shows what made an image, and some pairs check that the rater looks. Run the same command again to go on.
    """

    run: Path = _argument("The folder of a run of `dymo bench`.", "RUN")
    rows: list[str] = _argument("Two or more rows of it.", "ROW_A ROW_B")
    question: str = _plain("What is asked.", default="Which image fits the text better?")
    pairs: int | None = _plain("Pairs a rater gets, chosen at random. [default: all]", "N")
    seed: int = _plain("Chooses pairs, order and sides.", default=0)
    answers: Path | None = _output("The file of the answers. [default: RUN/study.sqlite]", "FILE")
    host: str = _plain("Where to listen; 0.0.0.0 lets others in this network in.", default="127.0.0.1")
    port: int = _plain("0 for any that is free.", default=7862)


@dataclass(frozen=True, kw_only=True)
class StudyReport(Common):
    """Write what raters said: win rates with intervals, Bradley-Terry, and bars (`study.md`, `study.png`, `study.json`)."""

    run: Path = _argument("The folder of the run.", "RUN")
    answers: Path | None = _plain("The file of the answers. [default: RUN/study.sqlite]", "FILE")
    out: Path | None = _output("Write it there. [default: RUN]", "FOLDER")


@dataclass(frozen=True, kw_only=True)
class Studio(Common):
    """Generate in the **browser**: see the prompt as understood, the image as it forms, and unguided beside aligned.

    Starts on the embedded miniature, with no download. Images, with all that made them, are kept in --outdir.
    """

    models: list[str] = _image(
        "Offer this pipeline too: a hub id, a diffusers folder, or a .safetensors checkpoint.", "ID_OR_PATH", "--model",
        "-m", default=()
    )
    transformer: str | None = _transformer()
    loras: list[str] = _lora()
    preview_vae: str | None = _method("An AutoencoderTiny for predictions: less memory and time.", "ID_OR_PATH")
    outdir: Path = _output("Folder of the images, shown as the gallery.", default=Path("outputs/studio"))
    host: str = _plain("Where to listen; 0.0.0.0 lets others in this network in.", default="127.0.0.1")
    port: int = _plain("0 for any that is free.", default=7861)
    open: bool = _plain("Open the page in the browser.", default=False)
    device: str | None = _device()
    dtype: str | None = _precision()
    offload: Offload = _offload(default="none")
# fmt: on


def with_options_of(kind: type[Settings], work: Callable[[Settings], None]) -> Callable[..., None]:
    """A function whose parameters are the fields of `kind`, as Typer reads them; it calls `work` with the settings.

    Of a group of commands it does so only where none of the group is called.
    """

    def call(context: typer.Context, **values: Any) -> None:
        if context.invoked_subcommand is None:
            _check_empty(kind, values)
            work(kind(**values))

    hints = get_type_hints(kind)
    # The fields that the class declares itself first, last those of all commands.
    own = [name for parent in kind.__mro__ for name in vars(parent).get("__annotations__", ())]
    fields = sorted(dataclasses.fields(kind), key=lambda field: own.index(field.name))
    kinds = {"context": typer.Context} | {field.name: _annotated(field, hints[field.name]) for field in fields}
    defaults = {field.name: field.default for field in fields if field.default is not _REQUIRED}
    call.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=of, default=defaults.get(name, _EMPTY))
            for name, of in kinds.items()
        ]
    )
    call.__annotations__ = kinds
    call.__doc__ = kind.__doc__
    return call


def _check_empty(kind: type[Settings], values: dict[str, Any]) -> None:
    """Raises ConfigError on an option that is given and empty, as by a variable of the shell that is not set: it would stand for another value."""
    for field in dataclasses.fields(kind):
        given = values.get(field.name)
        if field.metadata["of"] is typer.Option and field.name != "negative_prompt" and "" in (given if isinstance(given, list) else [given]):
            name = (field.metadata["names"] or [f"--{field.name.replace('_', '-')}"])[0]
            raise ConfigError(f"{name} is empty: give a value, or leave it out")


def _annotated(field: dataclasses.Field, hint: Any) -> Any:
    of, names, more = (field.metadata[key] for key in ("of", "names", "more"))
    if of is typer.Option and hint is bool:
        names = names or (f"--{field.name.replace('_', '-')}",)  # and no --no-...
    if of is typer.Option and get_origin(hint) is list:
        more = {**more, "help": f"{more['help']} Can be repeated.", "show_default": False}
    return Annotated[hint, of(*names, **more)]
