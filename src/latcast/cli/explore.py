"""``latcast explore``: the explorer in a browser, over a service of its own."""

from __future__ import annotations

import http.client
import json
import shutil
import tempfile
import threading
import time
import webbrowser
from pathlib import Path
from urllib.parse import urlencode, urlsplit

from ._console import Console, argument, command, option, usage
from ._options import Devices

# Seconds that a service has to answer for the first time.
_START_S = 120.0


@command
def explore(
    console: Console,
    *,
    model: Path | None = argument("A model's file, to begin with.", None),
    device: list[str] | None = option("Device to begin with; repeatable.", metavar="NAME"),
    listen: str = option("Where to listen, on this machine.", "127.0.0.1:0", metavar="HOST:PORT"),
    state: Path | None = option("Folder of files and jobs; by default one that is removed."),
    opens: bool = option("Open a browser.", True, "--open/--no-open"),
    devices: Devices = None,
) -> None:
    """Forecast in a browser: drop a model, choose devices, add your measurements, click a front.

    The service listens on this machine alone, and ends with ctrl-C.

    Example: latcast explore model.onnx --device raspberry-pi-4
    """
    from latcast._imports import require
    from latcast.serve.settings import Settings, is_loopback, parse_listen

    from ._options import check_network

    console.check_no_result()
    if model is not None:
        check_network(model)
    with usage():
        host, port = parse_listen(listen)
        if not is_loopback(host):
            raise ValueError(
                f"--listen must be an address of this machine alone; got {host}: others are "
                "served by latcast serve, with keys"
            )
    for package in ("fastapi", "uvicorn", "python_multipart", "prometheus_client"):
        require(package, "serve", "exploring")
    from latcast.serve.running import run

    folder = state or Path(tempfile.mkdtemp(prefix="latcast-explore-"))

    def told(line: str) -> None:
        url = next(word for word in line.split() if word.startswith("http"))
        threading.Thread(target=begin, args=(url,), daemon=True).start()

    def begin(url: str) -> None:
        asked = [("device", name) for name in device or ()]
        try:
            _wait(url)
            if model is not None:
                asked.append(("network", _send(url, model)))
        except (OSError, ValueError) as error:
            console.tell_error(str(error))
        address = f"{url}/?{urlencode(asked)}" if asked else f"{url}/"
        console.note(f"the explorer is at {address}; ctrl-C ends it")
        if opens:
            webbrowser.open(address)

    try:
        run(Settings(host, port, folder), devices or (), told)
    finally:
        if state is None:
            shutil.rmtree(folder, ignore_errors=True)


def _wait(url: str) -> None:
    """Wait until the service answers.

    Raises:
        OSError: it does not.
    """
    end = time.monotonic() + _START_S
    while True:
        try:
            _ask(url, "GET", "/healthz")
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)
        else:
            return


def _send(url: str, model: Path) -> str:
    """Send a model's file; its id.

    Raises:
        ValueError: the service refuses it.
    """
    border = "latcast-explore-border"
    head = f'--{border}\r\ncontent-disposition: form-data; name="file"; filename="{model.name}"'
    body = b"".join((head.encode(), b"\r\n\r\n", model.read_bytes(), f"\r\n--{border}--".encode()))
    told = _ask(url, "POST", "/v1/networks", body, f"multipart/form-data; boundary={border}")
    if "error" in told:
        raise ValueError(told["error"])
    return str(told["id"])


def _ask(
    url: str, method: str, path: str, body: bytes = b"", kind: str = "application/json"
) -> dict[str, object]:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=_START_S)
    try:
        connection.request(method, path, body, {"content-type": kind})
        found: dict[str, object] = json.loads(connection.getresponse().read())
        return found
    finally:
        connection.close()
