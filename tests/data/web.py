"""Web servers on the loopback interface; no test asks a server elsewhere."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


@dataclass
class Answer:
    """What a server sends; `length` is the Content-Length it claims."""

    body: bytes = b""
    status: int = 200
    length: int | None = None
    seconds: float = 0.0


class Web(ThreadingHTTPServer):
    """A server that answers by path and keeps a list of all requests."""

    def __init__(self, answers: dict[str, Answer]) -> None:
        super().__init__(("127.0.0.1", 0), WebHandler)
        self.answers = answers
        self.requests: list[str] = []
        self.url = f"http://127.0.0.1:{self.server_port}/"


class WebHandler(BaseHTTPRequestHandler):
    server: Web
    timeout = 10

    def do_GET(self) -> None:
        name = self.path.removeprefix("/")
        self.server.requests.append(name)
        answer = self.server.answers.get(name, Answer(status=404))
        time.sleep(answer.seconds)
        self.send_response(answer.status)
        self.send_header("Content-Length", str(len(answer.body) if answer.length is None else answer.length))
        self.end_headers()
        self.wfile.write(answer.body)

    def log_message(self, *_: object) -> None:
        """Keep the test's output clean."""


Serve = Callable[[dict[str, Answer]], Web]


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    servers = []

    def start(answers: dict[str, Answer]) -> Web:
        server = Web(answers)
        poll = {"poll_interval": 0.02}
        threading.Thread(target=server.serve_forever, kwargs=poll, daemon=True).start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def closed_port(monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of a port on this machine without a server."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}/"
