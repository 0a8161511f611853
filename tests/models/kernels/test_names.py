"""Model files name their parts: tables may grow, and every file is read as before."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

CODE = """
import json, sys
from latcast.graph import _operators as table

if "grown" in sys.argv:
    one = next(iter(table.OPERATORS.values()))
    import dataclasses
    new = dataclasses.replace(one, kind="folding", onnx=(), aten=())
    same = dataclasses.replace(one, onnx=(), aten=())
    operators = {"origami": new, **table.OPERATORS, "conv_4d": same}
    table.OPERATORS.clear()
    table.OPERATORS.update(operators)
    table.KINDS = ("folding", *table.KINDS)
    import latcast.graph
    latcast.graph.KINDS = table.KINDS

import latcast
from latcast.families import Variant
from latcast.models import zoo
from latcast.networks import ALL_KINDS, OPS

assert ("folding" in ALL_KINDS and "origami" in OPS) == ("grown" in sys.argv)
space = latcast.space("ofa-mobilenet-v3")
archs = space.sample(3, seed=0)
graphs, found = {}, {}
for name in zoo.names("networks"):
    model = latcast.load_layers(name)
    batch = model.target.batch
    if batch not in graphs:
        graphs[batch] = latcast.read_graph(Variant.parse("mobilenet-v3-small").to_onnx(batch))
    told = model.explain(graphs[batch])
    low, high = model.predict_interval(archs)
    found[name] = [
        *model.predict(archs).tolist(), *low.tolist(), *high.tolist(),
        told.ms, told.lower_ms, told.upper_ms, told.extrapolated_share,
    ]
# By the joint model of all devices.
for told in latcast.forecast(graphs[1], ["raspberry-pi-4", "rtx-4090"]).devices:
    found[told.device] = [told.latency_ms, told.lower_ms, told.upper_ms]
print(json.dumps(found))
"""


def predictions(*arguments: str) -> dict[str, Any]:
    run = subprocess.run(
        [sys.executable, "-c", CODE, *arguments], capture_output=True, text=True, check=True
    )
    found: dict[str, Any] = json.loads(run.stdout)
    return found


@pytest.mark.slow
def test_an_operator_and_a_kind_more_leave_every_shipped_model_as_it_is() -> None:
    before, after = predictions(), predictions("grown")
    assert len(before) > 40
    assert before.keys() == after.keys()
    for name, values in before.items():
        np.testing.assert_allclose(after[name], values, rtol=1e-12, err_msg=name)
