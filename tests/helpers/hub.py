"""A small hub on this machine: repositories of models, written and read by the client of `huggingface_hub`."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from huggingface_hub import constants

_ACCOUNT = {
    "type": "user",
    "name": "me",
    "orgs": [{"name": "lab"}],
    "auth": {"accessToken": {"displayName": "test", "role": "write"}},
}


class LocalHub(ThreadingHTTPServer):
    """The server.

    Attributes:
        files: Content by repository, branch and path.
        private: Whether each repository is private, as it was asked for.
        role: Of the token: `write`, `read` or `fineGrained`.
        broken: Whether commits fail.
        commits: How many there were.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[tuple[str, str], dict[str, bytes]] = {}
        self.private: dict[str, Any] = {}
        self.large: dict[str, bytes] = {}
        self.role = "write"
        self.broken = False
        self.commits = 0

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_address[1]}"


@contextmanager
def local_hub() -> Iterator[LocalHub]:
    """Yield a hub that listens."""
    with LocalHub() as hub:
        thread = threading.Thread(target=hub.serve_forever, daemon=True)
        thread.start()
        try:
            yield hub
        finally:
            hub.shutdown()
            thread.join()


@contextmanager
def reached_hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalHub]:
    """Yield a hub that the client of this process, and of those that it starts, takes for the hub."""
    with local_hub() as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setenv("HF_HUB_OFFLINE", "0")
        monkeypatch.setenv("HF_TOKEN", "hf_secretsecret")
        yield hub


class _Handler(BaseHTTPRequestHandler):
    server: LocalHub

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        parts = self.path.partition("?")[0].strip("/").split("/")
        if self.path.startswith("/api/whoami"):
            self._whoami()
        elif parts[:2] == ["api", "models"]:
            self._info("/".join(parts[2:4]), parts[5] if parts[4:5] == ["revision"] else "main")
        elif len(parts) > 4 and parts[2] == "resolve":
            self._file("/".join(parts[:2]), parts[3], "/".join(parts[4:]), body=True)
        else:
            self._answer(404, {"error": "not found"})

    def do_HEAD(self) -> None:
        parts = self.path.partition("?")[0].strip("/").split("/")
        if len(parts) > 4 and parts[2] == "resolve":
            self._file("/".join(parts[:2]), parts[3], "/".join(parts[4:]), body=False)
        else:
            self._answer(200, {})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = self.path.partition("?")[0].strip("/").split("/")
        if self.path == "/api/repos/create":
            self._create(json.loads(body))
        elif parts[-1] == "batch":
            self._batch(json.loads(body))
        elif parts[-1] == "validate-yaml":
            self._answer(200, {"errors": [], "warnings": []})
        elif "branch" in parts:
            name = "/".join(parts[2:4])
            self.server.files.setdefault((name, parts[-1]), dict(self.server.files[name, "main"]))
            self._answer(200, {})
        elif "preupload" in parts:
            files = [each["path"] for each in json.loads(body)["files"]]
            modes = ["lfs" if each.endswith(".safetensors") else "regular" for each in files]
            found = zip(files, modes, strict=True)
            self._answer(200, {"files": [{"path": p, "uploadMode": m, "shouldIgnore": False} for p, m in found]})
        elif "commit" in parts:
            self._commit("/".join(parts[2:4]), parts[-1], body)
        else:
            self._answer(404, {"error": "not found"})

    def do_PUT(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.large[hashlib.sha256(content).hexdigest()] = content
        self._answer(200, {})

    def _whoami(self) -> None:
        if not self.headers.get("Authorization", "").startswith("Bearer "):
            self._answer(401, {"error": "no token"})
            return
        self._answer(200, {**_ACCOUNT, "auth": {"accessToken": {"displayName": "test", "role": self.server.role}}})

    def _create(self, asked: dict[str, Any]) -> None:
        owner = asked.get("organization") or _ACCOUNT["name"]
        name = f"{owner}/{asked['name'].rpartition('/')[2]}"
        if (name, "main") in self.server.files:
            self._answer(409, {"error": "it is there", "url": f"{self.server.url}/{name}"})
            return
        self.server.files[name, "main"] = {}
        self.server.private[name] = asked.get("private", asked.get("visibility"))
        self._answer(200, {"url": f"{self.server.url}/{name}", "name": name})

    def _batch(self, asked: dict[str, Any]) -> None:
        objects = [
            {**each, "actions": {"upload": {"href": f"{self.server.url}/put/{each['oid']}"}}}
            for each in asked["objects"]
        ]
        self._answer(200, {"transfer": "basic", "objects": objects})

    def _commit(self, name: str, branch: str, body: bytes) -> None:
        if self.server.broken:
            self._answer(500, {"error": "the disk is full"})
            return
        files = self.server.files[name, branch]
        for line in map(json.loads, body.decode().splitlines()):
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.server.large[value["oid"]]
            elif line["key"] == "deletedFile":
                del files[value["path"]]
        self.server.commits += 1
        url = f"{self.server.url}/{name}"
        self._answer(200, {"commitUrl": f"{url}/commit/1", "commitOid": "1" * 40, "success": True})

    def _info(self, name: str, branch: str) -> None:
        files = self.server.files.get((name, branch))
        if files is None:
            self._answer(404, {"error": "not found"}, {"X-Error-Code": "RepoNotFound"})
            return
        siblings = [{"rfilename": path} for path in files]
        private = self.server.private.get(name) in (True, "private")
        known = {"id": name, "modelId": name, "sha": "1" * 40, "private": private, "tags": []}
        self._answer(200, {**known, "siblings": siblings})

    def _file(self, name: str, branch: str, path: str, *, body: bool) -> None:
        content = self.server.files.get((name, "main" if branch == "1" * 40 else branch), {}).get(path)
        if content is None:
            self._answer(404, {"error": "not found"}, {"X-Error-Code": "EntryNotFound"})
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", "1" * 40)
        self.end_headers()
        if body:
            self.wfile.write(content)

    def _answer(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)
