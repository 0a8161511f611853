"""What the golden records are of, out of ``data/``, and a command line to ask about it.

``inputs.json.gz`` (architectures, members of families, tables of latencies and accuracies that
follow the physics of networks with 1 % of noise, HELP's form of such, a lookup table), the ONNX
files (members of families with weights of zeros, and one of our own hand) and ``old/`` (models and
datasets as latcast wrote them, a program as PyTorch did) were made once, at commit 734258d. They
are not to be made again: what is asked must stay the same, whatever becomes of samplers and
writers.
"""

from __future__ import annotations

import gzip
import hashlib
import html
import json
import re
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from typer.testing import CliRunner

DATA = Path(__file__).parent / "data"
HELP_TARGETS = (
    "1080ti_1", "1080ti_32", "1080ti_256", "silver_4114", "silver_4210r", "samsung_a50", "pixel3",
    "essential_ph_1", "samsung_s7", "titan_rtx_256", "gold_6226", "fpga", "pixel2", "raspi4",
    "eyeriss",
)  # fmt: skip
TARGET = "imaginary/simulator/b1"
SHARED = Path(__file__).parents[3] / "shared" / "data"


@cache
def inputs() -> dict[str, Any]:
    """Architectures, members, tables."""
    found: dict[str, Any] = json.loads(gzip.decompress((DATA / "inputs.json.gz").read_bytes()))
    return found


@cache
def onnx_file(name: str) -> bytes:
    """A stored network: ``mobile``, ``fire``, ``odd``, or ``tokens`` (of batch 1 alone)."""
    return gzip.decompress((DATA / f"{name}.onnx.gz").read_bytes())


@cache
def arithmetic() -> str:
    """What tells how products of matrices are rounded here: by which BLAS, on which CPU."""
    rng = np.random.default_rng(0)
    digest = hashlib.sha256()
    for rows in (1, 3, 8):  # too few for several threads
        x = rng.normal(size=(rows, 97))
        for kind in (np.float32, np.float64):
            y = rng.normal(size=(97, 50)).astype(kind)
            digest.update((x.astype(kind) @ y @ y.T).tobytes())
    return digest.hexdigest()


