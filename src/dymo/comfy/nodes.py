"""The nodes, as ComfyUI's V3 interface wants them. Imported inside of ComfyUI alone."""

from __future__ import annotations

from typing import Any

import comfy.model_management as comfy_models
import folder_paths
from comfy_api.latest import ComfyAPISync, ComfyExtension, io

from ..commands.models import DTYPES
from ..config import PRESETS
from ..miniature import MINIATURE
from ..pipelines.sampler_names import SAMPLERS
from ..rewards.registry import SPECS
from . import work

CATEGORY = "DyMO"
OWN, USUAL = "the model's own", "as usual"
"""In the place of a sampler, and of a precision."""
Pipeline, Reward, Graph, Lora = (io.Custom(f"DYMO_{name}") for name in ("PIPELINE", "REWARD", "GRAPH", "LORA"))


def _files(folder: str) -> list[str]:
    """Of one of ComfyUI's folders of models; other files than these are not read."""
    return [name for name in folder_paths.get_filename_list(folder) if name.endswith(".safetensors")]


def _how() -> list[Any]:
    """The inputs that both loaders have."""
    return [
        io.Combo.Input("scheduler", options=[OWN, *SAMPLERS], default=OWN, tooltip="The sampler"),
        io.Combo.Input("dtype", options=[USUAL, *DTYPES], default=USUAL, tooltip="On CUDA float16, or bfloat16 for a transformer; else float32"),
        io.Combo.Input(
            "offload", options=["none", "model", "sequential"], default="none",
            tooltip="Where memory is short: keep models, or layers, in main memory until they are needed",
        ),
        io.String.Input("preview_vae", default="", tooltip="An AutoencoderTiny, as madebyollin/taesdxl, which decodes predictions quickly"),
        Lora.Input("lora", optional=True),
    ]  # fmt: skip


def _transformers() -> dict[str, str]:
    """Files of ComfyUI's folders of diffusion models by name, and the folder of each; GGUF's is of an extension."""
    folders = [name for name in ("diffusion_models", "unet_gguf") if name in folder_paths.folder_names_and_paths]
    found = {name: folder for folder in folders for name in folder_paths.get_filename_list(folder)}
    return {name: folder for name, folder in sorted(found.items()) if name.endswith((".safetensors", ".gguf"))}


def _load(
    model: str, scheduler: str, dtype: str, offload: str, preview_vae: str, lora: work.Loras, config: str = "", transformer: str = OWN
) -> io.NodeOutput:  # fmt: skip
    # Room for it: what ComfyUI holds comes back when it is needed.
    comfy_models.unload_all_models()
    return io.NodeOutput(
        work.load(
            model, str(comfy_models.get_torch_device()), scheduler=None if scheduler == OWN else scheduler, dtype=None if dtype == USUAL else dtype,
            offload=offload, preview_vae=preview_vae, loras=lora, config=config,
            transformer=None if transformer == OWN else folder_paths.get_full_path_or_raise(_transformers()[transformer], transformer),
        )
    )  # fmt: skip


class LoadPipeline(io.ComfyNode):
    """A diffusers pipeline."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DymoLoadPipeline", display_name="DyMO: load pipeline", category=CATEGORY,
            description="A diffusers pipeline: a folder, a hub id, or the embedded miniature, which needs no download.",
            inputs=[
                io.String.Input("model", default=MINIATURE, tooltip="Folder, hub id as OWNER/NAME, or miniature"), *_how(),
                io.Combo.Input(
                    "transformer", options=[OWN, *_transformers()], default=OWN, optional=True,
                    tooltip="In the place of the model's: FLUX, SD3, Qwen-Image ... in one file, also GGUF; the model gives the rest",
                ),
            ],
            outputs=[Pipeline.Output(display_name="pipeline")],
        )  # fmt: skip

    @classmethod
    def execute(
        cls, model: str, scheduler: str, dtype: str, offload: str, preview_vae: str, transformer: str = OWN, lora: work.Loras = ()
    ) -> io.NodeOutput:
        return _load(model, scheduler, dtype, offload, preview_vae, lora, transformer=transformer)


class LoadCheckpoint(io.ComfyNode):
    """A checkpoint in one file, of ComfyUI's folder of checkpoints, as a diffusers pipeline."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DymoLoadCheckpoint", display_name="DyMO: load checkpoint", category=CATEGORY,
            description="A checkpoint in one file, as a diffusers pipeline. Its family's configuration comes from the hub the first time.",
            inputs=[
                io.Combo.Input("model", options=_files("checkpoints")), *_how(),
                io.String.Input("config", default="", tooltip="Folder or hub id of a pipeline of its family; empty: as the file says"),
            ],
            outputs=[Pipeline.Output(display_name="pipeline")],
        )  # fmt: skip

    @classmethod
    def execute(
        cls, model: str, scheduler: str, dtype: str, offload: str, preview_vae: str, config: str, lora: work.Loras = ()
    ) -> io.NodeOutput:
        path = folder_paths.get_full_path_or_raise("checkpoints", model)
        return _load(path, scheduler, dtype, offload, preview_vae, lora, config)


