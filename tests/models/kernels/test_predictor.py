"""Networks whose latency is known in closed form: what is learnt of them, and what is not."""

from __future__ import annotations

from copy import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latcast.data import Dataset
from latcast.devices import Target
from latcast.graph import UNKNOWN, Graph
from latcast.models import Kernels, load_layers
from latcast.models.kernels._predictor import observe
from latcast.networks import OPS, Networks, working_kernels
from latcast.spaces import space

pytestmark = pytest.mark.slow

OTHER = Target("another", "simulator")


def errors(model: Kernels, data: Dataset) -> np.ndarray:
    return np.abs(model.predict(data.graphs) / data.latency_ms - 1)


@pytest.fixture(scope="module")
def fitted(simulator: type) -> Kernels:
    """A model of 72 networks of three families."""
    return Kernels().fit(simulator().measured(72))


@pytest.fixture(scope="module")
def held_out(simulator: type) -> Dataset:
    """60 others of the same families."""
    return simulator().measured(60, seed=9)


@pytest.fixture(scope="module")
def narrow(simulator: type) -> Kernels:
    """A model that has seen no depthwise convolution; its profiler timed the others."""
    data = simulator().measured(40, families=("plain", "residual"), profiled=True)
    return Kernels().fit(data)


def test_held_out_networks_are_predicted(fitted: Kernels, held_out: Dataset) -> None:
    assert np.median(errors(fitted, held_out)) < 0.02
    assert (errors(fitted, held_out) < 0.1).mean() > 0.9


@pytest.mark.parametrize("coverage", [0.5, 0.9])
def test_intervals_cover_what_they_say(fitted: Kernels, held_out: Dataset, coverage: float) -> None:
    lower, upper = fitted.predict_interval(held_out.graphs, coverage)
    inside = (lower <= held_out.latency_ms) & (held_out.latency_ms <= upper)
    assert inside.mean() >= coverage - 0.1
    middle = np.sqrt(lower * upper)
    np.testing.assert_allclose(middle, fitted.predict(held_out.graphs))
    if coverage == 0.5:
        wider = fitted.predict_interval(held_out.graphs, 0.9)
        assert (wider[0] <= lower).all()
        assert (wider[1] >= upper).all()


def test_times_of_kernels_are_learnt_too(
    simulator: type, narrow: Kernels
) -> None:  # fmt: skip
    data = simulator().measured(30, seed=5, families=("plain", "residual"))
    assert np.median(errors(narrow, data)) < 0.02
    ms = [k.ms for k in narrow.explain(data.graphs[0], 0.5).kernels]
    apart = np.log(ms / simulator().kernel_ms(data.graphs[0]))
    assert np.median(np.abs(apart)) < 0.1


def test_an_explanation_adds_up(fitted: Kernels, held_out: Dataset) -> None:
    for graph in held_out.graphs[:6]:
        told = fitted.explain(graph)
        assert told.ms == pytest.approx(fitted.predict(graph)[0])
        assert sum(k.ms for k in told.kernels) == pytest.approx(told.ms)
        lower, upper = fitted.predict_interval(graph)
        assert (told.lower_ms, told.upper_ms) == pytest.approx((lower[0], upper[0]))
        assert [k.name for k in told.kernels] == [
            graph.layers[k.main].name for k in working_kernels(graph)
        ]
        assert sum(k.macs for k in told.kernels) == graph.macs
        assert all(k.lower_ms < k.ms < k.upper_ms for k in told.kernels)
        assert sum(told.share_by_bound().values()) == pytest.approx(1)
        assert told.extrapolated_share == 0


def test_an_unknown_operator_costs_something_and_is_doubted(fitted: Kernels, chain: type) -> None:
    known = chain().conv(32).add("relu").conv(64, 3, 2).add("relu")
    unknown = chain().conv(32).add("relu").conv(64, 3, 2).add(UNKNOWN)
    known_graph, graph = known.classify().graph(), unknown.classify().graph()
    told = fitted.explain(graph)
    odd = next(k for k in told.kernels if k.kind == UNKNOWN)
    assert odd.ms > 0
    assert (odd.operators, odd.bound) == ("com.example::Odd", UNKNOWN)
    assert str(odd.extrapolation) == "its cost is not known"
    assert [k for k in told.kernels if k.extrapolation] == [odd]
    assert told.extrapolated_share == pytest.approx(odd.ms / told.ms)
    widths = [
        np.divide(*fitted.predict_interval(g)[::-1])[0] for g in (graph, known_graph)
    ]  # fmt: skip
    assert widths[0] > widths[1]