class Kit:
    """A folder with the inputs as files, made when they are asked for; and the command line."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def onnx(self, name: str) -> Path:
        """A stored network as a file."""
        path = self.folder / f"{name}.onnx"
        path.write_bytes(onnx_file(name))
        return path

    def archs(self, space: str, n: int = 5) -> Path:
        """Architectures as JSON."""
        return self.write(f"{space}.json", json.dumps(inputs()["archs"][space][:n]))

    def csv(self, space: str, first: int = 0, last: int | None = None, **columns: str) -> Path:
        """Measurements; ``columns`` have one value throughout."""
        table = inputs()["tables"][space]
        rows = zip(table["archs"][first:last], table["latency_ms"][first:last], strict=True)
        lines = [",".join(["arch", "latency_ms", *columns])]
        for arch, ms in rows:
            lines.append(",".join([_cell(_arch(arch)), str(ms), *columns.values()]))
        name = "-".join([space, str(first), str(last), *columns.values()]).replace("/", "-")
        return self.write(f"{name}.csv", "\n".join(lines) + "\n")

    def accuracies(self, space: str) -> Path:
        """A table of accuracies."""
        table = inputs()["tables"][space]
        rows = zip(table["archs"], table["accuracy"], strict=True)
        lines = ["arch,accuracy", *(f"{_cell(_arch(arch))},{a}" for arch, a in rows)]
        return self.write(f"{space}-accuracies.csv", "\n".join(lines) + "\n")

    def lookup_table(self) -> Path:
        """A folder with Once-For-All's tables of two resolutions."""
        folder = self.folder / "lookup_tables"
        folder.mkdir(exist_ok=True)
        for r in (160, 224):
            values = {
                key.split("/", 1)[1]: ms
                for key, ms in inputs()["lookup_table"].items()
                if key.startswith(f"{r}/")
            }
            text = "".join(
                f"{key}:\n  count: 100\n  mean: {ms}\n  std: 0.001\n" for key, ms in values.items()
            )
            (folder / f"{r}_lookup_table.yaml").write_text(text, encoding="utf-8")
        return folder

    def networks(self) -> Path:
        """Measured networks of families."""
        return self.old("networks.parquet")

    def old(self, name: str) -> Path:
        """A file that an older latcast wrote."""
        path = self.folder / name
        packed = DATA / "old" / f"{name}.gz"
        path.write_bytes(
            gzip.decompress(packed.read_bytes())
            if packed.exists()
            else (DATA / "old" / name).read_bytes()
        )
        return path

    def help_data(self) -> Path:
        """A folder with folders of HELP's format."""
        import torch

        data = self.folder / "help"
        for space, name in (("nasbench201", "nasbench201"), ("ofa-mobilenet-v3", "ofa")):
            folder, record = data / name, inputs()["help"][space]
            if folder.is_dir():
                continue
            (folder / "latency").mkdir(parents=True)
            archs = record["archs"]
            if name == "ofa":
                torch.save({"arch": archs}, folder / "ofa_archs.pt")
            else:
                numbers = {x["arch"]: n for n, x in enumerate(archs)}
                torch.save(numbers, folder / "str_arch2idx.pt")
            for target, ms in record["latency"].items():
                torch.save(ms, folder / "latency" / f"{target}.pt")
        return data

    def help_search(self) -> Path:
        """HELP's folder of cells with all targets of its split, and accuracies of some."""
        import torch

        record = inputs()["help"]["nasbench201"]
        known = [np.array(ms) for ms in record["latency"].values()]
        folder = self.folder / "split" / "nasbench201"
        (folder / "latency").mkdir(parents=True)
        cells = [x["arch"] for x in record["archs"]]
        torch.save({x: n for n, x in enumerate(cells)}, folder / "str_arch2idx.pt")
        for n, target in enumerate(HELP_TARGETS):
            ms = (1 + n % 4) * known[n % 6] + known[(n + 2) % 6] / (1 + n % 3)
            torch.save(ms.tolist(), folder / "latency" / f"{target}.pt")
        # Slower cells are better, but not always.
        percent = 60 + 5 * np.log(known[5]) + 2 * np.sin(7 * np.arange(len(cells)))
        lines = [f"{x}, {p:.4f}, 0.1" for x, p in zip(cells, percent.tolist(), strict=True)][:60]
        text = "\n".join(["116.99", *lines]) + "\n"
        (folder / "arch_generated_by_metad2a.txt").write_text(text, encoding="utf-8")
        return self.folder / "split"

    def write(self, name: str, text: str) -> Path:
        """A file of that text."""
        path = self.folder / name
        path.write_text(text, encoding="utf-8")
        return path

    def run(self, *arguments: object, code: int = 0) -> dict[str, Any]:
        """What a command prints with ``--json``, and the notes and the error beside it."""
        from _access import app

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = CliRunner().invoke(app, [*map(str, arguments), "--json"])
        if result.exit_code != code:
            raise AssertionError(
                f"latcast {' '.join(map(str, arguments))} must end with {code}; it ended with "
                f"{result.exit_code}: {result.stderr or repr(result.exception)}"
            )
        lines = [line for line in result.stderr.splitlines() if line]
        if code and lines[-1].startswith("{"):
            lines[-1] = f"error: {json.loads(lines[-1])['error']}"
        notes = [line for line in lines if _is_news(line)]
        return {
            "output": json.loads(result.stdout) if result.stdout.strip() else None,
            "notes": notes,
        }

    def plain(self, *arguments: object) -> None:
        """Run a command for what it writes."""
        self.run(*arguments)


def words_of(page: str) -> list[str]:
    """Words that a reader of an HTML page sees, in order."""
    body = re.sub(r"(?s)<(style|script|head)\b.*?</\1>", " ", page)
    return html.unescape(re.sub(r"<[^>]*>", " ", body)).split()


def _is_news(line: str) -> bool:
    """Whether it is a note or an error, and not progress."""
    return line.startswith(("note:", "warning:", "error:"))


def _arch(arch: Any) -> str:
    return str(arch["arch"]) if set(arch) == {"arch"} else json.dumps(arch)


def _cell(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'
