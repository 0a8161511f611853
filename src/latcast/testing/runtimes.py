"""The contract of a runtime: it computes what networks compute, repeats it, and states itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from latcast.devices import Target
from latcast.graph import Graph, GraphBuilder
from latcast.graph.write.onnx import INPUT, to_onnx
from latcast.measure.runtimes import Runtime, UnsupportedNetworkError
from latcast.spaces import space

from .spaces import refused

Check = Callable[[type[Runtime], str], None]

# Largest error of an output, relative to the reference's largest: the rounding of 24, 8 and 11
# significant bits, grown over the layers of a small network.
TOLERANCE = {"fp32": 1e-4, "bf16": 0.05, "fp16": 0.01}
# Least cosine between an output in integers of 8 bits, whose largest error has no such bound, and
# the reference's. That of ONNX Runtime's quantizer, which OpenVINO runs as well, is .9999 of the
# small network; a runtime without a row here is held to the same.
MIN_COSINE = 0.995
# Runtime whose own quantizer is coarser -> its least cosine. LiteRT's average pooling has the scale
# of what it reads, coarse for what it gives: .971 of the small network.
MIN_COSINES = {"litert": 0.96}
_BLOCK = 40


def check_runtime(kind: type[Runtime], precision: str = "fp32") -> None:
    """Put a runtime through the contract on this machine.

    Args:
        kind: the runtime's class.
        precision: of all networks; one of the runtime's.

    Raises:
        AssertionError: it does not keep the contract.
        ValueError: this machine does not have what the runtime needs.
        ModuleNotFoundError: the runtime's package is not installed.
    """
    for check in RUNTIME_CHECKS:
        check(kind, precision)


def targets_can_name_it(kind: type[Runtime], precision: str) -> None:
    """Its name and precisions stand in targets."""
    target = Target("here", kind.name, precision=precision, threads=1)
    assert Target.parse(str(target)) == target
    assert precision in kind.precisions


def impossible_settings_are_refused(kind: type[Runtime], precision: str) -> None:
    """Settings that it does not have are refused, and messages say which it has."""
    refused("the precision of", lambda: kind(precision="int3"))
    refused(
        "at least 1",
        lambda: kind(precision=precision, threads=0 if kind.kind == "cpu" else -1),
    )
    refused("at least 1", lambda: kind(precision=precision, batch=0))
    if (most := kind.max_batch) is not None:
        too_many = most + 1
        refused(f"got batch {too_many}: use batch {most}", lambda: kind(batch=too_many))


def outputs_are_those_of_the_reference(kind: type[Runtime], precision: str) -> None:
    """Outputs are those of ONNX's reference implementation, for every operator of spaces."""
    most = kind.max_batch or 3
    for batch, op, side in ((1, "h_swish", 19), (min(3, most), "relu", 20)):
        graph = small_network(op, side)
        loaded = _make(kind, precision, batch).load(graph)
        loaded.run()
        assert_close(loaded.output(), reference_output(graph, batch), precision, kind.name)


def onnx_models_run_or_are_refused(kind: type[Runtime], precision: str) -> None:
    """An ONNX model gives what its graph does, or the runtime says that it takes none."""
    graph = small_network()
    try:
        loaded = _make(kind, precision).load(to_onnx(graph))
    except UnsupportedNetworkError as error:
        refusal = str(error)
    else:
        loaded.run()
        assert_close(loaded.output(), reference_output(graph, 1), precision, kind.name)
        return
    assert kind.name in refusal, f"the refusal must name the runtime; got {refusal}"


def passes_repeat_and_take_time(kind: type[Runtime], precision: str) -> None:
    """Every pass gives the same output, and takes longer than nothing."""
    loaded = _make(kind, precision).load(small_network())
    assert loaded.time(3) > 0
    loaded.run()
    first = loaded.output().copy()
    loaded.run()
    assert np.array_equal(first, loaded.output()), "every pass must give the same output"


def facts_are_stated(kind: type[Runtime], precision: str) -> None:
    """A measurement can say which version of the runtime it is of."""
    facts = _make(kind, precision).facts()
    assert {"version", "build", "instructions"} <= set(facts)
    assert facts["version"], "the version must be stated"
    assert all(isinstance(value, str) for value in facts.values()), "facts must be texts"


