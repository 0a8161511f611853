"""Adapting predictors; what holds for every kind is in the contract suite."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from latcast import models
from latcast._model_file import ModelFile, read_model, write_model
from latcast.data import Dataset
from latcast.devices import Target
from latcast.models import MLP, Bayes, LookupTable, Predictor, Roofline, adaptation
from latcast.models.adaptation import transferred
from latcast.spaces import Archs, space

RESOLUTIONS = {"r": [160, 192, 224]}
OFA = "ofa-mobilenet-v3"


@pytest.fixture(scope="module")
def bases(source_data: list[Dataset]) -> dict[str, Predictor]:
    return {p.kind: p.fit(source_data[0]) for p in (Roofline(), Bayes())}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["roofline", "bayes"])
def test_never_worse_than_scaling_or_starting_afresh(
    kind: str, bases: dict[str, Predictor], newcomers: list[Any], networks: Archs
) -> None:
    base = bases[kind]
    errors = []
    for k in (1, 3, 10, 40):
        adapted, scaled, afresh, inside = [], [], [], []
        for n, s in enumerate(newcomers[:8]):
            few, true = s.few(k, n), s.mean_ms(networks)
            p = base.adapt(few)
            adapted.append(s.error(p, networks))
            ratio = np.median(few.latency_ms / base.predict(few.archs))
            scaled.append(np.abs(ratio * base.predict(networks) / true - 1).mean())
            if k >= 10:
                afresh.append(s.error(Bayes().fit(few), networks))
            lower, upper = p.predict_interval(networks, 0.9)
            inside.append(((lower <= true) & (true <= upper)).mean())
        assert np.mean(adapted) < np.mean(scaled) + 0.002
        if afresh:
            assert np.mean(adapted) < np.mean(afresh) + 0.005
        assert np.mean(inside) > 0.85
        errors.append(np.mean(adapted))
    assert (np.diff(errors) < 0).all()


def test_an_adapted_predictor_is_adapted_again(
    bases: dict[str, Predictor], newcomers: list[Any], networks: Archs, tmp_path: Path
) -> None:
    """Through a last layer the base is nested twice, and saved so."""
    first, second, third = newcomers[:3]
    p = bases["roofline"].adapt(first.few(20)).adapt(second.few(20), method="last-layer")
    assert isinstance(p, Bayes)
    assert isinstance(p.latency.base, Bayes)
    assert isinstance(p.latency.base.latency.base, Roofline)
    q = p.adapt(third.few(20))
    assert third.error(q, networks) < 0.05
    assert q.fitted.card["base"]["card"]["base"]["target"] == str(first.target)
    for n, each in enumerate((p, q)):
        each.save(tmp_path / f"{n}.latcast")
        again = models.load(tmp_path / f"{n}.latcast")
        np.testing.assert_array_equal(again.predict(networks), each.predict(networks))
        np.testing.assert_array_equal(
            again.explain(networks).blocks_ms, each.explain(networks).blocks_ms
        )


# -- between spaces -------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["roofline", "bayes"])
def test_another_width(kind: str, bases: dict[str, Predictor], newcomers: list[Any]) -> None:
    """Blocks are compared by their physics."""
    s, name = newcomers[0], "ofa-mobilenet-v3-w1.0"
    archs, few = space(name).sample(200, 5, restrict=RESOLUTIONS), newcomers[0].few(8, name=name)
    p = bases[kind].adapt(few)
    assert p.space.name == name
    mean = np.abs(few.latency_ms.mean() / s.mean_ms(archs) - 1).mean()
    assert s.error(p, archs) < min(0.04, 0.5 * mean)


def test_denormal_numbers_may_be_flushed() -> None:
    """As runtimes do in the thread that they run in: the process died of it in SciPy's tree."""
    torch = pytest.importorskip("torch")
    ofa, other = (adaptation._facts(space(name)) for name in (OFA, "ofa-mobilenet-v3-w1.0"))
    expected = adaptation._nearest(ofa, other)
    torch.set_flush_denormal(True)
    try:
        np.testing.assert_array_equal(adaptation._nearest(ofa, other), expected)
    finally:
        torch.set_flush_denormal(False)


def test_a_subspace(bases: dict[str, Predictor], newcomers: list[Any]) -> None:
    s, small = newcomers[0], space("compofa-elastic-kernel")
    p = bases["roofline"].adapt(s.few(8, name=small.name))
    assert p.space.name == "ofa-mobilenet-v3"
    assert s.error(p, small.sample(100, 3, restrict=RESOLUTIONS)) < 0.04


def test_a_target_that_is_bound_by_memory_traffic_alone(
    bases: dict[str, Predictor], networks: Archs
) -> None:
    """All traffic is one direction: ten measurements tell how far a target lies along it."""
    archs = space(OFA).sample(10, 5, restrict=RESOLUTIONS)
    target = Target("new", "simulated", batch=64)

    def mean_ms(archs: Archs) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        own = archs.space.expand(archs)
        facts = own.space.block_table.facts
        traffic = 64 * (facts["read_bytes"] + facts["write_bytes"]) + facts["param_bytes"]
        return 1e-8 * np.asarray(own.space.block_sums(own, traffic.astype(np.float64)))

    adapted = bases["roofline"].adapt(Dataset(archs, mean_ms(archs), target))
    assert np.abs(adapted.predict(networks) / mean_ms(networks) - 1).mean() < 0.02


