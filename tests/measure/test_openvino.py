"""What is particular to OpenVINO: precision, telemetry and names in profiles."""

from __future__ import annotations

import subprocess
import sys

import pytest

import latcast
from latcast.measure.runtimes.openvino import OpenVINO, without_telemetry

pytestmark = pytest.mark.worker

SPACE = latcast.space("ofa-mobilenet-v3-w1.0")


def make(**options) -> OpenVINO:
    try:
        return OpenVINO(**options)
    except ModuleNotFoundError as error:
        pytest.skip(str(error))
    except ValueError as error:
        if "this CPU has" not in str(error):
            raise
        pytest.skip(str(error))


@pytest.mark.parametrize(("precision", "executed"), [("fp32", "f32"), ("bf16", "bf16")])
def test_convolutions_run_in_the_precision_asked_for(precision, executed):
    made = make(precision=precision)
    loaded = made.load(SPACE.network(SPACE.sample(1, seed=0, restrict={"r": [128]})))
    model = loaded._request.get_compiled_model().get_runtime_model()
    facts = [x.get_rt_info() for x in model.get_ops()]
    kinds = ("Convolution", "FullyConnected")
    ran = [x["runtimePrecision"].value for x in facts if x["layerType"].value in kinds]
    assert len(ran) > 40
    assert set(ran) == {executed}


def test_the_threads_are_those_asked_for():
    assert make(threads=1).facts()["threads"] == "1 in 1 stream"


def test_a_layer_too_fast_for_the_clock_is_in_profiles_all_the_same(monkeypatch):
    loaded = make().load(SPACE.assemble([40]), profiling=True)
    times = iter([{0: 4.0}, {0: 2.0, 1: 0.5}])
    monkeypatch.setattr(loaded, "_times", lambda request: next(times))
    # Of 1 + 3 passes: 4 times 2.0 less the first's 4.0, and 4 times 0.5 less nothing.
    assert loaded._means(3) == pytest.approx({0: 4 / 3, 1: 2 / 3})


def test_importing_it_leaves_the_telemetry_out():
    make()
    code = (
        "import sys, latcast.measure.runtimes as r; r.runtime('openvino')(); "
        "assert 'openvino' in sys.modules; "
        "print([x for x in sys.modules if x.startswith('openvino_telemetry')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_telemetry_module_that_is_loaded_stays(monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino_telemetry", pytest)
    with without_telemetry():
        assert sys.modules["openvino_telemetry"] is pytest
    assert sys.modules["openvino_telemetry"] is pytest