def a_single_block_can_be_loaded(kind: type[Runtime], precision: str) -> None:
    """A block of a space is a network, whose output is a map."""
    graph, batch = space("ofa-mobilenet-v3-w1.0").assemble([_BLOCK]), min(2, kind.max_batch or 2)
    loaded = _make(kind, precision, batch).load(graph)
    loaded.run()
    assert loaded.output().shape == graph.with_batch(batch).out_shape


def unsupported_operators_are_named(kind: type[Runtime], precision: str) -> None:
    """A graph with an operator that the runtime does not declare is refused by its name."""
    if "erf" in kind.operators:
        return
    b = GraphBuilder()
    b.unary("Erf", b.input(3, 8, 8))
    made = _make(kind, precision)
    refused("cannot run the operator erf", lambda: made.load(b.build()), UnsupportedNetworkError)


def profiles_are_of_layers(kind: type[Runtime], precision: str) -> None:
    """A profiler tells milliseconds of layers of the network, and only one that is declared."""
    graph = small_network()
    profile = _make(kind, precision).load(graph, profiling=True).profile(5)
    assert (profile is not None) == kind.has_profiler, "has_profiler must say whether there is one"
    if profile is not None:
        assert set(profile) <= set(range(len(graph.layers))), "times must be of layers"
        assert sum(profile.values()) > 0
        assert min(profile.values()) >= 0


RUNTIME_CHECKS: tuple[Check, ...] = (
    targets_can_name_it,
    impossible_settings_are_refused,
    outputs_are_those_of_the_reference,
    onnx_models_run_or_are_refused,
    passes_repeat_and_take_time,
    facts_are_stated,
    a_single_block_can_be_loaded,
    unsupported_operators_are_named,
    profiles_are_of_layers,
)
"""The parts of the contract, each of which takes a runtime's class and a precision."""


def small_network(op: str = "h_swish", side: int = 19) -> Graph:
    """Every operator of spaces once, an odd and an even side, strides, a residual, a product."""
    b = GraphBuilder()
    first = b.activation(b.conv(b.input(3, side, side), 16, 3, stride=2), op)
    x = b.activation(b.conv(first, 16, 5, groups=16), "relu6")
    x = b.squeeze_excitation(x, 8, "relu", "h_sigmoid")
    x = b.conv(b.add(b.conv(x, 16), first), 16, 7, stride=2, groups=16)
    main = b.activation(b.unary("Identity", x), "relu")
    x = b.avg_pool(b.channel_shuffle(b.unary("Identity", main), 4), 3, padding=1)
    nothing = b.mul(b.add(x, main), 0.0)
    last = b.conv(b.avg_pool(main, 2, stride=2), 24, 3)
    x = b.add(b.conv(b.avg_pool(nothing, 2, stride=2), 24), last)
    b.classifier(b.activation(b.batch_norm(x), "relu"), 10)
    return b.build().folded


def reference_output(graph: Graph, batch: int) -> npt.NDArray[np.float32]:
    """The network's output by ONNX's reference implementation."""
    from onnx.reference import ReferenceEvaluator

    graph = graph.with_batch(batch)
    evaluator: Any = ReferenceEvaluator(to_onnx(graph))
    output: npt.NDArray[np.float32] = evaluator.run(None, {INPUT: graph.inputs()})[0]
    return output


def assert_close(
    output: npt.NDArray[np.float32],
    expected: npt.NDArray[np.float32],
    precision: str,
    runtime: str = "",
) -> None:
    """Make sure that an output is what is expected, as far as precision and quantizer go.

    Args:
        output: of the runtime.
        expected: of the same shape.
        precision: in which the network ran.
        runtime: whose quantizer made integers of it (:data:`MIN_COSINES`).

    Raises:
        AssertionError: it is not.
    """
    assert output.shape == expected.shape
    if precision == "int8":
        cosine = float(
            np.vdot(output, expected) / np.linalg.norm(output) / np.linalg.norm(expected)
        )
        least = MIN_COSINES.get(runtime, MIN_COSINE)
        assert cosine >= least, (
            f"outputs must point where the reference's do, with a cosine of {least} or more; got "
            f"{cosine:.4f}"
        )
        return
    error, most = np.abs(output - expected).max(), np.abs(expected).max()
    assert error <= TOLERANCE[precision] * most, f"outputs are off by {error:g}, of {most:g}"


def _make(kind: type[Runtime], precision: str, batch: int = 1) -> Runtime:
    return kind(precision=precision, batch=batch)
