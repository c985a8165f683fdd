"""A small local server that speaks the OpenAI API: models, chat completions, completions."""

from __future__ import annotations

import http.server
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

Answer = Callable[[dict[str, Any], int], Any]
"""Is given a request and the number of the choice; returns a text, text and finish_reason, or None for null."""


def echo(request: dict[str, Any], number: int) -> str:
    """Say the last message, or the prompt, with the number that seed and choice give."""
    said = request["messages"][-1]["content"] if "messages" in request else request["prompt"]
    return f"{said} {(request.get('seed') or 0) + number}"


@dataclass
class StandIn:
    """What the server does, and what it was asked.

    Attributes:
        answer: Writes the texts.
        models: Names of its models; another one is 404. None takes any.
        key: The key that it asks for; None takes any.
        failures: Answers in place of the first requests: a status, or "hang up". Each is used once.
        ignores_n: Give one choice, however many are asked for.
        refuses: Fields of a request that it answers with 400, naming the field and what is in it.
        raw: A body in place of each completion.
        delay: Seconds before an answer.
        requests: Bodies of the requests that came, those that failed included.
        headers: Headers of each.
        most_at_once: Most requests that it worked on at the same time.
        url: Its address, which ends in `/v1`.
    """

    answer: Answer = echo
    models: tuple[str, ...] | None = ("tiny",)
    key: str | None = None
    failures: list[int | str] = field(default_factory=list)
    ignores_n: bool = False
    refuses: dict[str, str] = field(default_factory=dict)
    raw: Any = None
    delay: float = 0.0
    requests: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    most_at_once: int = 0
    url: str = ""
    _at_once: int = 0
    _lock: Any = field(default_factory=threading.Lock)

    def count(self, step: int) -> None:
        """Count the requests at work."""
        with self._lock:
            self._at_once += step
            self.most_at_once = max(self.most_at_once, self._at_once)

    def replied(self, path: str, body: dict[str, Any], key: str) -> tuple[int | str, Any]:
        """Return status and body of an answer to a POST."""
        with self._lock:
            self.requests.append(body)
            failure = self.failures.pop(0) if self.failures else None
        time.sleep(self.delay)
        if failure is not None:
            return failure, _error(f"failed with {failure}")
        if self.key is not None and key != f"Bearer {self.key}":
            return 401, _error("wrong key")
        if self.models is not None and body.get("model") not in self.models:
            return 404, _error(f"The model {body.get('model')} does not exist")
        for name, said in self.refuses.items():
            if name in body:
                return 400, _error(said)
        if path not in ("/v1/chat/completions", "/v1/completions"):
            return 404, _error("no such path")
        return 200, self.raw if self.raw is not None else self.completion(body, chat="chat" in path)

    def completion(self, body: dict[str, Any], *, chat: bool) -> dict[str, Any]:
        """Return a completion with its choices."""
        count = 1 if self.ignores_n else body.get("n") or 1
        choices = [_choice(self.answer(body, number), number, chat=chat) for number in range(count)]
        kind = "chat.completion" if chat else "text_completion"
        return {"id": "x", "object": kind, "created": 0, "model": body["model"], "choices": choices}


def _choice(said: Any, number: int, *, chat: bool) -> dict[str, Any]:
    text, reason = said if isinstance(said, tuple) else (said, "stop")
    own = {"message": {"role": "assistant", "content": text}} if chat else {"text": text}
    return {"index": number, "finish_reason": reason, "logprobs": None, **own}


def _error(message: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": "stand_in", "code": None}}


@contextmanager
def stand_in(answer: Answer = echo, **settings: Any) -> Iterator[StandIn]:
    """Serve on a free port of this machine while inside; settings are those of `StandIn`."""
    state = StandIn(answer, **settings)

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: object) -> None:
            """Say nothing."""

        def do_GET(self) -> None:
            """List the models."""
            if self.path != "/v1/models":
                self._send(404, _error("no such path"))
                return
            self._send(
                200, {"object": "list", "data": [{"id": each, "object": "model"} for each in state.models or ()]}
            )

        def do_POST(self) -> None:
            """Answer a request."""
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            state.headers.append(dict(self.headers))
            state.count(1)
            try:
                status, answer = state.replied(self.path, body, self.headers.get("Authorization", ""))
            finally:
                state.count(-1)
            if isinstance(status, str):  # hang up
                self.close_connection = True
                return
            self._send(status, answer)

        def _send(self, status: int, answer: Any) -> None:
            is_text = isinstance(answer, str)
            content = (answer if is_text else json.dumps(answer)).encode()
            self.send_response(status)
            self.send_header("Content-Type", "text/html" if is_text else "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.send_header("retry-after-ms", "1")  # the client does not wait longer
            self.end_headers()
            with suppress(ConnectionError):  # the client waits no longer
                self.wfile.write(content)

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        state.url = f"http://127.0.0.1:{server.server_port}/v1"
        try:
            yield state
        finally:
            server.shutdown()
            thread.join()
