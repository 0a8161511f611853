"""A server of adb whose phones are folders; clients speak the protocol to it.

``python fake_adb.py FOLDER`` listens on a free port, which it writes to ``FOLDER/port``. Every
folder in FOLDER is a phone, called by its serial:

- ``state``: what ``adb devices`` says of it; without the file the phone is unplugged;
- ``root``: its files, of which ``/sys``, ``/proc`` and ``/data`` are seen; commands are run by a
  real shell, with the programs of ``root/bin`` first, which print recorded outputs;
- ``features``: of its daemon, ``shell_v2`` unless it says otherwise;
- ``shells_left``: of commands until it is unplugged, in the middle of the last one's output;
- ``full``: a file of the daemon's that says that no room is left.

The protocol is that of OVERVIEW.TXT, SERVICES.TXT and SYNC.TXT of adb's sources.
"""

from __future__ import annotations

import os
import re
import socket
import socketserver
import struct
import subprocess
import sys
import threading
from pathlib import Path

VERSION = 41
_SEEN = re.compile(r"(?<![\w/.])/(sys|proc|data)/")


class GoneError(Exception):
    """The phone was unplugged: the connection ends without a word."""


class RefusedError(Exception):
    """What the server says after FAIL."""


class Phone:
    """One folder."""

    lock = threading.Lock()

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = folder / "root"

    def state(self) -> str | None:
        path = self.folder / "state"
        return path.read_text().strip() if path.exists() else None

    def path(self, there: str) -> Path:
        return self.root / there.lstrip("/")

    def features(self) -> str:
        path = self.folder / "features"
        return path.read_text().strip() if path.exists() else "shell_v2,cmd,stat_v2"

    def is_last_command(self) -> bool:
        path = self.folder / "shells_left"
        with self.lock:
            if not path.exists():
                return False
            left = int(path.read_text()) - 1
            path.write_text(str(left))
            if left > 0:
                return False
            path.unlink()
            (self.folder / "state").unlink()
            return True

    def run(self, command: str) -> tuple[int, bytes]:
        text = _SEEN.sub(rf"{self.root}/\1/", command)
        environment = {"PATH": f"{self.root}/bin:{os.environ['PATH']}", "ROOT": str(self.root)}
        done = subprocess.run(
            ["/bin/sh", "-c", text], env=environment, cwd=self.root, check=False,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        code = done.returncode if done.returncode >= 0 else 128 - done.returncode
        return code, done.stdout


class Client(socketserver.BaseRequestHandler):
    """One connection of a client."""

    server: Server

    def handle(self) -> None:
        try:
            while True:
                self._serve(self._request())
        except RefusedError as failure:
            words = str(failure).encode()
            self._send(b"FAIL" + b"%04x" % len(words) + words)
        except (GoneError, ConnectionError, EOFError):
            pass

    def _request(self) -> str:
        return self._take(int(self._take(4), 16)).decode()

    def _take(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            part = self.request.recv(size - len(data))
            if not part:
                raise EOFError
            data += part
        return data

    def _send(self, data: bytes) -> None:
        self.request.sendall(data)

    def _okay(self, block: str | None = None) -> None:
        self._send(b"OKAY" + (b"" if block is None else b"%04x%s" % (len(block), block.encode())))

    def _serve(self, service: str) -> None:
        """A service of the server's own, or of the phone that this connection was given to."""
        if service == "host:version":
            self._okay(f"{VERSION:04x}")
            raise GoneError
        if service in ("host:devices", "host:devices-l"):
            states = [(p.folder.name, p.state()) for p in self.server.phones()]
            tags = " product:fake model:Fake device:fake" if service.endswith("-l") else ""
            self._okay("".join(f"{s}\t{state}{tags}\n" for s, state in states if state))
            raise GoneError
        if match := re.fullmatch(r"host:(?:tport:serial|transport):(.*)", service):
            phone = self.server.phone(match[1])
            self._okay()
            if "tport" in service:
                self._send(struct.pack("<Q", 1))
            self._on(phone, self._request())
            raise GoneError
        if match := re.fullmatch(r"host-serial:(.*):(features|get-state)", service):
            phone = self.server.phone(match[1])
            self._okay(phone.features() if match[2] == "features" else phone.state())
            raise GoneError
        raise RefusedError("unknown host service")

    def _on(self, phone: Phone, service: str) -> None:
        if service.startswith("shell,v2:") and "shell_v2" in phone.features():
            self._okay()
            code, output = self._output(phone, service.removeprefix("shell,v2:"))
            for start in range(0, len(output), 4096):
                part = output[start : start + 4096]
                self._send(struct.pack("<BI", 1, len(part)) + part)
            self._send(struct.pack("<BIB", 3, 1, code & 255))
        elif service.startswith("shell:"):
            self._okay()
            self._send(self._output(phone, service.removeprefix("shell:"))[1])
        elif service == "sync:":
            self._okay()
            self._sync(phone)
        else:
            raise RefusedError("closed")

    def _output(self, phone: Phone, command: str) -> tuple[int, bytes]:
        is_last = phone.is_last_command()
        code, output = phone.run(command)
        if is_last:
            self._send(struct.pack("<BI", 1, len(output) + 1) + output[: len(output) // 2])
            raise GoneError
        return code, output

    def _sync(self, phone: Phone) -> None:
        while True:
            word, size = struct.unpack("<4sI", self._take(8))
            text = self._take(size).decode()
            if word == b"STAT":
                path = phone.path(text)
                known = path.stat() if path.exists() else None
                numbers = (known.st_mode, known.st_size, 1) if known else (0, 0, 0)
                self._send(b"STAT" + struct.pack("<III", *numbers))
            elif word == b"SEND":
                self._receive(phone, text)
            elif word == b"RECV":
                content = phone.path(text).read_bytes()
                self._send(b"DATA" + struct.pack("<I", len(content)) + content)
                self._send(b"DONE" + struct.pack("<I", 0))
            else:
                raise GoneError

    def _receive(self, phone: Phone, text: str) -> None:
        name, _, mode = text.rpartition(",")
        content = b""
        while True:
            word, size = struct.unpack("<4sI", self._take(8))
            if word == b"DONE":
                break
            content += self._take(size)
        if phone.state() is None:
            raise GoneError
        path = phone.path(name)
        if (phone.folder / "full").exists() or not path.parent.is_dir():
            words = b"couldn't create file: No space left on device"
            self._send(b"FAIL" + struct.pack("<I", len(words)) + words)
            return
        path.write_bytes(content)
        path.chmod(int(mode) & 0o777)
        self._send(b"OKAY" + struct.pack("<I", 0))


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        super().__init__(("127.0.0.1", 0), Client)

    def phones(self) -> list[Phone]:
        return [Phone(path) for path in sorted(self.folder.iterdir()) if path.is_dir()]

    def phone(self, serial: str) -> Phone:
        phone = Phone(self.folder / serial)
        state = phone.state()
        if state is None:
            raise RefusedError(f"device '{serial}' not found")
        if state != "device":
            raise RefusedError(f"device {state}")
        return phone


def main() -> None:
    folder = Path(sys.argv[1])
    with Server(folder) as server:
        server.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        ready = folder / "port.new"
        ready.write_text(str(server.server_address[1]))
        ready.rename(folder / "port")
        server.serve_forever()


if __name__ == "__main__":
    main()
