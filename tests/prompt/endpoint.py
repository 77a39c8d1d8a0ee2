"""An OpenAI-compatible HTTP server on loopback that behaves as a test tells it to, well or badly."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = Callable[["Exchange"], None]


class Exchange(BaseHTTPRequestHandler):
    """One request. `prompt` is what is asked about, `turn` how often that has been asked, from 1."""

    protocol_version = "HTTP/1.1"
    server: Endpoint

    def do_POST(self) -> None:
        self.body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        questions = [m["content"] for m in self.body["messages"] if m["role"] == "user"]
        self.prompt = [json.loads(q)["prompt"] for q in questions if q.startswith("{")][-1]
        with self.server.lock:
            self.server.asked[self.prompt] += 1
            self.turn = self.server.asked[self.prompt]
            self.server.bodies.append(self.body)
            self.server.keys.append(self.headers.get("authorization", ""))
        try:
            self.server.reply(self)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True  # the client has gone, as it should
        else:
            with self.server.lock:
                self.server.answered[self.prompt] += 1

    def send(self, content: bytes, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        sent = {"content-type": "application/json", "content-length": str(len(content)), **headers}
        for name, value in sent.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(content)

    def say(self, text: str | list[dict[str, str]]) -> None:
        """A chat completion that says `text`."""
        message = {"role": "assistant", "content": text}
        choice = {"index": 0, "finish_reason": "stop", "message": message}
        self.send(
            json.dumps(
                {"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice]}
            ).encode()
        )

    def drip(self, seconds: float) -> None:
        """A body that never ends: a byte now and then."""
        self.send_response(200)
        self.send_header("content-length", "1000000")
        self.end_headers()
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.wfile.write(b" ")
            self.wfile.flush()
            time.sleep(0.05)
        self.close_connection = True

    def drip_headers(self, seconds: float) -> None:
        """Headers that never end."""
        self.wfile.write(b"HTTP/1.1 200 OK\r\n")
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.wfile.write(b"x-a: b\r\n")
            time.sleep(0.05)
        self.close_connection = True

    def log_message(self, *args: Any) -> None:
        pass


class Endpoint(ThreadingHTTPServer):
    """The server, in threads of its own until the block ends. `asked` and `answered` count, by prompt."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, reply: Reply) -> None:
        super().__init__(("127.0.0.1", 0), Exchange)
        self.reply = reply
        self.lock = threading.Lock()
        self.asked: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()
        self.bodies: list[dict[str, Any]] = []
        self.keys: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def __enter__(self) -> Endpoint:
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *args: object) -> None:
        self.shutdown()
        self.server_close()


def graph_text(
    *entities: tuple[str, list[str]], relations: tuple[tuple[str, str, str], ...] = (), style: tuple[str, ...] = ()
) -> str:
    """An answer of the asked form."""
    return json.dumps(
        {
            "entities": [{"text": text, "attributes": attributes} for text, attributes in entities],
            "relations": [{"subject": s, "relation": r, "object": o} for s, r, o in relations],
            "style": list(style),
        }
    )
