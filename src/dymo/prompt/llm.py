"""Graphs by a language model behind an OpenAI-compatible endpoint: GPT-4, or Llama-3.3 behind vLLM, llama.cpp or Ollama."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import threading
import time
from contextlib import suppress
from functools import cache as cached
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from dymo.errors import ConfigError, PromptError
from dymo.parts import InPython, Name, OfParser, Set, Setting
from dymo.prompt.answer import Message, schema
from dymo.prompt.asking import AskingParser, OnFailure

if TYPE_CHECKING:
    from pydantic import SecretStr

KEY_VARIABLE, URL_VARIABLE, MODEL_VARIABLE = "OPENAI_API_KEY", "OPENAI_BASE_URL", "DYMO_LLM_MODEL"
_INSTALL = "pip install 'dymo-diffusion[llm]'"
LARGEST_ANSWER = 256 * 1024  # bytes of a response; a graph takes a few thousand
MOST_TOKENS = 2048
LONGEST_WAIT = 60.0  # seconds that a Retry-After is obeyed for; a longer one is an error that tells of it
_RETRIED = frozenset((408, 409, 429, *range(500, 600)))
logger = logging.getLogger(__name__)


class _Refused(Exception):
    """An answer that is none: what was wrong, whether trying again may help, and the seconds to wait that were asked for."""

    def __init__(self, problem: str, again: bool = False, wait: float | None = None, status: int = 0) -> None:
        super().__init__(problem)
        self.again, self.wait, self.status = again, wait, status


class LLMParser(AskingParser):
    """Asks a chat model for the graph of a prompt, as JSON of a given schema, at temperature 0.

    A server that refuses the schema, or the bound on tokens, is asked in a looser form; which one works is remembered.

    model: its name at the endpoint; by default $DYMO_LLM_MODEL.
    base_url: the endpoint, as "http://localhost:8000/v1"; by default $OPENAI_BASE_URL, else OpenAI's.
    api_key: a str or pydantic SecretStr; by default $OPENAI_API_KEY. It is held as a secret: no repr, error, warning,
        log, cache or trace has it.
    timeout: seconds that one request may take in all, from the name's look-up to the last byte.
    retries: how often a request is sent again, with growing pauses, after 408, 409, 429, 5xx, a timeout or a lost
        connection. A pause that the server asks for (Retry-After, up to 60 s) is logged as a warning.
    concurrency: the most requests at a time in `parse_many`.
    cache: a folder; True for the user's cache folder; False for none.
    on_failure: "error", or "fallback" to the spaCy parser with a PromptWarning.

    Raises ConfigError on settings that cannot be used, PromptError where the endpoint fails.
    """

    def __init__(
        self,
        model: str | None = None,
        base_url: str | None = None,
        api_key: str | SecretStr | None = None,
        *,
        timeout: float = 60.0,
        retries: int = 4,
        concurrency: int = 4,
        cache: str | Path | bool = True,
        on_failure: OnFailure = "error",
    ) -> None:
        try:
            import httpx2 as httpx
            from pydantic import SecretStr
        except ImportError as error:
            raise ConfigError(Setting("parser", "llm"), f" needs an HTTP client: {_INSTALL}") from error
        name = model or os.environ.get(MODEL_VARIABLE)
        if not name:
            raise ConfigError(Setting("parser", "llm"), " needs a model: give ", OfParser("model"), f", or set {MODEL_VARIABLE}")
        if not 0 < timeout < float("inf"):
            raise ConfigError(OfParser("timeout", timeout), " must be a number of seconds above 0")
        if type(retries) is not int or not 0 <= retries <= 20:
            raise ConfigError(OfParser("retries", retries), " must be a whole number from 0 to 20")
        url = base_url or os.environ.get(URL_VARIABLE) or "https://api.openai.com/v1"
        self.model, self.place = name, _shown(url)
        given = (
            SecretStr(api_key or os.environ.get(KEY_VARIABLE) or "") if not isinstance(api_key, SecretStr) else api_key
        )
        key = given.get_secret_value()
        if not key and base_url is None and URL_VARIABLE not in os.environ:
            raise ConfigError(
                Setting("parser", "llm"), f" needs a key: set {KEY_VARIABLE}, or give ", OfParser("base_url"), " of a server without one",
            )
        if not key.isascii() or not key.isprintable():
            raise ConfigError(f"the key in {KEY_VARIABLE} or ", OfParser("api_key"), " has characters that no HTTP header can: check it")
        super().__init__(f"{name} at {self.place}", cache, on_failure, concurrency)
        self._key, self._url = SecretStr(key or "none"), url.rstrip("/") + "/chat/completions"
        self._timeout, self._retries = timeout, retries
        strict = {"type": "json_schema", "json_schema": {"name": "graph", "strict": True, "schema": schema()}}
        # How a graph can be asked for, from the strictest form to what every server knows.
        self._forms: list[dict[str, Any]] = [
            {"temperature": 0, "response_format": strict, "max_completion_tokens": MOST_TOKENS},
            {"temperature": 0, "response_format": strict, "max_tokens": MOST_TOKENS},
            {"temperature": 0, "response_format": {"type": "json_object"}, "max_tokens": MOST_TOKENS},
            {},
        ]
        # Its own timeouts are for single reads; `_request` sets the one that counts.
        limits = httpx.Limits(max_connections=concurrency, max_keepalive_connections=0)
        self._client = httpx.AsyncClient(timeout=None, follow_redirects=False, limits=limits)

    def __repr__(self) -> str:
        return f"LLMParser(model={self.model!r}, base_url={self.place!r})"

    def __reduce__(self) -> Any:
        raise TypeError("an LLMParser holds a key and is not pickled: make one where it is needed")

    def presentable(self, text: str) -> str:
        """As of every parser; the key, and what looks like one, is starred."""
        key = self._key.get_secret_value()
        hidden = text.replace(key, "***") if len(key) > 4 else text
        return super().presentable(re.sub(r"\b(?:sk|pk|key)-[\w*-]{6,}|(?i:bearer)\s+\S+", "***", hidden))

    def ask(self, question: list[Message]) -> str | None:
        """The content of the endpoint's first choice. Raises PromptError."""
        while True:
            form = self._forms[0]
            try:
                return _content(self._sent({"model": self.model, "messages": question, **form}))
            except _Refused as refused:
                if refused.status in (400, 422) and len(self._forms) > 1:
                    # Several threads may find this out at once; each form is dropped once.
                    self._forms = [other for other in self._forms if other is not form] or self._forms
                    continue
                problem = self.presentable(" ".join(str(refused).split())[:300])
                # Not chained: nothing of the request, which has the key, must hang on it.
                raise PromptError(
                    f"{self.identity} failed: {problem}. Check ", Name(OfParser("base_url")), ", ", Name(OfParser("model")), " and ",
                    InPython("key", f"${KEY_VARIABLE}"), ", or ", Set(OfParser("on_failure", "fallback")),
                ) from None

    def _sent(self, body: dict[str, Any]) -> Any:
        """The endpoint's answer as JSON, after as many retries as are allowed. Raises _Refused."""
        for attempt in range(self._retries + 1):
            try:
                return asyncio.run_coroutine_threadsafe(self._request(body), _loop()).result()
            except _Refused as refused:
                if not refused.again or attempt == self._retries:
                    raise
                wait = min(0.5 * 2**attempt, 8.0) if refused.wait is None else refused.wait
                if wait > LONGEST_WAIT:
                    raise _Refused(f"{refused}; it asks to wait {wait:.0f} s before the next try") from None
                level = logging.INFO if refused.wait is None else logging.WARNING
                problem = self.presentable(str(refused)[:200])
                logger.log(level, "%s: %s; next try in %.1f s", self.identity, problem, wait)
                time.sleep(wait)
        raise AssertionError("unreachable")

    async def _request(self, body: dict[str, Any]) -> Any:
        import httpx2 as httpx

        headers = {"authorization": f"Bearer {self._key.get_secret_value()}", "accept-encoding": "identity"}
        try:
            async with (
                asyncio.timeout(self._timeout),
                self._client.stream("POST", self._url, json=body, headers=headers) as response,
            ):
                # A few compressed bytes can stand for any number.
                if response.headers.get("content-encoding", "identity").lower() != "identity":
                    raise _Refused("a compressed answer, which was not asked for")
                content = b""
                async for part in response.aiter_raw():
                    content += part
                    if len(content) > LARGEST_ANSWER:
                        raise _Refused(f"an answer of more than {LARGEST_ANSWER} bytes")
        except TimeoutError:
            raise _Refused(f"no whole answer within {self._timeout:g} s", again=True) from None
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            raise _Refused(str(error) or type(error).__name__, again=True) from None
        if response.status_code != 200:
            wait, status = _retry_after(response.headers), response.status_code
            raise _Refused(f"HTTP {status}: {_error_text(content)}", status in _RETRIED, wait, status)
        try:
            return json.loads(content)
        except (ValueError, RecursionError):
            return None


