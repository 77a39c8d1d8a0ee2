"""`dymo studio`: the library in a browser, on this machine."""

from __future__ import annotations

import threading
import webbrowser
from typing import TYPE_CHECKING, Any

from rich.console import Console

from ..miniature import MINIATURE_DEFAULTS
from ..report.outdir import check_outdir
from . import models
from .schema import RECORDED
from .sources import check_model
from .web import need_extra, serve

if TYPE_CHECKING:
    from .schema import Studio

LOCAL = ("localhost", "127.0.0.1", "[::1]")
EXAMPLES = 3


def studio(settings: Studio, console: Console, notes: Console) -> None:
    """Serve the studio until Ctrl-C. Raises ConfigError before anything is loaded."""
    need_extra()
    for name in settings.models:
        check_model(name, None)
    models.check_choices(None, settings.dtype, auto=True)
    check_outdir(settings.outdir)
    from ..studio.gallery import Gallery
    from ..studio.server import application

    device = models.choose_device(settings.device)
    models.quiet_libraries()

    def load(name: str) -> Any:
        return models.load_pipeline(None if name == RECORDED else name, None, settings.dtype, device)

    # A page of another site must not reach a server that is for this machine alone by a name of its own (DNS rebinding).
    hosts = LOCAL if settings.host in ("127.0.0.1", "localhost", "::1") else ("*",)
    app = application(offers(settings.models), load, Gallery(settings.outdir), hosts, warm=True)
    opens = (lambda address: threading.Timer(1.0, webbrowser.open, [address]).start()) if settings.open else None
    serve(app, settings.host, settings.port, console, opens)


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
        name: Offer(full, {"num_inference_steps": 50}, ("a red apple to the left of a green car",)) for name in names
    }
