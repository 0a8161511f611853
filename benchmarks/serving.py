"""How fast the service answers under load, beside hostile requests and without.

    python benchmarks/serving.py [--seconds 20]

The load comes from hey (https://github.com/rakyll/hey; Debian's package hey), which keeps a rate:
a connection that is late asks at once, and not more often afterwards. The service and hey share the
machine. Forecasts of the model's file name it by its id; no answer is remembered, the network that
was read and the predictor of a device are. First rows are forecasts of a search space on targets
that nobody has asked for, each of which fuses and prices all blocks of the space: one a second,
every one of them three times, so that the service learns it. Hostile requests are a zip bomb, a
file of functions that call each other 2^40 times, noise, an upload of 2 GB, and the end of a worker
by SIGKILL.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import itertools
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil

from latcast import Client, space
from latcast.bench.tables import machine
from latcast.families import Variant, family
from latcast.report.table import Column, Table
from latcast.serve.client import ServerError

_DEVICE = "raspberry-pi-4"
_TARGET = "p50 ms, p99 ms, worst ms of the answers; failed: other than 200"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=20, help="of every load")
    seconds = parser.parse_args().seconds
    if shutil.which("hey") is None:
        sys.exit("the load generator hey must be there: apt-get install hey")
    with tempfile.TemporaryDirectory(prefix="latcast-") as name:
        folder = Path(name)
        (model := folder / "model.onnx").write_bytes(_mobilenet().to_onnx())
        with _service(folder / "state") as (url, pid):
            rows = list(_loads(url, pid, folder, model, seconds))
    print(f"{machine()}; load in the last 15 minutes {os.getloadavg()[2]:.1f}")
    print(f"the file is MobileNetV2 of 14 MB; {seconds} s each; {_TARGET}\n")
    columns = (
        Column("load", lambda r: r[0]), Column("per s", lambda r: r[1], ".1f"),
        Column("p50", lambda r: r[2], ".1f"), Column("p99", lambda r: r[3], ".1f"),
        Column("worst", lambda r: r[4], ".1f"), Column("answers", lambda r: r[5]),
        Column("failed", lambda r: r[6]),
    )  # fmt: skip
    print(Table(columns, rows).to_text())


def _mobilenet() -> Variant:
    of = family("mobilenet-v2")
    return Variant(of.name, of.published["mobilenet-v2"])


Row = tuple[str, float, float, float, float, int, int]


def _loads(url: str, pid: int, folder: Path, model: Path, seconds: int) -> Iterator[Row]:
    client = Client(url)
    key = client.send(model)
    archs = space("ofa-mobilenet-v3").sample(1, seed=0).to_dicts()
    own = {"archs": archs, "devices": ["samsung-note10"]}
    by_specification = {"archs": archs, "devices": [_DEVICE]}
    network = {"network": key, "devices": [_DEVICE]}
    ask = f"{url}/v1/forecast"

    def post(name: str, body: object, rate: int, connections: int) -> Row:
        (file := folder / "body.json").write_text(json.dumps(body))
        return name, *_hey(ask, file, "application/json", rate, connections, seconds)

    for body in (own, by_specification, network, network):  # warm
        post("", body, 5, 5)
    yield post("an architecture, shipped model", own, 200, 4)
    yield post("an architecture, by specification", by_specification, 200, 4)
    yield post("a model's file, by id", network, 5, 5)
    border = "border"
    (file := folder / "form").write_bytes(_form(border, "model.onnx", model.read_bytes()))
    kind = f"multipart/form-data; boundary={border}"
    yield (
        "a model's file, sent and inspected",
        *_hey(f"{url}/v1/networks", file, kind, 5, 5, seconds),
    )
    with _first_rows(url) as count:
        row = post("an architecture, beside first rows of others", own, 200, 4)
    yield row
    print(f"forecasts of first rows that were answered in that load: {count[0]}")
    with _hostile(url, pid) as count:
        row = post("an architecture, beside hostile requests", own, 200, 4)
    yield row
    with _hostile(url, pid, kills=False) as count:
        row = post("a model's file, by id, beside hostile uploads", network, 5, 5)
    yield row
    print(f"hostile requests in the last load: {count[0]}, all refused")


def _hey(
    url: str, body: Path, kind: str, rate: int, connections: int, seconds: int
) -> tuple[float, float, float, float, int, int]:
    command = ["hey", "-z", f"{seconds}s", "-c", str(connections), "-q", str(rate // connections),
               "-m", "POST", "-T", kind, "-D", str(body), "-o", "csv", url]  # fmt: skip
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    rows = [line.split(",") for line in text.splitlines()[1:] if line.count(",") >= 7]
    # Columns of hey: response-time, …, status code, offset from the start.
    times = sorted(1e3 * float(row[0]) for row in rows)
    failed = [f"{row[6]} after {float(row[7]):.1f} s" for row in rows if row[6] != "200"]
    if not times:
        sys.exit(f"hey has no answers: {text[:500]}")
    p50, p99 = (times[int(share * (len(times) - 1))] for share in (0.5, 0.99))
    if failed:
        print(f"failed: {', '.join(failed[:8])}")
    return len(times) / seconds, p50, p99, times[-1], len(times), len(failed)


@contextlib.contextmanager
def _service(state: Path) -> Iterator[tuple[str, int]]:
    command = [sys.executable, "-m", "latcast", "serve", "--listen", "127.0.0.1:0", "--state"]
    with (state.with_suffix(".log")).open("w+") as log:
        process = subprocess.Popen([*command, str(state)], stderr=log)
        try:
            while True:
                log.seek(0)
                if found := re.search(r"http://\S+", log.read()):
                    break
                if process.poll() is not None:
                    sys.exit(f"the service has ended: {process.returncode}")
                time.sleep(0.2)
            yield found[0], process.pid
        finally:
            process.terminate()
            process.wait()


@contextlib.contextmanager
def _first_rows(url: str) -> Iterator[list[int]]:
    """Forecasts of a space on targets that are new, one after the other, as long as the block."""
    archs, batches = space("ofa-resnet50").sample(1, seed=0), itertools.count(6)

    def ask(client: Client, count: list[int]) -> None:
        for _ in range(3):
            client.forecast(archs, _DEVICE, batch=next(batches) // 3)
            count[0] += 1

    with _beside(url, ask) as count:
        yield count


@contextlib.contextmanager
def _beside(url: str, ask: Callable[[Client, list[int]], None]) -> Iterator[list[int]]:
    """Call a function once a second or less often, as long as the block lasts."""
    done, count = threading.Event(), [0]

    def run() -> None:
        client = Client(url)
        while not done.wait(1):
            with contextlib.suppress(ServerError):  # what was answered is counted
                ask(client, count)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield count
    finally:
        done.set()
        thread.join()


@contextlib.contextmanager
def _hostile(url: str, pid: int, *, kills: bool = True) -> Iterator[list[int]]:
    """Hostile requests, one after the other, as long as the block lasts."""
    with tempfile.TemporaryDirectory(prefix="latcast-") as name:
        files = [Path(name) / n for n in ("bomb.pt2", "endless.onnx", "noise.tflite")]
        contents = (bomb(), doubling_functions(), os.urandom(2**20))
        for file, content in zip(files, contents, strict=True):
            file.write_bytes(content)

        def attack(client: Client, count: list[int]) -> None:
            for file in files:
                with contextlib.suppress(ServerError):
                    client.inspect(file)
                    sys.exit(f"{file.name} was not refused")
                count[0] += 1
            _send_2_gb(url)
            count[0] += 1
            if kills:
                _kill_a_worker(pid)
                count[0] += 1

        with _beside(url, attack) as count:
            yield count


def _kill_a_worker(pid: int) -> None:
    for child in psutil.Process(pid).children():
        with contextlib.suppress(psutil.Error):
            if "latcast.serve.workers" in " ".join(child.cmdline()):
                child.send_signal(signal.SIGKILL)
                return


def _send_2_gb(url: str) -> None:
    host, _, port = url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=60) as link:
        link.sendall(
            b"POST /v1/networks HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2147483648\r\n"
            b"Content-Type: multipart/form-data; boundary=x\r\n\r\n"
        )
        assert b" 413 " in link.recv(4_096)


def bomb() -> bytes:
    """A zip of 260 kB that has 268 MB inside."""
    with zipfile.ZipFile(file := io.BytesIO(), "w", zipfile.ZIP_DEFLATED, compresslevel=9) as bomb:
        for name in ("archive/version", "archive/models/model.json"):
            bomb.writestr(name, bytes(2**27))
    return file.getvalue()


def doubling_functions(levels: int = 40) -> bytes:
    """Functions that each call the one before twice: 2^40 nodes when written out."""
    from onnx import TensorProto, helper

    def nodes(calls: Sequence[tuple[str, str]]) -> list[Any]:
        return [
            helper.make_node(op, ["xy"[n]], ["yz"[n]], domain=domain)
            for n, (op, domain) in enumerate(calls)
        ]

    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    functions = [
        helper.make_function(
            "own", f"f{n}", ["x"], ["z"],
            nodes([(f"f{n - 1}", "own") if n else ("Relu", "")] * 2), opsets,
        )
        for n in range(levels)
    ]  # fmt: skip
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 3]) for n in ("a", "b")]
    node = helper.make_node(f"f{levels - 1}", ["a"], ["b"], domain="own")
    graph = helper.make_graph([node], "doubling", ends[:1], ends[1:])
    model = helper.make_model(graph, functions=functions, opset_imports=opsets)
    return bytes(model.SerializeToString())


def _form(border: str, name: str, content: bytes) -> bytes:
    head = f'--{border}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'
    return head.encode() + content + f"\r\n--{border}--\r\n".encode()


if __name__ == "__main__":
    main()
