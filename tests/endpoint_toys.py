"""A stub of an endpoint that speaks OpenAI's chat protocol, slow and unreliable as its test wants it."""

import json
import threading
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

CUT = "cut the connection"


@dataclass
class Answer:
    """What the stub sends: a status, a body and headers."""

    body: bytes
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Asked:
    """A request as the stub got it. `attempt` counts requests with the same body, from 0."""

    body: dict[str, Any]
    headers: dict[str, str]
    path: str
    attempt: int


Say = Callable[[Asked], "str | Answer"]


def completion(text: str | None, finish_reason: str = "stop") -> Answer:
    """A chat completion with this text."""
    message = {"role": "assistant", "content": text}
    return Answer(json.dumps({"choices": [{"message": message, "finish_reason": finish_reason}]}).encode())


def refusal(status: int, message: str = "", **headers: str) -> Answer:
    """An error's answer; `headers` with underscores for dashes."""
    body = json.dumps({"error": {"message": message}}).encode() if message else b"<html>busy</html>"
    return Answer(body, status, {name.replace("_", "-"): value for name, value in headers.items()})


@dataclass
class Stub:
    """A running endpoint: its address, and what it was asked so far."""

    url: str
    asked: list[Asked] = field(default_factory=list)


@contextmanager
def serving(say: Say, latency: float = 0.0):
    """A running `Stub`, whose requests are answered by `say`: a text, an Answer, or `CUT`."""
    attempts: dict[str, int] = {}
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self):
            text = self.rfile.read(int(self.headers["Content-Length"])).decode()
            with lock:
                attempts[text] = attempts.get(text, -1) + 1
                asked = Asked(json.loads(text), dict(self.headers.items()), self.path, attempts[text])
                stub.asked.append(asked)
            time.sleep(latency)
            answer = say(asked)
            if answer == CUT:
                self.close_connection = True
                return
            answer = completion(answer) if isinstance(answer, str) else answer
            self.send_response(answer.status)
            for name, value in {**answer.headers, "Content-Length": str(len(answer.body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer.body)

        def log_message(self, *_):
            pass

    class Server(ThreadingHTTPServer):
        request_queue_size = 256
        daemon_threads = True

        def handle_error(self, request, client_address):
            """A client that goes away is nothing to report."""

    server = Server(("127.0.0.1", 0), Handler)
    stub = Stub(f"http://127.0.0.1:{server.server_port}/v1")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield stub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
