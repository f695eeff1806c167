"""A hub on this machine that speaks the part of the Hugging Face hub's API which pushing and fetching a run needs."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

import yaml

TOKEN = "hf_writer"
LARGE = (".safetensors",)  # what the hub keeps as large files


class Refused(Exception):
    """An answer that is no success."""

    def __init__(self, status: int, code: str = "", body: Any = None):
        super().__init__(code)
        self.status, self.code, self.body = status, code, body


@dataclass
class Repository:
    """Files at every commit; the last one is main."""

    private: bool = False
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)

    @property
    def head(self) -> str:
        return list(self.commits)[-1]

    @property
    def files(self) -> dict[str, bytes]:
        return self.commits[self.head]

    def commit(self, files: dict[str, bytes]) -> str:
        """Make these the files of a new commit."""
        name = hashlib.sha1(f"{len(self.commits)} {sorted(files)}".encode()).hexdigest()
        self.commits[name] = files
        return name

    def at(self, revision: str) -> tuple[str, dict[str, bytes]]:
        name = self.head if revision == "main" else revision
        if name not in self.commits:
            raise Refused(404, "RevisionNotFound")
        return name, self.commits[name]


@dataclass
class Hub:
    """What the hub holds, what it was asked, and how it misbehaves."""

    address: str = ""
    owner: str = "user"
    repositories: dict[str, Repository] = field(default_factory=dict)
    large: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    status: int | None = None  # of every answer

    def repository(self, name: str, files: dict[str, bytes], private: bool = False) -> Repository:
        """Put a repository there, as somebody else would."""
        made = Repository(private)
        made.commit(dict(files))
        self.repositories[name] = made
        return made

    def answer(self, method: str, path: str, token: str, body: bytes) -> Any:
        """What is said to a request: a document for JSON, or (bytes, commit) for a file."""
        if self.status is not None:
            raise Refused(self.status)
        parts = [unquote(part) for part in path.strip("/").split("/")]
        if method in ("POST", "PUT") and token != TOKEN:
            raise Refused(401)
        match (method, *parts):
            case ("POST", "api", "repos", "create"):
                return self._create(json.loads(body))
            case ("POST", "api", "validate-yaml"):
                return _validated(json.loads(body)["content"])
            case ("GET", "api", "models", user, name):
                return self._info(f"{user}/{name}", "main", token)
            case ("GET", "api", "models", user, name, "revision", revision):
                return self._info(f"{user}/{name}", revision, token)
            case ("GET", "api", "models", user, name, "tree", revision):
                _, files = self._found(f"{user}/{name}", token).at(revision)
                return [{"type": "file", "path": path, **_described(path, files[path])} for path in files]
            case ("POST", "api", "models", user, name, "preupload", "main"):
                files = json.loads(body)["files"]
                return {"files": [_mode(file["path"]) for file in files]}
            case ("POST", "api", "models", user, name, "commit", "main"):
                return self._commit(f"{user}/{name}", body)
            case ("POST", _, _, "info", "lfs", "objects", "batch"):
                return {"objects": [self._action(one) for one in json.loads(body)["objects"]]}
            case ("PUT", "large", oid):
                if hashlib.sha256(body).hexdigest() != oid:
                    raise Refused(422)
                self.large[oid] = body
                return {}
            case ("GET" | "HEAD", user, name, "resolve", revision, *rest):
                commit, files = self._found(f"{user}/{name}", token).at(revision)
                if "/".join(rest) not in files:
                    raise Refused(404, "EntryNotFound")
                return files["/".join(rest)], commit, "/".join(rest)
        raise Refused(404)

    def _create(self, asked: dict[str, Any]) -> Any:
        name = f"{asked['organization']}/{asked['name']}"
        if asked["organization"] != self.owner:
            raise Refused(403)
        if name in self.repositories:
            raise Refused(409)
        self.repository(name, {".gitattributes": b""}, asked.get("visibility") == "private")
        return {"url": f"{self.address}/{name}", "name": name}

    def _found(self, name: str, token: str) -> Repository:
        found = self.repositories.get(name)
        if found is None or (found.private and token != TOKEN):
            raise Refused(401, "RepoNotFound")
        return found

    def _info(self, name: str, revision: str, token: str) -> Any:
        found = self._found(name, token)
        commit, files = found.at(revision)
        siblings = [{"rfilename": path, "size": len(files[path])} for path in files]
        return {"id": name, "modelId": name, "sha": commit, "private": found.private, "siblings": siblings}

    def _action(self, wanted: dict[str, Any]) -> Any:
        if wanted["oid"] in self.large:
            return wanted
        return {**wanted, "actions": {"upload": {"href": f"{self.address}/large/{wanted['oid']}"}}}

    def _commit(self, name: str, body: bytes) -> Any:
        found = self._found(name, TOKEN)
        files = dict(found.files)
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "header" and value.get("parentCommit") not in (None, found.head):
                raise Refused(412)
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.large[value["oid"]]
            elif line["key"] == "deletedFile":
                del files[value["path"]]
        commit = found.commit(files)
        return {"commitUrl": f"{self.address}/{name}/commit/{commit}", "commitOid": commit}


def _mode(path: str) -> dict[str, Any]:
    return {"path": path, "uploadMode": "lfs" if path.endswith(LARGE) else "regular", "shouldIgnore": False}


def _described(path: str, content: bytes) -> dict[str, Any]:
    sha256 = hashlib.sha256(content).hexdigest()
    large = {"lfs": {"oid": sha256, "size": len(content), "pointerSize": 130}} if path.endswith(LARGE) else {}
    return {"size": len(content), "oid": hashlib.sha1(content).hexdigest(), **large}


def _validated(content: str) -> Any:
    """As the hub checks a card's metadata: a mapping, with the kinds of values that it knows."""
    front = content.split("---\n")[1] if content.startswith("---\n") else ""
    try:
        metadata = yaml.safe_load(front)
    except yaml.YAMLError as error:
        raise Refused(400, body={"errors": [{"message": str(error)}], "warnings": []}) from error
    errors = [] if isinstance(metadata, dict) else ["no metadata"]
    if not errors:
        errors += [
            key for key in ("license", "library_name", "pipeline_tag") if not _is(str, metadata.get(key, ""))
        ]
        errors += [tag for tag in metadata.get("tags", []) if not _is(str, tag)]
        for model in metadata.get("model-index", []):
            for result in model["results"]:
                errors += [key for key in ("type", "name") if not _is(str, result["dataset"].get(key))]
                errors += [m["type"] for m in result["metrics"] if not _is((int, float), m.get("value"))]
    if errors:
        raise Refused(400, body={"errors": [{"message": str(one)} for one in errors], "warnings": []})
    return {"errors": [], "warnings": []}


