"""The studio's pages and what they ask for, over HTTP: JSON, images, and a stream of what a run does."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from ..config import Config, preset
from ..errors import ConfigError, DyMOError, PromptError
from .gallery import Gallery
from .restore import MOST_BYTES, restore
from .runs import Run, Runs
from .settings import INTENTS, MOST_SEEDS, SHARES, Settings
from .words import NUMBERS, not_known, understood, words
from .work import Loader, Worker

log = logging.getLogger(__name__)

PAGE = Path(__file__).parent / "page"
MOST_JSON = 200_000
BEAT = 0.15
"""Seconds between looks at whether a run has changed."""
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data: blob:; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class Offer(NamedTuple):
    """A pipeline that the page offers: which rewards may guide it, how it is called unless said, and example prompts."""

    rewards: tuple[str, ...]
    defaults: dict[str, Any]
    examples: tuple[str, ...] = ()
    miniature: bool = False


def application(
    offers: dict[str, Offer], load: Loader, gallery: Gallery, hosts: tuple[str, ...] = ("*",), warm: bool = False
) -> Starlette:
    """The studio's ASGI application.

    offers: name -> what the page offers, the first one chosen at first. hosts: names under which a browser may ask for
    the page. warm: load the first pipeline before the first run asks for it.
    """
    worker = Worker(load, lambda name: offers[name].defaults, gallery)
    return _Studio(offers, worker, gallery, hosts, warm).application()


class _Studio:
    def __init__(self, offers: dict[str, Offer], worker: Worker, gallery: Gallery, hosts: tuple[str, ...], warm: bool):
        self.offers, self.worker, self.gallery, self.hosts, self.warm = offers, worker, gallery, hosts, warm
        self.runs, self.closing = Runs(worker), threading.Event()

    def application(self) -> Starlette:
        routes = [
            Route("/", lambda _: FileResponse(PAGE / "index.html", headers=HEADERS)),
            Mount("/page", StaticFiles(directory=PAGE)),
            Route("/api/options", self.options),
            Route("/api/graph", _json(self.graph), methods=["POST"]),
            Route("/api/runs", _json(self.start), methods=["POST"]),
            Route("/api/runs", self.active),
            Route("/api/runs/{run}/stop", _json(self.stop), methods=["POST"]),
            Route("/api/runs/{run}/events", self.events),
            Route("/api/restore", self.restore, methods=["POST"]),
            Route("/api/gallery", self.entries),
            Route("/api/gallery/{name}", self.settings_of),
            Route("/api/gallery/{name}/course", self.course),
            Route("/gallery/{name}.png", self.image),
        ]
        middleware = [Middleware(TrustedHostMiddleware, allowed_hosts=list(self.hosts)), Middleware(_OwnPage)]
        app = Starlette(routes=routes, middleware=middleware, lifespan=self.lifespan)
        app.state.closing = self.closing
        return app

    @asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncIterator[None]:
        if self.warm:
            threading.Thread(target=self._warm, daemon=True).start()
        yield
        for run in self.runs.active():
            self.runs.stop(run)

    def _warm(self) -> None:
        name, offer = next(iter(self.offers.items()))
        try:
            self.worker.pipeline(name)
            self.worker.reward(offer.rewards[0] if offer.rewards else None)
            understood("a red apple")
        except Exception:  # the first run says what is wrong
            log.debug("cannot be loaded ahead", exc_info=True)

    async def options(self, request: Request) -> Response:
        """What there is to choose, and every number of each intent."""
        configs = {intent: preset(base, **more) for intent, (base, more) in INTENTS.items()}
        numbers = {intent: {name: getattr(of, name) for name in NUMBERS} for intent, of in configs.items()}
        return JSONResponse(
            {
                "pipelines": {name: offer._asdict() for name, offer in self.offers.items()},
                "intents": numbers, "presets": {intent: base for intent, (base, _) in INTENTS.items()},
                "choices": _choices(), "spending": SHARES, "most_seeds": MOST_SEEDS,
            }
        )  # fmt: skip

    async def graph(self, data: dict[str, Any]) -> Any:
        prompt = data.get("prompt")
        if not isinstance(prompt, str) or not prompt.strip() or len(prompt) > 2000:
            raise PromptError("the prompt is empty or too long: say what the image is to show, in up to 2000 letters")
        found = await run_in_threadpool(understood, prompt, data.get("graph"))
        offer = self.offers.get(str(data.get("pipeline")))
        return found | {"trouble": not_known(prompt) if offer and offer.miniature else ""}

    async def start(self, data: dict[str, Any]) -> Any:
        settings = Settings.read(data)
        if settings.pipeline not in self.offers:
            raise ConfigError(f"there is no pipeline {settings.pipeline!r:.80} here")
        offer = self.offers[settings.pipeline]
        if settings.reward is not None and settings.reward not in offer.rewards:
            raise ConfigError(f"there is no reward {settings.reward!r:.80} for {settings.pipeline}")
        if not settings.prompt.strip():
            raise PromptError("the prompt is empty: say what the image is to show")
        said = f"{settings.prompt}\n{settings.negative_prompt}"
        if trouble := not_known(said) if offer.miniature else "":
            raise PromptError(trouble)
        run = self.runs.add(settings)
        return {"id": run.id}

    async def active(self, request: Request) -> Response:
        return JSONResponse([run.id for run in self.runs.active()])

    async def stop(self, data: dict[str, Any], run: str) -> Any:
        self.runs.stop(self._run(run))
        return {}

    async def events(self, request: Request) -> Response:
        """Server-sent events: the whole view of the run, whenever it has changed, until it is over."""
        return StreamingResponse(
            self._stream(self._run(request.path_params["run"])), media_type="text/event-stream",
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )  # fmt: skip

    async def _stream(self, run: Run) -> AsyncIterator[str]:
        seen: tuple[int, int] | None = None
        while True:
            over, now = run.over, (run.version, self.runs.place(run))
            if now != seen:
                seen = now
                yield f"data: {json.dumps(run.view(now[1]))}\n\n"
            if over or self.closing.is_set():
                return
            await asyncio.sleep(BEAT)

    async def restore(self, request: Request) -> Response:
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > MOST_BYTES:
                return _refusal(
                    f"the file is larger than {MOST_BYTES >> 20} MB: drop an image that dymo generated", 413
                )
        try:
            settings, notes = await run_in_threadpool(restore, body, self.offers)
        except DyMOError as error:
            return _refusal(str(error.in_words(words)))
        return JSONResponse({"settings": self._offered(settings, notes), "notes": notes})

    async def entries(self, request: Request) -> Response:
        return JSONResponse(await run_in_threadpool(self.gallery.entries, request.query_params.get("before")))

    async def settings_of(self, request: Request) -> Response:
        """The settings of an image of the gallery."""
        path = self.gallery.path(request.path_params["name"])
        if path is None:
            raise HTTPException(404)
        try:
            settings, notes = await run_in_threadpool(restore, path.read_bytes(), self.offers)
        except DyMOError as error:
            return _refusal(str(error.in_words(words)))
        return JSONResponse({"settings": self._offered(settings, notes), "notes": notes})

    async def course(self, request: Request) -> Response:
        name = request.path_params["name"]
        if self.gallery.path(name) is None:
            raise HTTPException(404)
        return JSONResponse(await run_in_threadpool(self.gallery.course, name))

    async def image(self, request: Request) -> Response:
        path = self.gallery.path(request.path_params["name"])
        if path is None:
            raise HTTPException(404)
        return FileResponse(path, headers={**HEADERS, "Cache-Control": "private, max-age=86400"})

    def _run(self, name: str) -> Run:
        run = self.runs.get(name)
        if run is None:
            raise HTTPException(404, "there is no such run any more")
        return run

    def _offered(self, settings: dict[str, Any], notes: list[str]) -> dict[str, Any]:
        """The settings without a reward that is not offered."""
        offer = self.offers.get(settings.get("pipeline", ""), next(iter(self.offers.values())))
        if settings.get("reward") is not None and settings["reward"] not in offer.rewards:
            notes.append(f"the reward {str(settings.pop('reward'))[:80]!r} is not offered here")
        return settings


class _OwnPage:
    """Refuses what another site makes a browser send here: its Origin is not this host."""

    def __init__(self, app: Any):
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["method"] != "GET":
            headers = {name.decode().lower(): value.decode("latin-1") for name, value in scope["headers"]}
            origin = headers.get("origin")
            if origin is not None and urlsplit(origin).netloc != headers.get("host"):
                await _refusal("another site asked for this", 403)(scope, receive, send)
                return
        await self.app(scope, receive, send)


def _json(work: Callable[..., Awaitable[Any]]) -> Callable[[Request], Awaitable[Response]]:
    """A route of JSON in and JSON out; what the engine refuses is said in its own words."""

    async def route(request: Request) -> Response:
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > MOST_JSON:
                return _refusal("that is too much", 413)
        try:
            data = json.loads(body or b"{}")
            json.dumps(data, ensure_ascii=False).encode()  # half a letter of two, as "\\ud800", is no text
        except (ValueError, RecursionError):
            return _refusal("this is not JSON")
        if not isinstance(data, dict):
            return _refusal("give a JSON object")
        try:
            return JSONResponse(await partial(work, data)(**request.path_params))
        except DyMOError as error:
            return _refusal(str(error.in_words(words)))

    return route


def _refusal(why: str, status: int = 400) -> JSONResponse:
    return JSONResponse({"error": why}, status)


def _choices() -> dict[str, list[str]]:
    """The numbers of the method that are one of several words."""
    from typing import Literal, get_args, get_origin, get_type_hints

    hints = get_type_hints(Config)
    return {name: list(get_args(hints[name])) for name in NUMBERS if get_origin(hints[name]) is Literal}
