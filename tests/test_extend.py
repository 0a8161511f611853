"""What the page on extending shows, as an installed package has it: found by its entry points."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

import latcast
from latcast.spaces import space

pytestmark = [pytest.mark.slow, pytest.mark.worker, pytest.mark.docs]

PAGE = Path(__file__).parents[1] / "docs" / "extend.md"
BLOCK = re.compile(r"^```(python|toml)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

RUN = """
import latcast
from latcast.cli import app
from latcast.measure.runtimes import runtime
from snippets import hurry

hurry(setattr)

def run(*arguments):
    try:
        app([*arguments, "--quiet"])
    except SystemExit as ended:
        assert not ended.code, arguments

run("spaces", "plain-cnn")
run("train", "ms.parquet", "--predictor", "launches", "--out", "own.latcast")
run("train", "carbon.csv", "--space", "nasbench201", "--target", "here/x/b1",
    "--quantity", "carbon_mg", "--out", "carbon.latcast")
run("search", "--device", "own.latcast", "--method", "hill-climb", "--evaluations", "300")
assert runtime("onnx-reference").extra == "onnx"
assert latcast.load("carbon.latcast").fitted.quantity.unit == "mg"
"""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """The classes and constants of the page in a module, and a distribution that names them."""
    module, points = ["from __future__ import annotations"], []
    for language, text in BLOCK.findall(PAGE.read_text(encoding="utf-8")):
        if language == "toml":
            points.append(text)
            continue
        module += [
            ast.unparse(node)
            for node in ast.parse(text).body
            if isinstance(node, ast.Import | ast.ImportFrom | ast.ClassDef)
            or (isinstance(node, ast.Assign) and ast.unparse(node.targets[0]).isupper())
        ]
    declared = tomllib.loads("\n".join(points))["project"]["entry-points"]
    module.append("PLAIN = PlainCNN()")
    declared["latcast.spaces"] = {"plain-cnn": "my_package:PLAIN"}
    assert len(declared) == 5
    site = tmp_path / "site"
    (facts := site / "my_package-1.dist-info").mkdir(parents=True)
    (site / "my_package.py").write_text("\n".join(module))
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1\n")
    lines = (
        f"[{group}]\n" + "\n".join(f"{name} = {place}" for name, place in places.items())
        for group, places in declared.items()
    )
    (facts / "entry_points.txt").write_text("\n".join(lines))
    return site


def test_an_installed_package_is_found_by_its_entry_points(package: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    archs = space("ofa-mobilenet-v3").sample(60, seed=0)
    board = latcast.Target("my-board", "onnxruntime")
    latcast.Dataset(archs, rng.uniform(10, 20, 60), board).save(tmp_path / "ms.parquet")
    cells = [each["arch"] for each in space("nasbench201").sample(40, seed=0).to_dicts()]
    rows = [f"{cell},{mg:.4f}" for cell, mg in zip(cells, rng.uniform(1, 2, 40), strict=True)]
    (tmp_path / "carbon.csv").write_text("\n".join(["arch,carbon_mg", *rows]))
    makers, before = Path(__file__).with_name("makers"), os.environ.get("PYTHONPATH", "")
    run = subprocess.run(
        [sys.executable, "-c", RUN], cwd=tmp_path, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(package), str(makers), before])},
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert "top-1" in run.stdout
