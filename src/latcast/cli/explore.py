"""``latcast explore``: the explorer in a browser, over a service of its own."""

from __future__ import annotations

import shutil
import tempfile
import threading
import webbrowser
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlencode

from ._console import Console, argument, command, option, usage
from ._options import Devices


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
    from latcast.serve.settings import Settings

    from ._options import check_network

    console.check_no_result()
    if model is not None:
        check_network(model)
    host, port = _address(listen)
    for package in ("fastapi", "uvicorn", "python_multipart", "prometheus_client"):
        require(package, "serve", "exploring")
    from latcast.serve.client import Client
    from latcast.serve.running import run

    folder = state or Path(tempfile.mkdtemp(prefix="latcast-explore-"))

    starting = ExitStack()
    starting.enter_context(console.progress("starting"))

    def told(line: str) -> None:
        starting.close()
        url = next(word for word in line.split() if word.startswith("http"))
        threading.Thread(target=begin, args=(url,), daemon=True).start()

    def begin(url: str) -> None:
        asked = [("device", name) for name in device or ()]
        try:
            if model is not None:
                asked.append(("network", Client(url).send(model)))
        except (OSError, ValueError) as error:
            console.tell_error(str(error))
        address = f"{url}/?{urlencode(asked)}" if asked else f"{url}/"
        console.note(f"the explorer is at {address}; ctrl-C ends it")
        if opens:
            webbrowser.open(address)

    try:
        run(Settings(host, port, folder), devices or (), told)
    finally:
        starting.close()
        if state is None:
            shutil.rmtree(folder, ignore_errors=True)


def _address(listen: str) -> tuple[str, int]:
    """Return an address of this machine alone, and its port."""
    from latcast.serve.settings import is_loopback, parse_listen

    with usage():
        host, port = parse_listen(listen)
        if not is_loopback(host):
            raise ValueError(
                f"--listen must be an address of this machine alone; got {host}: others are "
                "served by latcast serve, with keys"
            )
    return host, port