@pytest.mark.parametrize(("op", "slowdown"), [("lrn", 54.0), ("prelu", 10.0), ("softplus", 28.0)])
def test_a_slow_operator_widens_the_interval_however_small_its_share_is(
    fitted: Kernels, chain: type, op: str, slowdown: float
) -> None:
    """On a runtime that may have a fast kernel of it, which its forecast follows."""
    graph = chain().conv(32).add("relu").conv(64, 3, 2).add(op).classify().graph()
    told = fitted.explain(graph)
    slow = next(k for k in told.kernels if k.operators == op)
    rest = told.ms - slow.ms
    assert slow.upper_ms / slow.ms > slowdown**0.8
    assert told.upper_ms > 0.5 * (rest + slow.upper_ms)
    assert told.extrapolated_kernels == pytest.approx(1 / len(told.kernels))
    assert told.extrapolated_upper_share == pytest.approx(slow.upper_ms / (slow.upper_ms + rest))
    # Where the slowdown was measured the forecast itself is so many times that of a ReLU.
    relu = chain().conv(32).add("relu").conv(64, 3, 2).add("softmax").add("relu").classify().graph()
    other = chain().conv(32).add("relu").conv(64, 3, 2).add("softmax").add(op).classify().graph()
    ms = [
        fitted._model.forecast(Networks.of(g, fitted.target), runtime="onnxruntime")
        for g in (relu, other)
    ]
    added = [float(f.kernel_ms[-3]) for f in ms]
    assert added[1] / added[0] == pytest.approx(slowdown)


def test_a_slow_activation_is_no_faster_in_a_cache(fitted: Kernels, chain: type) -> None:
    """A ReLU is, of which it is a multiple: softplus was forecast at a fifth of what it takes."""
    graph = chain().conv(32).add("softmax").add("softplus").classify().graph()
    kernels = Networks.of(graph, fitted.target)
    model = replace(fitted._model, prices=fitted._model.prices.scaled(np.full(4, 1e-3)))
    own = kernels.ops.tolist().index(OPS.index("softplus"))
    elements = kernels.fact("positions")[own] * kernels.fact("outputs")[own]
    told = model.forecast(kernels, runtime="onnxruntime").kernel_ms[own]
    assert told == pytest.approx(28 * 0.37e-6 * elements)
    assert model.forecast(kernels, runtime="openvino").kernel_ms[own] < told / 10


def test_depthwise_convolutions_that_take_no_blocks_are_slow_where_none_was_seen(
    fitted: Kernels, chain: type
) -> None:
    """Their price is that of blocks, and ONNX Runtime has no fast kernel of them."""
    model = fitted._model
    depthwise = OPS.index("depthwise_conv")
    assert 2 * depthwise + 1 in model.prices.classes
    assert 2 * depthwise not in model.prices.classes
    kernels = Networks.of(chain().conv(30).depthwise(3).classify().graph(), fitted.target)
    own = kernels.ops.tolist().index(depthwise)
    there, elsewhere = (
        model.forecast(kernels, runtime=name) for name in ("onnxruntime", "openvino")
    )
    assert there.kernel_ms[own] == pytest.approx(11 * elsewhere.kernel_ms[own])
    assert there.kernel_deviation[own] > elsewhere.kernel_deviation[own]


def test_an_attention_that_was_not_seen_is_a_linear_layer(fitted: Kernels, chain: type) -> None:
    def forecast(op: str) -> float:
        facts = {"sum_length": 2 * 16} if op == "linear" else {}
        tokens = chain().conv(32).add("reshape", (1, 16, 8)).add(op, **facts).graph()
        kernels = Networks.of(tokens, fitted.target)
        return float(fitted._model.forecast(kernels).kernel_ms[-1])

    assert forecast("attention") == pytest.approx(forecast("linear"))