@cached
def _loop() -> asyncio.AbstractEventLoop:
    """An event loop in a thread of its own: deadlines hold there wherever a parser is called from."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="dymo-llm", daemon=True).start()
    return loop


def _content(reply: Any) -> str | None:
    """The text of a chat completion's first choice; its parts joined where it comes in parts."""
    try:
        content = reply["choices"][0]["message"]["content"]
        if isinstance(content, list):
            content = "".join(part["text"] for part in content if part.get("type", "text") == "text")
    except (LookupError, TypeError, AttributeError):
        return None
    return content if isinstance(content, str) else None


def _error_text(content: bytes) -> str:
    try:
        error = json.loads(content)["error"]
        return str(error["message"] if isinstance(error, dict) else error)
    except (ValueError, LookupError, TypeError, RecursionError):
        return content[:300].decode("utf-8", "replace")


def _retry_after(headers: Any) -> float | None:
    """Seconds that a server asks to wait; None where it names no number of them."""
    for name, unit in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        with suppress(KeyError, ValueError):
            return max(0.0, float(headers[name]) * unit)
    return None


def _shown(url: str) -> str:
    """The URL without its query. Raises ConfigError where it is no address, or holds a password."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(Name(OfParser("base_url")), " is no http(s) address: give one as http://localhost:8000/v1")
    if parts.username or parts.password:
        # HTTP clients log the addresses they ask.
        raise ConfigError(Name(OfParser("base_url")), f" of {parts.hostname} holds a user or password: give a key, in {KEY_VARIABLE}")
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{parts.hostname}{port}{parts.path.rstrip('/')}"