class AddLora(io.ComfyNode):
    """A LoRA for a loader, after others."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DymoLora", display_name="DyMO: LoRA", category=CATEGORY, description="A LoRA for a DyMO loader; chain several.",
            inputs=[
                io.Combo.Input("name", options=_files("loras")),
                io.Float.Input("strength", default=1.0, min=-10.0, max=10.0, step=0.01), Lora.Input("others", optional=True),
            ],
            outputs=[Lora.Output(display_name="lora")],
        )  # fmt: skip

    @classmethod
    def execute(cls, name: str, strength: float, others: work.Loras = ()) -> io.NodeOutput:
        return io.NodeOutput((*others, (folder_paths.get_full_path_or_raise("loras", name), strength)))


class LoadReward(io.ComfyNode):
    """A preference reward, with its weight in a sum."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        names = [name for name in SPECS if SPECS[name].guides != "measure only"]
        return io.Schema(
            node_id="DymoReward", display_name="DyMO: reward", category=CATEGORY,
            description="A preference that guides the image; chain several. mini-pickscore is the embedded miniature's.",
            inputs=[
                io.Combo.Input("name", options=names, default="pickscore", tooltip="; ".join(f"{n}: {SPECS[n].measures}" for n in names)),
                io.Float.Input("weight", default=1.0, min=-10.0, max=10.0, step=0.05, tooltip="In a sum of several, each in its own units"),
                Reward.Input("others", optional=True),
            ],
            outputs=[Reward.Output(display_name="reward")],
        )  # fmt: skip

    @classmethod
    def execute(cls, name: str, weight: float, others: work.Parts = ()) -> io.NodeOutput:
        return io.NodeOutput(work.reward(name, weight, others))


class ReadGraph(io.ComfyNode):
    """What is understood of a prompt."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DymoGraph", display_name="DyMO: read prompt", category=CATEGORY,
            description="What is understood of the prompt: its things, and what describes them. "
            "To correct it, copy the JSON into corrected and change it.",
            inputs=[
                io.String.Input("prompt", multiline=True),
                io.String.Input("corrected", multiline=True, default="", tooltip="A graph as JSON; empty: the prompt is read"),
            ],
            outputs=[
                Graph.Output(display_name="graph"), io.String.Output("json", display_name="JSON"),
                io.String.Output("short", display_name="in short"),
            ],
        )  # fmt: skip

    @classmethod
    def execute(cls, prompt: str, corrected: str) -> io.NodeOutput:
        graph = work.read_graph(prompt, corrected)
        return io.NodeOutput(graph, graph.to_json(), work.in_short(graph))


class Generate(io.ComfyNode):
    """Images, aligned with the prompt."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        wanted = work.Request(prompt="")
        of_size = {"default": 0, "min": 0, "max": 8192, "step": 8, "tooltip": "0: the pipeline's own"}
        return io.Schema(
            node_id="DymoGenerate", display_name="DyMO: generate", category=CATEGORY,
            description="Images of the pipeline, aligned with the prompt and, with a reward, with a preference.",
            inputs=[
                Pipeline.Input("pipeline"), io.String.Input("prompt", multiline=True), io.String.Input("negative_prompt", multiline=True, default=""),
                io.Int.Input("seed", default=wanted.seed, min=0, max=2**64 - 1, control_after_generate=True),
                io.Int.Input("steps", default=wanted.steps, min=1, max=1000),
                io.Float.Input("guidance_scale", default=wanted.guidance_scale, min=0.0, max=100.0, step=0.1),
                io.Int.Input("width", **of_size), io.Int.Input("height", **of_size),
                io.Int.Input("batch_size", default=wanted.batch_size, min=1, max=64),
                io.Combo.Input(
                    "preset", options=[*PRESETS, work.UNGUIDED], default=wanted.preset,
                    tooltip=f"{work.UNGUIDED}: the pipeline's own image, to compare",
                ),
                io.Int.Input("evaluations", default=0, min=0, max=10**6, tooltip="The most that an image may take; 0: no limit"),
                io.String.Input("settings", multiline=True, default="", tooltip='Numbers of the method, as JSON: {"eta": 0.2}'),
                Reward.Input("reward", optional=True), Graph.Input("graph", optional=True, tooltip="Of the same prompt; else it is read"),
            ],
            outputs=[io.Image.Output(display_name="images"), io.String.Output("trace", display_name="trace")],
            hidden=[io.Hidden.unique_id],
        )  # fmt: skip

    @classmethod
    def execute(
        cls, pipeline: work.Loaded, reward: work.Parts = (), graph: Any = None, width: int = 0, height: int = 0, evaluations: int = 0, **asked: Any
    ) -> io.NodeOutput:
        request = work.Request(**asked, width=width or None, height=height or None, evaluations=evaluations or None)
        comfy_models.unload_all_models()
        show, node = ComfyAPISync().execution.set_progress, cls.hidden.unique_id

        def progress(done: int, steps: int, preview: Any) -> None:
            comfy_models.throw_exception_if_processing_interrupted()
            show(done, steps, node_id=node, preview_image=preview)

        return io.NodeOutput(*work.generate(pipeline, request, reward, graph, progress))


class Extension(ComfyExtension):
    """What `comfy_entrypoint` gives to ComfyUI."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [LoadPipeline, LoadCheckpoint, AddLora, LoadReward, ReadGraph, Generate]