def test_a_loop_takes_as_long_as_its_trips(fitted: Kernels, chain: type) -> None:
    graph = chain().conv(32).add("relu").conv(32).add("relu").graph()
    looped = graph.of((*graph.layers[:2], *(x._replace(runs=7) for x in graph.layers[2:])))
    once, often = (fitted.explain(g) for g in (graph, looped))
    assert often.kernels[1].ms / once.kernels[1].ms == pytest.approx(
        7 * (often.kernels[0].ms / once.kernels[0].ms)
    )
    assert often.kernels[1].macs == 7 * once.kernels[1].macs
    skipped = graph.of((*graph.layers[:2], *(x._replace(runs=0) for x in graph.layers[2:])))
    assert len(fitted.explain(skipped).kernels) == 1


def test_what_lies_outside_of_the_training_is_flagged(
    fitted: Kernels, narrow: Kernels, chain: type
) -> None:
    def extrapolations(model: Kernels, graph: Graph) -> list[str]:
        return [str(k.extrapolation) for k in model.explain(graph, 0.5).kernels if k.extrapolation]

    usual = chain().conv(32).add("relu").depthwise().add("relu").conv(64, 1).add("relu")
    graph = usual.classify().graph()
    assert all(
        "where the model has seen" in extrapolation
        for extrapolation in extrapolations(fitted, graph)
    )
    assert extrapolations(narrow, graph)[0] == "the model has seen no depthwise_conv"
    wide = chain().conv(32).add("relu").conv(2048, 1).add("relu").graph()
    assert "output channels: 2048, where the model has seen 16 to 128" in extrapolations(
        fitted, wide
    )
    odd = chain().conv(32).add("relu").conv(64, 3).add("tanh").graph()
    assert "the model has seen no tanh" in extrapolations(fitted, odd)
    with pytest.raises(ValueError, match="must have the batch of the target"):
        fitted.predict(chain(3, 32, 8).conv(32).add("relu").graph())


def test_ten_networks_of_a_new_family_are_enough(simulator: type, narrow: Kernels) -> None:
    """Depthwise convolutions, which nobody has seen, are twice as slow as the other kinds."""
    slow = simulator(by_kind={"depthwise_conv": 2.0})
    test = slow.measured(40, seed=3, families=("separable",))
    adapted = narrow.adapt(slow.measured(10, seed=4, families=("separable",)))
    assert np.median(errors(narrow, test)) > 0.1
    assert np.median(errors(adapted, test)) < 0.05
    assert adapted.target == narrow.target
    assert adapted.card["families"] == ["plain", "residual", "separable"]
    old = simulator().measured(30, seed=5, families=("plain", "residual"))
    assert np.median(errors(adapted, old)) < 0.03  # what it knew it still knows
    extrapolations = [k.extrapolation for k in adapted.explain(test.graphs[0], 0.5).kernels]
    assert not any(d and "depthwise_conv" in str(d) for d in extrapolations)


@pytest.mark.parametrize("profiled", [False, True])
def test_ten_networks_of_another_target_are_enough(
    simulator: type, fitted: Kernels, held_out: Dataset, profiled: bool
) -> None:
    slow = simulator(OTHER, slowness=3.0)
    before = fitted.predict(held_out.graphs)
    adapted = fitted.adapt(slow.measured(10, seed=4, profiled=profiled))
    test = replace(held_out, values=3 * held_out.latency_ms, target=OTHER)
    assert np.median(errors(adapted, test)) < 0.03
    assert adapted.target == OTHER
    assert adapted.card["base"]["target"] == str(fitted.target)
    np.testing.assert_array_equal(fitted.predict(held_out.graphs), before)
    lower, upper = adapted.predict_interval(test.graphs)
    assert ((lower <= test.latency_ms) & (test.latency_ms <= upper)).mean() >= 0.8


def test_one_measurement_moves_it(simulator: type, fitted: Kernels) -> None:
    one = simulator(OTHER, slowness=3.0).measured(1, seed=6)
    adapted = fitted.adapt(one)
    assert abs(np.log(adapted.predict(one.graphs) / one.latency_ms)) < 0.1


