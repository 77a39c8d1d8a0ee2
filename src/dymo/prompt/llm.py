"""Graphs by a language model behind an OpenAI-compatible endpoint: GPT-4, or Llama-3.3 behind vLLM, llama.cpp or Ollama."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from dymo.errors import ConfigError, PromptError
from dymo.prompt.asking import AskingParser, OnFailure

if TYPE_CHECKING:
    from pydantic import SecretStr

KEY_VARIABLE, URL_VARIABLE, MODEL_VARIABLE = "OPENAI_API_KEY", "OPENAI_BASE_URL", "DYMO_LLM_MODEL"
_INSTALL = "pip install 'dymo-diffusion[llm]'"
LARGEST_ANSWER = 256 * 1024
"""Bytes of a response; a graph takes a few thousand."""
MOST_TOKENS = 2048


class LLMParser(AskingParser):
    """Asks a chat model for the graph of a prompt, as JSON of a given schema, at temperature 0.

    model: its name at the endpoint; by default $DYMO_LLM_MODEL.
    base_url: the endpoint, as "http://localhost:8000/v1"; by default $OPENAI_BASE_URL, else OpenAI's.
    api_key: a str or pydantic SecretStr; by default $OPENAI_API_KEY. It is held as a secret: no repr, error, warning,
        cache or trace has it.
    timeout: seconds that one request may take in all, also where the endpoint sends a byte now and then.
    retries: how often a request is sent again, with growing pauses, after 408, 409, 429, 5xx, a timeout or a lost
        connection.
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
            import openai
            from pydantic import SecretStr
        except ImportError as error:
            raise ConfigError(f"parser='llm' needs the openai client: {_INSTALL}") from error
        name = model or os.environ.get(MODEL_VARIABLE)
        if not name:
            raise ConfigError(f"parser='llm' needs a model: give model=, or set {MODEL_VARIABLE}")
        if not 0 < timeout < float("inf"):
            raise ConfigError(f"timeout={timeout!r} must be a number of seconds above 0")
        if type(retries) is not int or not 0 <= retries <= 20:
            raise ConfigError(f"retries={retries!r} must be a whole number from 0 to 20")
        url = base_url or os.environ.get(URL_VARIABLE) or "https://api.openai.com/v1"
        self.model, self.place = name, _shown(url)
        given = (
            api_key.get_secret_value() if isinstance(api_key, SecretStr) else api_key or os.environ.get(KEY_VARIABLE)
        )
        if not given:
            if base_url is None and URL_VARIABLE not in os.environ:
                raise ConfigError(
                    f"parser='llm' needs a key: set {KEY_VARIABLE}, or give base_url= of a server that asks for none"
                )
            given = "none"
        if not given.isascii() or not given.isprintable():
            raise ConfigError(
                f"the key in {KEY_VARIABLE} or api_key= holds characters that no HTTP header can: check it"
            )
        super().__init__(f"{name} at {self.place}", cache, on_failure, concurrency)
        self._key = SecretStr(given)
        self._timeout = timeout
        self._client = openai.OpenAI(
            api_key=given,
            base_url=url,
            timeout=timeout,
            max_retries=retries,
            http_client=_bounded_client(timeout, concurrency),
        )

    def __repr__(self) -> str:
        return f"LLMParser(model={self.model!r}, base_url={self.place!r})"

    def __reduce__(self) -> Any:
        raise TypeError("an LLMParser holds a key and is not pickled: make one where it is needed")

    def secret_free(self, text: str) -> str:
        """The text with the key, and what looks like one, starred."""
        key = self._key.get_secret_value()
        hidden = text.replace(key, "***") if len(key) > 4 else text
        return re.sub(r"\b(?:sk|pk|key)-[\w*-]{6,}|(?i:bearer)\s+\S+", "***", hidden)

    def ask(self, question: list[dict[str, str]]) -> str | None:
        """The content of the endpoint's first choice. Raises PromptError."""
        import openai

        from dymo.prompt.answer import schema

        form = {"type": "json_schema", "json_schema": {"name": "graph", "strict": True, "schema": schema()}}
        try:
            reply = self._client.chat.completions.create(
                model=self.model,
                messages=question,
                temperature=0,
                response_format=form,
                max_completion_tokens=MOST_TOKENS,
            )  # type: ignore[call-overload]
        except openai.APITimeoutError:
            problem = f"no whole answer within {self._timeout:g} s"
        except openai.APIStatusError as error:
            problem = f"HTTP {error.status_code}: {self.secret_free(_first_line(error.message))}"
        except openai.APIConnectionError as error:
            problem = self.secret_free(_first_line(str(error.__cause__ or error)))
        except (openai.OpenAIError, ValueError, TypeError) as error:
            problem = f"no answer of the API's form ({type(error).__name__})"
        else:
            return _content(reply)
        # Not chained: the client's own errors hold the request, and with it the key.
        raise PromptError(
            f"{self.identity} failed: {problem}. Check base_url, model and key, or set on_failure='fallback'"
        ) from None


def _content(reply: Any) -> str | None:
    try:
        content = reply.choices[0].message.content
    except (AttributeError, IndexError, TypeError):
        return None
    return content if isinstance(content, str) else None


def _first_line(text: str) -> str:
    return " ".join(text.split())[:300]


def _shown(url: str) -> str:
    """The URL without its query. Raises ConfigError where it is no address, or holds a password."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError("base_url is no http(s) address: give one as http://localhost:8000/v1")
    if parts.username or parts.password:
        # HTTP clients log the addresses they ask.
        raise ConfigError(
            f"base_url of {parts.hostname} holds a user or password: give the key by itself, in {KEY_VARIABLE}"
        )
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{parts.hostname}{port}{parts.path.rstrip('/')}"


def _bounded_client(timeout: float, concurrency: int) -> Any:
    """An HTTP client whose responses end after `timeout` seconds and LARGEST_ANSWER bytes in all, and follow no redirect."""
    import httpx2 as httpx

    class Bounded(httpx.SyncByteStream):
        def __init__(self, stream: Any, until: float) -> None:
            self.stream, self.until = stream, until

        def __iter__(self) -> Iterator[bytes]:
            size = 0
            for part in self.stream:
                size += len(part)
                if size > LARGEST_ANSWER:
                    raise httpx.ReadError(f"an answer of more than {LARGEST_ANSWER} bytes")
                if time.monotonic() > self.until:
                    raise httpx.ReadTimeout("the answer took too long in all")
                yield part

        def close(self) -> None:
            self.stream.close()

    class Transport(httpx.HTTPTransport):
        def handle_request(self, request: Any) -> Any:
            until = time.monotonic() + timeout
            request.headers["accept-encoding"] = "identity"
            response = super().handle_request(request)
            # A few compressed bytes can stand for any number.
            if response.headers.get("content-encoding", "identity").lower() != "identity":
                response.close()
                raise httpx.ReadError("a compressed answer, which was not asked for")
            response.stream = Bounded(response.stream, until)
            return response

    limits = httpx.Limits(max_connections=concurrency)
    return httpx.Client(transport=Transport(limits=limits), timeout=timeout, follow_redirects=False)
