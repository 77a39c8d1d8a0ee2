"""`dymo studio`: the library in a browser, on this machine."""

from __future__ import annotations

import threading
import webbrowser
from typing import TYPE_CHECKING, Any

from rich.console import Console

from ..errors import ConfigError
from ..miniature import MINIATURE_DEFAULTS
from ..parts import Option
from ..report.outdir import check_outdir
from . import models, options
from .schema import RECORDED
from .sources import check_loras, check_model, check_preview_vae
from .transformer import check_transformer
from .web import need_extra, serve

if TYPE_CHECKING:
    from ..studio.work import Loaded, Loader
    from .schema import Studio

LOCAL = ("localhost", "127.0.0.1", "[::1]")
EXAMPLES = 3


def studio(settings: Studio, console: Console, notes: Console) -> None:
    """Serve the studio until Ctrl-C. Raises ConfigError before anything is loaded."""
    need_extra()
    loras = check(settings)
    check_outdir(settings.outdir)
    from ..studio.gallery import Gallery
    from ..studio.server import application

    device = models.choose_device(settings.device)
    models.check_offload(settings.offload, device)
    models.quiet_libraries()

    # A page of another site must not reach a server that is for this machine alone by a name of its own (DNS rebinding).
    hosts = LOCAL if settings.host in ("127.0.0.1", "localhost", "::1") else ("*",)
    app = application(offers(settings.models), loader(settings, loras, device), Gallery(settings.outdir), hosts, warm=True)
    opens = (lambda address: threading.Timer(1.0, webbrowser.open, [address]).start()) if settings.open else None
    serve(app, settings.host, settings.port, console, opens)


def check(settings: Studio) -> list[tuple[str, float]]:
    """The LoRAs of --lora. Raises ConfigError where a model, or what is put into it, is not there, or does not fit."""
    models.check_choices(None, settings.dtype, auto=True)
    models.check_offload(settings.offload, settings.device or "")
    loras = options.read_loras(settings.loras)
    given = {"transformer": settings.transformer, "lora": settings.loras, "preview_vae": settings.preview_vae}
    own = [Option(name) for name, value in given.items() if value]
    if own and len(settings.models) != 1:
        raise ConfigError(own[0], " goes into one model: give one ", Option("model"), f", and not {len(settings.models)}")
    for name in settings.models:
        check_model(name, transformer=settings.transformer)
        check_loras(loras, name)
    if settings.transformer is not None:
        check_transformer(settings.transformer, settings.models[0])
    check_preview_vae(settings.preview_vae)
    return loras


def loader(settings: Studio, loras: list[tuple[str, float]], device: str) -> Loader:
    """What loads a pipeline by its name on the page, with what the options put into it."""
    from ..studio import work

    def load(name: str) -> Loaded:
        if name == RECORDED:
            return work.Loaded(models.load_pipeline(None, None, settings.dtype, device))
        pipe = models.load_pipeline(
            name, None, settings.dtype, device, loras=loras, transformer=settings.transformer, offload=settings.offload
        )
        preview = None if settings.preview_vae is None else models.load_preview_vae(settings.preview_vae, pipe)
        record = {"transformer": settings.transformer, "lora": [list(one) for one in loras], "preview_vae": settings.preview_vae}
        return work.Loaded(pipe, preview, record)

    return load


def offers(names: list[str]) -> dict[str, Any]:
    """What the page offers: the miniature, and the pipelines named."""
    from ..miniature.world import captions
    from ..rewards.registry import SPECS
    from ..studio.server import Offer

    guides = [name for name in SPECS if SPECS[name].guides == "yes"]
    mini = tuple(sorted((n for n in guides if n.startswith("mini-")), key=lambda n: n != "mini-pickscore"))
    examples = tuple(caption.text for caption in captions("test", EXAMPLES))
    found = {RECORDED: Offer(mini, dict(MINIATURE_DEFAULTS), examples, miniature=True)}
    full = tuple(sorted((n for n in guides if not n.startswith("mini-")), key=lambda n: n != "pickscore"))
    return found | {
        name: Offer(full, {"num_inference_steps": models.own_steps(name)}, ("a red apple to the left of a green car",)) for name in names
    }
