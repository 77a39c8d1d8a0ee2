"""What the commands that serve pages share."""

from __future__ import annotations

import socket
from importlib import import_module
from typing import Any

from rich.console import Console

from ..errors import ConfigError
from .screen import say


def need_extra() -> None:
    """Raises ConfigError where the extra `studio` is not installed."""
    for module in ("starlette", "uvicorn", "choix", "pydantic"):
        try:
            import_module(module)
        except ImportError as error:
            raise ConfigError(f"{module} is not installed: pip install 'dymo-diffusion[studio]'") from error


def serve(app: Any, host: str, port: int, console: Console, ready: Any = None) -> None:
    """Serve an ASGI application until Ctrl-C. ready: called with the address. Raises ConfigError where the port is taken."""
    import uvicorn

    listening = _listen(host, port)
    port = listening.getsockname()[1]
    address = f"http://{'localhost' if host in ('127.0.0.1', '0.0.0.0') else host}:{port}"
    say(console, f"Open {address} (Ctrl-C ends it)")
    if host == "0.0.0.0":
        say(console, f"Others in this network: http://{_own_address()}:{port}")
    if ready is not None:
        ready(address)
    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1)

    class Server(uvicorn.Server):
        def handle_exit(self, *given: Any) -> None:
            # Streams that are open would else be waited for.
            if closing := getattr(app.state, "closing", None):
                closing.set()
            super().handle_exit(*given)

    Server(config).run(sockets=[listening])


def _listen(host: str, port: int) -> socket.socket:
    listening = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except (OSError, OverflowError) as error:
        listening.close()
        raise ConfigError(
            f"--host {host} --port {port}: cannot listen there ({error}); choose another port, or 0 for any"
        ) from error
    return listening


def _own_address() -> str:
    """This machine's address in its network, as far as it knows it; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("10.255.255.255", 1))
            return probe.getsockname()[0]
        except OSError:
            return socket.gethostname()
