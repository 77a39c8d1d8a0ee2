"""The pages that raters see: plain HTML, one pair at a time. An answer is on the disk before the next pair is shown."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from PIL import Image
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from ..report.sheet import SMALL
from .answers import Answers, Given
from .design import Answer, Design, Trial, trials_of
from .pictures import bare_png, blind_name

PAGE = Path(__file__).parent / "page"
MOST_BYTES = 4096
COOKIE = "rater"
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; form-action 'self'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
Images = Mapping[tuple[int, str, int], Path]
"""(row, prompt, seed) -> the image's file."""


def application(answers: Answers, images: Images) -> Starlette:
    """The study's ASGI application."""
    return _Pages(answers, images).application()


class _Pages:
    def __init__(self, answers: Answers, images: Images):
        self.answers, self.images = answers, images
        self.design: Design = answers.design
        self.secret = answers.secret
        self.templates = Environment(
            loader=PackageLoader("dymo.study", "page"), autoescape=select_autoescape(), undefined=StrictUndefined
        )
        self.trials = lru_cache(maxsize=256)(lambda rater: trials_of(self.design, rater))

    def application(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/", self.start),
                Route("/start", self.enrol, methods=["POST"]),
                Route("/study.css", lambda _: FileResponse(PAGE / "study.css")),
                Route("/study.js", lambda _: FileResponse(PAGE / "study.js")),
                Route("/r/{rater}", self.trial),
                Route("/r/{rater}", self.answer, methods=["POST"]),
                Route("/r/{rater}/{name}.png", self.image),
            ],
            exception_handlers={HTTPException: self.refused, Exception: self.failed},
        )

    def page(self, name: str, status: int = 200, **values: Any) -> HTMLResponse:
        return HTMLResponse(self.templates.get_template(name).render(design=self.design, **values), status, headers=HEADERS)

    async def refused(self, request: Request, error: Exception) -> Response:
        """What a rater is told of an address or an answer that is none."""
        assert isinstance(error, HTTPException)
        why = str(error.detail) if error.status_code != 404 or error.detail != "Not Found" else "there is nothing at this address"
        remedy = "The answers so far are kept: go on from the first page, which knows this browser."
        return self.page("trouble.html", error.status_code, title="This cannot be shown", why=f"{why[0].upper()}{why[1:]}. {remedy}")

    async def failed(self, request: Request, error: Exception) -> Response:
        """What a rater is told where the study itself cannot go on, as on a full disk; the server's log has the reason."""
        why = "The last answer could not be kept, or an image not be read. Those before are kept: please try again later, or tell who sent you here."
        return self.page("trouble.html", 500, title="Something went wrong here", why=why)

    async def start(self, request: Request) -> Response:
        count = len(self.trials(""))
        return self.page("start.html", count=count, known=self.answers.knows(request.cookies.get(COOKIE, "")))

    async def enrol(self, request: Request) -> Response:
        """A rater who comes again with the same browser goes on, and is no second one."""
        rater = request.cookies.get(COOKIE, "")
        if not self.answers.knows(rater):
            rater = self.answers.enrol()
        found = RedirectResponse(f"/r/{rater}", 303)
        found.set_cookie(COOKIE, rater, max_age=90 * 86400, httponly=True, samesite="lax")
        return found

    async def trial(self, request: Request) -> Response:
        rater = self.rater(request)
        trials, given = self.trials(rater), self.answers.of(rater)
        left = [trial for trial in trials if trial.mark not in given]
        if not left:
            return self.page("done.html", count=len(trials))
        trial = left[0]
        pair = self.design.pairs[trial.pair]
        names = [blind_name(self.secret, rater, trial, place) for place in (0, 1)]
        with Image.open(self.images[pair.first, pair.prompt, pair.seed]) as image:
            small = max(image.size) <= SMALL
        return self.page(
            "trial.html", rater=rater, trial=trial, prompt=pair.prompt, question=self.design.question, names=names, small=small,
            number=len(trials) - len(left) + 1, count=len(trials),
        )  # fmt: skip

    async def answer(self, request: Request) -> Response:
        rater = self.rater(request)
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > MOST_BYTES:
                raise HTTPException(413, "an answer is a few bytes")
        form = {name: values[0] for name, values in parse_qs(body.decode("utf-8", "replace")).items()}
        trial = next((t for t in self.trials(rater) if t.mark == form.get("trial")), None)
        pressed, milliseconds = form.get("answer", ""), form.get("milliseconds", "0")
        if trial is None or pressed not in ("0", "1", "2") or not re.fullmatch(r"\d{1,15}", milliseconds):
            raise HTTPException(400, "this is no answer to one of your pairs")
        self.answers.put(Given(rater, trial.mark, _meant(trial, pressed), int(milliseconds)))
        return RedirectResponse(f"/r/{rater}", 303)

    async def image(self, request: Request) -> Response:
        rater, name = self.rater(request), request.path_params["name"]
        shown = self.shown(rater).get(name)
        if shown is None:
            raise HTTPException(404)
        path, broken = shown
        return Response(bare_png(path, broken), media_type="image/png", headers=HEADERS)

    def rater(self, request: Request) -> str:
        rater = request.path_params["rater"]
        if not self.answers.knows(rater):
            raise HTTPException(404, "this link belongs to no rater of this study")
        return rater

    def shown(self, rater: str) -> dict[str, tuple[Path, bool]]:
        """Blind name -> the image, and whether it is shown broken."""
        found = {}
        for trial in self.trials(rater):
            pair = self.design.pairs[trial.pair]
            rows = (pair.first, pair.first if trial.kind == "same" else pair.second)
            both = [(self.images[row, pair.prompt, pair.seed], False) for row in rows]
            if trial.kind == "broken":
                both[1] = (both[1][0], True)
            for place, one in enumerate(reversed(both) if trial.flipped else both):
                found[blind_name(self.secret, rater, trial, place)] = one
        return found


def _meant(trial: Trial, pressed: str) -> Answer:
    """What the key means: the sides may be exchanged."""
    if pressed == "0":
        return "tie"
    return "first" if (pressed == "1") != trial.flipped else "second"