def test_carried_over_blocks() -> None:
    """Where time follows physics exactly, so it does in the other space."""
    ofa, other, target = space(OFA), space("ofa-mobilenet-v3-w1.0"), Target("a", "b")

    def block_ms(of: Any) -> Any:
        return of.block_table.facts["macs"] * 2e-8 + of.block_table.facts["launches"] * 0.01

    table = LookupTable.from_blocks(ofa, target, block_ms(ofa), overhead_ms=3.0)
    carried = transferred(table, other)
    archs = other.sample(100, 0)
    true = 3.0 + other.block_sums(archs, block_ms(other))
    np.testing.assert_allclose(carried.predict(archs), true, rtol=0.01)
    assert carried.target == target
    archs = ofa.sample(50, 0)
    np.testing.assert_allclose(transferred(table, ofa).predict(archs), table.predict(archs))


def test_dead_code_that_the_base_never_saw(simulate: Callable[..., Any]) -> None:
    cells = space("nasbench201")
    s = simulate(Target("a", "simulator"))
    without = cells.sample(60, 0, restrict={g.name: [2, 3, 4, 5] for g in cells.genes})
    for base in (Bayes().fit(s.measure(without)), Roofline().fit(s.measure(without))):
        p = base.adapt(s.measure(cells.sample(20, 1)))
        assert p.fitted.seen == {g.name: [1, 2, 3, 4, 5] for g in cells.genes}
        assert s.error(p, cells.sample(50, 2)) < 0.1


# -- the last layer -------------------------------------------------------------------------


@pytest.mark.slow
def test_all_but_the_last_layer_is_frozen(
    source_data: list[Dataset], newcomers: list[Any], networks: Archs
) -> None:
    pytest.importorskip("torch")
    base = MLP(hidden=(64, 64), epochs=60).fit(source_data[0])
    before = [(w.copy(), b.copy()) for w, b in base._layers]
    s = newcomers[0]
    few = s.few(200)
    p = base.adapt(few, method="last-layer", seed=1)
    assert isinstance(p, MLP)
    for n, ((w, b), (old_w, old_b)) in enumerate(zip(p._layers, before, strict=True)):
        same = np.array_equal(w, old_w) and np.array_equal(b, old_b)
        assert same == (n < len(before) - 1)
        np.testing.assert_array_equal(base._layers[n][0], old_w)
    other = base.adapt(few, method="last-layer", seed=2)
    assert not np.array_equal(other.predict(networks), p.predict(networks))
    mean = np.abs(few.latency_ms.mean() / s.mean_ms(networks) - 1).mean()
    assert s.error(p, networks) < 0.9 * mean


def test_without_layers_it_is_scaled_and_shifted(
    bases: dict[str, Predictor], networks: Archs
) -> None:
    """A target that is a line of the base is met exactly."""
    base = bases["roofline"]
    archs = networks[:50]
    target = Target("line", "simulator")
    few = Dataset(archs, 2.0 + 3.0 * base.predict(archs), target)
    p = base.adapt(few, method="last-layer")
    np.testing.assert_allclose(p.predict(networks), 2.0 + 3.0 * base.predict(networks), rtol=1e-6)
    falling = Dataset(archs, 1e3 / base.predict(archs), target)
    p = base.adapt(falling, method="last-layer")
    rising = np.corrcoef(p.predict(networks), base.predict(networks))[0, 1]
    assert rising == pytest.approx(1.0), "the order is kept where it would be turned round"


def test_what_a_method_cannot(bases: dict[str, Predictor], newcomers: list[Any]) -> None:
    s, base = newcomers[0], bases["roofline"]
    with pytest.raises(ValueError, match=r"at least 10 measurements; got 9: use the method"):
        base.adapt(s.few(9), method="last-layer")
    with pytest.raises(ValueError, match=r"own space, ofa-mobilenet-v3; got ofa-.*-w1\.0: use"):
        base.adapt(s.few(12, name="ofa-mobilenet-v3-w1.0"), method="last-layer")
    with pytest.raises(ValueError, match=r"no method is called 'last-laver'; did you mean 'last-"):
        base.adapt(s.few(3), method="last-laver")


# -- files ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def file(
    bases: dict[str, Predictor], newcomers: list[Any], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """An adapted predictor that holds its base."""
    path = tmp_path_factory.mktemp("adapted") / "a.latcast"
    bases["roofline"].adapt(newcomers[0].few(5)).save(path)
    return path


def _load(content: ModelFile, path: Path, **header: object) -> Predictor:
    write_model(path, ModelFile({**content.header, **header}, content.tensors))
    return models.load(path)


def test_a_base_is_not_lost(file: Path, tmp_path: Path) -> None:
    content = read_model(file)
    assert content.header["parts"]["base"]["kind"] == "roofline"
    with pytest.raises(ValueError, match="builds on a base must hold that base"):
        _load(content, tmp_path / "x.latcast", parts={})
    for parts in (3, [1], {"base": None}, {"base": {}}, {"other": 1}):
        with pytest.raises(ValueError, match="must be a latcast model of a kind known here"):
            _load(content, tmp_path / "x.latcast", parts=parts)
    elsewhere = {**content.header["parts"]["base"], "space": "fbnet"}
    with pytest.raises(ValueError, match="must"):
        _load(content, tmp_path / "x.latcast", parts={"base": elsewhere})


@pytest.mark.parametrize("depth", [3, 100, 5_000])
def test_parts_of_parts_of_parts(file: Path, tmp_path: Path, depth: int) -> None:
    """A file that nests itself ends in an error, not in a crash."""
    content = read_model(file)
    inner = json.dumps({k: v for k, v in content.header.items() if k != "parts"})
    text = json.dumps({**content.header, "parts": {"base": "@"}})
    nested = (inner[:-1] + ', "parts": {"base": ') * depth + inner + "}}" * depth
    from safetensors.numpy import save_file

    path = tmp_path / "x.latcast"
    save_file(content.tensors, path, metadata={"latcast": text.replace('"@"', nested)})
    with pytest.raises(ValueError, match="must be a"):
        models.load(path)