@pytest.mark.slow
@settings(max_examples=15)
@given(seed=st.integers(0, 2**32 - 1), size=st.sampled_from([1e-3, 0.1, 1.0]))
def test_what_is_saved_is_loaded(
    layer_model: Kernels,
    network_data: Dataset,
    tmp_path: Path,
    seed: int,
    size: float,
) -> None:
    """Weights of any kind come back, and with them every forecast."""
    rng = np.random.default_rng(seed)
    changed = copy(layer_model)
    model = layer_model._model
    weights = replace(model.weights, mean=rng.normal(0.0, size, len(model.weights.mean)))
    changed._model = replace(model, weights=weights)
    changed.save(tmp_path / "m.latcast")
    loaded = load_layers(tmp_path / "m.latcast")
    graphs = network_data.graphs[30:]
    assert (loaded.predict(graphs) == changed.predict(graphs)).all()
    for ours, theirs in zip(
        loaded.predict_interval(graphs, 0.5), changed.predict_interval(graphs, 0.5), strict=True
    ):
        # Of a covariance the file has blocks and a few directions between them.
        np.testing.assert_allclose(ours, theirs, rtol=0.03)
    assert loaded.card == changed.card
    again = loaded.explain(graphs[0])
    assert [str(k.extrapolation) for k in again.kernels] == [
        str(k.extrapolation) for k in changed.explain(graphs[0]).kernels
    ]
    loaded.save(tmp_path / "again.latcast")
    twice = load_layers(tmp_path / "again.latcast")
    assert (twice.predict(graphs) == loaded.predict(graphs)).all()
    np.testing.assert_allclose(
        twice.predict_interval(graphs, 0.5), loaded.predict_interval(graphs, 0.5), rtol=0.01
    )


def test_networks_and_architectures_are_learnt_together(simulator: type) -> None:
    """Times go to the kernels of the networks that they were taken of."""
    ofa = space("ofa-mobilenet-v3")
    archs = Dataset(ofa.sample(4, seed=0), np.arange(4.0) + 5, simulator().target)
    plain = simulator().measured(3, families=("plain",))
    timed = simulator().measured(5, seed=2, profiled=True)
    observed, groups = observe((archs, plain, timed))
    assert groups == ["ofa-mobilenet-v3"] * 4 + ["plain"] * 3 + list(timed.families)
    np.testing.assert_array_equal(
        observed.total_ms, np.concatenate([d.latency_ms for d in (archs, plain, timed)])
    )
    assert observed.times_ms[:7].nnz == 0
    for n, graph in enumerate(timed.graphs):
        kernel_ms = simulator().kernel_ms(graph)
        row = observed.times_ms[7 + n].toarray()[0]
        rows = observed.kernels.rows[3 + n]
        assert set(np.flatnonzero(row)) == set(rows)
        for kernel in set(rows.tolist()):
            assert row[kernel] == pytest.approx(kernel_ms[rows == kernel].mean())
        counts = observed.kernels.counts[7 + n].toarray()[0]
        assert counts @ row == pytest.approx(kernel_ms.sum())


def test_fit_refuses_what_it_cannot_learn_from(simulator: type) -> None:
    data = simulator().measured(12)
    with pytest.raises(ValueError, match="at least one dataset"):
        Kernels().fit()
    with pytest.raises(ValueError, match="at least 10 measurements; got 9"):
        Kernels().fit(data[:4], data[4:9])
    with pytest.raises(ValueError, match=f"one target; got {data.target} and {OTHER}"):
        Kernels().fit(data, replace(data, target=OTHER))
    for bad in (np.nan, 0.0, -1.0, np.inf):
        latency_ms = np.where(np.arange(12) == 3, bad, data.latency_ms)
        with pytest.raises(ValueError, match=r"finite and positive; got .* in row 3"):
            Kernels().fit(replace(data, values=latency_ms))


def test_adapt_and_intervals_refuse_what_they_cannot(
    simulator: type, fitted: Kernels, held_out: Dataset
) -> None:
    data = simulator().measured(3)
    with pytest.raises(ValueError, match="at least one measurement"):
        fitted.adapt(data[:0])
    with pytest.raises(ValueError, match="finite and positive"):
        fitted.adapt(replace(data, values=[1, np.nan, 1]))
    with pytest.raises(ValueError, match="between 0 and 1"):
        fitted.predict_interval(held_out.graphs, 90)
    with pytest.raises(ValueError, match="needs at least 199 calibration measurements"):
        fitted.predict_interval(held_out.graphs, 0.995)
    assert fitted.covers(0.9)
    assert not fitted.covers(0.995)
