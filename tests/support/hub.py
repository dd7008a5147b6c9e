"""A hub on this machine: a real HTTP server that answers what the hub's own client asks when it downloads and uploads models.

It keeps repositories in memory. ``hub.fails`` makes it answer some requests with an error.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

SHA = "0123456789abcdef0123456789abcdef01234567"
"""The commit at which a repository begins."""
LARGE = (".safetensors", ".gguf")
"""The suffixes of the files that the hub wants by way of its store of large files."""


@dataclass
class Repository:
    """A repository of the hub."""

    files: dict[str, bytes] = field(default_factory=dict)
    private: bool = True
    commits: list[dict[str, Any]] = field(default_factory=list)
    """What each commit was: its message, and the files that it changed."""
    stated_sha256: dict[str, str] = field(default_factory=dict)
    """The SHA-256 that the hub states for a file, if it is not the right one."""

    @property
    def sha(self) -> str:
        return f"{len(self.commits):040x}" if self.commits else SHA

    def entry(self, name: str) -> dict[str, Any]:
        content = self.files[name]
        sha256 = self.stated_sha256.get(name, hashlib.sha256(content).hexdigest())
        lfs = {"oid": sha256, "sha256": sha256, "size": len(content), "pointerSize": 1}
        return {"size": len(content)} | ({"lfs": lfs} if name.endswith(LARGE) else {})


@dataclass
class Hub:
    """The state of a hub: who may use it, and what it holds."""

    address: str = ""
    users: dict[str, dict[str, Any]] = field(default_factory=lambda: {"hf_secret": {"name": "me", "role": "write"}})
    """Who each token belongs to."""
    repositories: dict[str, Repository] = field(default_factory=dict)
    fails: dict[str, int] = field(default_factory=dict)
    """The status with which requests fail whose path contains a text, by this text."""
    complaint: str = "made to fail"
    """What the hub says when it fails."""
    asked: list[str] = field(default_factory=list)
    """The requests so far, each as its method and its path."""
    large: dict[str, bytes] = field(default_factory=dict)
    """The store of large files, by SHA-256."""

    @property
    def downloaded(self) -> set[str]:
        """The names of the files that were downloaded."""
        return {
            request.rpartition("/")[2] for request in self.asked if request.startswith("GET") and "/resolve/" in request
        }


class Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    hub: Hub

    def log_message(self, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.route()

    def do_GET(self) -> None:
        self.route()

    def do_POST(self) -> None:
        self.route()

    def do_PUT(self) -> None:
        self.route()

    def route(self) -> None:
        path = self.path.split("?")[0]
        body = self.body()
        self.hub.asked.append(f"{self.command} {path}")
        for part, status in self.hub.fails.items():
            if part in path:
                self.answer(status, {"error": self.hub.complaint})
                return
        for method, pattern, act in ROUTES:
            match = re.fullmatch(pattern, path)
            if match and method == self.command.replace("HEAD", "GET"):
                act(self, body, **match.groupdict())
                return
        self.answer(404, {}, X_Error_Code="RepoNotFound")

    def body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            content = b""
            while size := int(self.rfile.readline(), 16):
                content += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return content
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def answer(self, status: int, body: bytes | dict[str, Any] | list[Any] = b"", **headers: str) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        if not isinstance(body, bytes):
            self.send_header("Content-Type", "application/json")
        for key, value in headers.items():
            self.send_header(key.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    @property
    def user(self) -> dict[str, Any] | None:
        return self.hub.users.get(self.headers.get("Authorization", "").removeprefix("Bearer "))

    def visible(self, name: str) -> Repository | None:
        """The repository, if there is one that the user may see. If not, the request is answered with an error."""
        repo = self.hub.repositories.get(name)
        if repo is None or (repo.private and not self.owns(name)):
            self.answer(404, {"error": "Repository not found"}, X_Error_Code="RepoNotFound")
            return None
        return repo

    def owns(self, name: str) -> bool:
        return bool(self.user) and self.user["name"] == name.partition("/")[0] and self.user["role"] == "write"

    def may_write(self, name: str) -> Repository | None:
        repo = self.visible(name)
        if repo is not None and not self.owns(name):
            self.answer(403, {"error": f"You may not write to {name}"})
            return None
        return repo

    def whoami(self, body: bytes) -> None:
        if self.user is None:
            self.answer(401, {"error": "Invalid username or password."})
            return
        token = {"displayName": "a token", "role": self.user["role"]}
        self.answer(200, {"type": "user", "name": self.user["name"], "orgs": [], "auth": {"accessToken": token}})

    def create(self, body: bytes) -> None:
        wanted = json.loads(body)
        name = f"{wanted['organization']}/{wanted['name']}"
        if not self.owns(name):
            self.answer(403, {"error": f"You don't have the rights to create a model under {wanted['organization']!r}"})
        elif name in self.hub.repositories:
            self.answer(409, {"error": "You already created this model repo"})
        else:
            private = wanted.get("visibility") == "private" or bool(wanted.get("private"))
            self.hub.repositories[name] = Repository(private=private)
            self.answer(200, {"url": f"{self.hub.address}/{name}", "name": name, "id": "1"})

    def info(self, body: bytes, name: str) -> None:
        if repo := self.visible(name):
            siblings = [repo.entry(file) | {"rfilename": file} for file in repo.files]
            about = {"id": name, "modelId": name, "sha": repo.sha, "tags": [], "private": repo.private}
            self.answer(200, about | {"siblings": siblings})

    def tree(self, body: bytes, name: str) -> None:
        if repo := self.visible(name):
            self.answer(200, [repo.entry(f) | {"type": "file", "path": f, "oid": "0" * 40} for f in repo.files])

    def resolve(self, body: bytes, name: str, sha: str, file: str) -> None:
        if repo := self.visible(name):
            content = repo.files[file]
            etag = f'"{hashlib.sha256(content).hexdigest()}"'
            self.answer(200, content, ETag=etag, X_Repo_Commit=repo.sha, Accept_Ranges="bytes")

    def validate(self, body: bytes) -> None:
        self.answer(200, {"errors": [], "warnings": []})

    def preupload(self, body: bytes, name: str) -> None:
        if repo := self.may_write(name):
            files = []
            for file in json.loads(body)["files"]:
                large = file["path"].endswith(LARGE)
                there = repo.files.get(file["path"])
                oid = None if there is None else (hashlib.sha256(there).hexdigest() if large else git_sha1(there))
                mode = "lfs" if large else "regular"
                files.append({"path": file["path"], "uploadMode": mode, "shouldIgnore": False, "oid": oid})
            self.answer(200, {"files": files})

    def batch(self, body: bytes, name: str) -> None:
        if self.may_write(name):
            objects = []
            for item in json.loads(body)["objects"]:
                upload = {"upload": {"href": f"{self.hub.address}/large/{item['oid']}", "header": {}}}
                objects.append(item | ({} if item["oid"] in self.hub.large else {"actions": upload}))
            self.answer(200, {"transfer": "basic", "objects": objects})

    def put_large(self, body: bytes, oid: str) -> None:
        if hashlib.sha256(body).hexdigest() != oid:
            self.answer(400, {"error": "the content is not what was announced"})
            return
        self.hub.large[oid] = body
        self.answer(200)

    def commit(self, body: bytes, name: str) -> None:
        if repo := self.may_write(name):
            head, *lines = [json.loads(line) for line in body.decode().splitlines()]
            changed = {}
            for line in lines:
                value = line["value"]
                large = line["key"] == "lfsFile"
                changed[value["path"]] = self.hub.large[value["oid"]] if large else base64.b64decode(value["content"])
            repo.files.update(changed)
            repo.commits.append({"message": head["value"]["summary"], "files": sorted(changed)})
            self.answer(200, {"commitUrl": f"{self.hub.address}/{name}/commit/{repo.sha}", "commitOid": repo.sha})


def git_sha1(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


NAME = r"(?P<name>[\w.-]+/[\w.-]+)"
ROUTES = [
    ("GET", "/api/whoami-v2", Handler.whoami),
    ("POST", "/api/repos/create", Handler.create),
    ("POST", "/api/validate-yaml", Handler.validate),
    ("POST", f"/api/models/{NAME}/preupload/main", Handler.preupload),
    ("POST", f"/api/models/{NAME}/commit/main", Handler.commit),
    ("POST", rf"/{NAME}\.git/info/lfs/objects/batch", Handler.batch),
    ("PUT", "/large/(?P<oid>[0-9a-f]{64})", Handler.put_large),
    ("GET", f"/api/models/{NAME}/tree/.*", Handler.tree),
    ("GET", f"/api/models/{NAME}(?:/revision/[^/]+)?", Handler.info),
    ("GET", f"/{NAME}/resolve/(?P<sha>[^/]+)/(?P<file>.+)", Handler.resolve),
]


@contextmanager
def running_hub() -> Iterator[Hub]:
    """Run a hub on a free port of 127.0.0.1 inside the block."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("HandlerOfHub", (Handler,), {"hub": hub}))
    hub.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=lambda: server.serve_forever(poll_interval=0.01), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