def _is(kind: Any, value: Any) -> bool:
    return isinstance(value, kind)


@contextmanager
def hub() -> Iterator[Hub]:
    """Serve a hub until the block ends."""
    state = Hub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _do(self) -> None:
            path = urlsplit(self.path).path
            state.asked.append(f"{self.command} {path}")
            token = self.headers.get("Authorization", "").removeprefix("Bearer ")
            # Large files go to a place of their own, whose address is the permission.
            token = TOKEN if path.startswith("/large/") else token
            try:
                found = state.answer(self.command, path, token, self._body())
            except Refused as refused:
                self._send(
                    refused.status, json.dumps(refused.body or {}).encode(), {"X-Error-Code": refused.code}
                )
                return
            if isinstance(found, tuple):
                content, commit, name = found
                described = _described(name, content)
                tag = described.get("lfs", described)["oid"]
                headers = {"ETag": f'"{tag}"', "X-Repo-Commit": commit, "X-Linked-Size": str(len(content))}
                self._send(200, content, headers)
            else:
                self._send(200, json.dumps(found).encode(), {"Content-Type": "application/json"})

        do_GET = do_HEAD = do_POST = do_PUT = _do

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding") != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length", 0)))
            content = b""
            while size := int(self.rfile.readline(), 16):
                content += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return content

        def _send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            for key, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(key, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    httpd.daemon_threads = True
    state.address = f"http://127.0.0.1:{httpd.server_port}"
    thread = threading.Thread(target=httpd.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield state
    finally:
        httpd.shutdown()
        httpd.server_close()
        thread.join()
