"""A small Hugging Face Hub: what ``huggingface_hub`` asks of its API, from memory.

Run as a program it serves until it is killed, and prints its address first.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

TOKEN = "hf_test"


@dataclass
class Repository:
    """Its commits: the files of each, and where branches are."""

    private: bool
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    main: str = ""

    def commit(self, changes: dict[str, bytes]) -> str:
        """A commit of changed files on the main branch."""
        files = self.commits.get(self.main, {}) | changes
        digest = hashlib.sha1(f"{self.main}{len(self.commits)}".encode())
        for name, content in sorted(files.items()):
            digest.update(name.encode() + content)
        self.main = digest.hexdigest()
        self.commits[self.main] = files
        return self.main


REPOSITORIES: dict[str, Repository] = {}


class Handler(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """Nothing."""

    def _answer(self, code: int, content: Any = b"", **headers: str) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _refuse(self, code: int, kind: str) -> None:
        self._answer(code, {"error": kind}, X_Error_Code=kind, X_Error_Message=kind)

    def _is_user(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def _found(self, name: str) -> Repository | None:
        """A repository that may be seen; else it is refused as the Hub does."""
        found = REPOSITORIES.get(name)
        if found is None or (found.private and not self._is_user()):
            self._refuse(404 if self._is_user() else 401, "RepoNotFound")
            return None
        return found

    def _at(self, found: Repository, revision: str) -> dict[str, bytes] | None:
        sha = found.main if revision == "main" else revision
        if sha not in found.commits:
            self._refuse(404, "RevisionNotFound")
            return None
        self.sha = sha
        return found.commits[sha]

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/(.+))?", path):
            name, revision = match[1], match[2] or "main"
            if (found := self._found(name)) is None or (files := self._at(found, revision)) is None:
                return
            siblings = [{"rfilename": name} for name in files]
            self._answer(200, {"id": name, "sha": self.sha, "siblings": siblings, "tags": []})
        elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/tree/([^/]+)/?", path):
            found = self._found(match[1])
            if found is None or (files := self._at(found, match[2])) is None:
                return
            entries = [
                {"type": "file", "oid": hashlib.sha1(x).hexdigest(), "size": len(x), "path": name}
                for name, x in files.items()
            ]
            self._answer(200, entries)
        elif match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            found = self._found(match[1])
            if found is None or (files := self._at(found, match[2])) is None:
                return
            if match[3] not in files:
                self._answer(404, X_Error_Code="EntryNotFound", X_Repo_Commit=self.sha)
                return
            content = files[match[3]]
            etag = f'"{hashlib.sha1(content).hexdigest()}"'
            self._answer(200, content, ETag=etag, X_Repo_Commit=self.sha)
        else:
            self._refuse(404, "NotFound")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = unquote(urlsplit(self.path).path)
        if not self._is_user():
            self._refuse(401, "Unauthorized")
        elif path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked['organization']}/{asked['name']}"
            is_new = name not in REPOSITORIES
            private = asked.get("visibility") == "private"
            REPOSITORIES.setdefault(name, Repository(private)).commit({})
            host = self.headers["Host"]
            self._answer(200 if is_new else 409, {"url": f"http://{host}/{name}", "name": name})
        elif path == "/api/validate-yaml":
            self._answer(200, {"errors": [], "warnings": []})
        elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/(preupload|commit)/main", path):
            if (found := self._found(match[1])) is None:
                return
            if match[2] == "preupload":
                files = [
                    {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False}
                    for f in json.loads(body)["files"]
                ]
                self._answer(200, {"files": files})
                return
            items = [json.loads(line) for line in body.splitlines()]
            changes = {
                item["value"]["path"]: base64.b64decode(item["value"]["content"])
                for item in items
                if item["key"] == "file"
            }
            sha = found.commit(changes)
            url = f"http://{self.headers['Host']}/{match[1]}/commit/{sha}"
            self._answer(200, {"success": True, "commitOid": sha, "commitUrl": url})
        else:
            self._refuse(404, "NotFound")


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(f"http://127.0.0.1:{server.server_port}", flush=True)  # noqa: T201
    server.serve_forever()
