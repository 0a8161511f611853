"""Which measurements narrow one forecast most: closed forms, and what measuring really does."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import latcast as library
from latcast.data import Dataset
from latcast.families import Variant
from latcast.math.design import narrow
from latcast.models.joint import JointPredictor
from latcast.models.narrowing import Narrowing, doubt_shares, knows_kinds, telling
from latcast.models.resolve import resolve_one
from latcast.networks import Networks
from latcast.spaces import space

CELLS = space("nasbench201")


def direct(covariance: Any, slopes: Any, measured: Any, own: Any) -> float:
    """Variance by the inverse of the whole precision."""
    precision = np.linalg.inv(covariance) + measured.T @ (measured / own[:, None])
    return float(slopes @ np.linalg.solve(precision, slopes))


@pytest.mark.parametrize("seed", range(3))
def test_each_step_is_the_best_and_its_variance_that_of_the_posterior(seed: int) -> None:
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(6, 6))
    covariance, slopes = root @ root.T + np.eye(6), rng.normal(size=6)
    candidates, own = rng.normal(size=(9, 6)), rng.uniform(0.05, 1, 9)
    chosen, left = narrow(covariance, slopes, candidates, own, 4)
    assert len(set(chosen)) == 4
    for n in range(4):
        others = [
            direct(covariance, slopes, candidates[rows], own[rows])
            for rows in ([*chosen[:n], k] for k in range(9) if k not in chosen[:n])
        ]
        assert left[n] == pytest.approx(min(others))
    pairs = itertools.combinations(range(9), 2)
    best = min(direct(covariance, slopes, candidates[list(p)], own[list(p)]) for p in pairs)
    assert left[1] >= best * (1 - 1e-9)
    assert len(narrow(covariance, slopes, candidates, own, 20)[0]) == 9
    many = rng.normal(size=(5, 6))
    chosen, left = narrow(covariance, many, candidates, own, 3)
    for n in range(3):
        others = [
            np.mean([direct(covariance, s, candidates[rows], own[rows]) for s in many])
            for rows in ([*chosen[:n], k] for k in range(9) if k not in chosen[:n])
        ]
        assert left[n] == pytest.approx(min(others))


@pytest.fixture(scope="module")
def phone() -> JointPredictor:
    found = resolve_one("pixel-7", role="networks").predictor
    assert isinstance(found, JointPredictor)
    return found


def deviation(predictor: JointPredictor, networks: Networks) -> float:
    return float(predictor._forecast((networks, None))[1][0])


def test_what_is_expected_is_what_measuring_brings(phone: JointPredictor) -> None:
    """Measurements that are what was forecast leave the weights where they are."""
    archs = CELLS.sample(40, 2).unique()
    network, candidates = (Networks.of(a, phone.target) for a in (archs[:1], archs[1:]))
    found = Narrowing.of(phone, network, candidates, 2)
    before = deviation(phone, network)
    assert before > found.after[0] > found.after[1] > found.itself

    def measured(rows: Any) -> Dataset:
        log_ms = phone._at_batch(Networks.of(archs[rows], phone.target), 1)
        return Dataset(archs[rows], np.exp(log_ms), phone.target)

    rows = [n + 1 for n in found.chosen]
    for k, expected in enumerate(found.after, 1):
        assert deviation(phone.adapt(measured(rows[:k])), network) == pytest.approx(expected, 1e-4)  # type: ignore[arg-type]
    itself = deviation(phone.adapt(measured([0])), network)  # type: ignore[arg-type]
    assert itself == pytest.approx(found.itself, rel=0.05)


def test_what_tells_of_all_is_better_than_chance(phone: JointPredictor) -> None:
    """Mean variance of all candidates after measuring them, by the model's own posterior."""
    archs = CELLS.sample(40, 3).unique()
    networks = Networks.of(archs, phone.target)
    chosen, now, left = telling(phone, networks, 2)
    assert now > left[0] > left[1]

    def after(rows: Any) -> float:
        log_ms = phone._at_batch(networks.select(rows), 1)
        told = phone.adapt(Dataset(archs[rows], np.exp(log_ms), phone.target))  # type: ignore[arg-type]
        return float(np.sqrt(np.square(told._forecast((networks, None))[1]).mean()))  # type: ignore[attr-defined]

    found = after(np.array(chosen))
    assert found == pytest.approx(left[1], rel=0.05)
    rng = np.random.default_rng(0)
    assert found < np.mean([after(rng.permutation(len(archs))[:2]) for _ in range(5)])


def test_kinds_that_were_not_measured_and_shares(phone: JointPredictor) -> None:
    graph = library.read_graph(Variant.parse("squeezenet-1.1").to_onnx(1))
    own = phone._own(graph)[0]
    assert knows_kinds(phone, own).tolist() == [True]
    phone_without = JointPredictor.of(phone._facts, phone._prior, phone._effects, {}, ["softmax"])
    assert knows_kinds(phone_without, own).tolist() == [False]
    shares = doubt_shares(phone, graph)
    assert len(shares) == len(phone.explain(graph).kernels)
    assert shares.sum() == pytest.approx(1)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = tmp_path_factory.mktemp("suggest") / "one.onnx"
    path.write_bytes(Variant.parse("squeezenet-1.1").to_onnx(1))
    return path


@pytest.mark.slow
def test_the_command_names_networks_and_layers(latcast: Any, file: Path, tmp_path: Path) -> None:
    record = latcast.json("suggest", "--device", "pixel-7", "--for", file, "--samples", 3)
    assert record == json.loads(
        json.dumps(library.suggest_for(file, "pixel-7", samples=3).to_dict())
    )
    factors = [n["upper_ms"] / n["lower_ms"] for n in (record, *record["networks"])]
    assert len(factors) == 4
    assert factors == sorted(factors, reverse=True)
    assert record["itself"]["upper_ms"] / record["itself"]["lower_ms"] < factors[-1]
    assert all(n["network"].startswith("timm:") for n in record["networks"])
    assert sum(k["share"] for k in record["kernels"]) == pytest.approx(1)
    text = latcast("suggest", "--device", "pixel-7", "--for", file).stdout
    assert "the network itself" in text
    assert "what the doubt is about" in text
    other = tmp_path / "other.onnx"
    other.write_bytes(Variant.parse("resnet-18").to_onnx(1))
    few = latcast.json("suggest", "--device", "pixel-7", "--for", file, "--among", other)
    assert [n["network"] for n in few["networks"]] == [str(other)]
    own = latcast.json("suggest", "--device", "epyc-genoa-2c-onnxruntime-b1-t1", "--for", file)
    assert (own["itself"], own["networks"]) == (None, [])
    assert own["kernels"]


@pytest.mark.slow
def test_what_was_adapted_to_is_not_suggested_again(
    latcast: Any, file: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.onnx"
    other.write_bytes(Variant.parse("resnet-18").to_onnx(1))
    graph, target = library.read_graph(other), library.Target.parse("pixel-7/ncnn/b1")
    before = library.suggest_for(file, "pixel-7", runtime="ncnn", samples=1)
    known = library.load(before.target, networks=graph)
    measured = library.data.NetworkDataset((graph,), [2 * known.predict(graph)[0]], target)
    known.adapt(measured).save(tmp_path / "own.latcast")
    own = str(tmp_path / "own.latcast")
    after = library.suggest_for(file, own, samples=1)
    assert after.latency_ms > 1.2 * before.latency_ms
    none = library.suggest_for(file, own, among=[other])
    assert (none.candidates, none.networks) == (0, ())
    with pytest.raises(ValueError, match="what was adapted to is left out"):
        library.suggest_on(own, among=[other])
    few = library.suggest_on(own, among=[other, file])
    assert [n.network for n in few.networks] == [str(file)]


@pytest.mark.slow
def test_the_command_names_networks_that_tell_of_all(latcast: Any, tmp_path: Path) -> None:
    record = latcast.json("suggest", "--device", "pixel-7", "--samples", 3)
    assert record == json.loads(json.dumps(library.suggest_on("pixel-7", samples=3).to_dict()))
    factors = [record["factor"], *(n["factor"] for n in record["networks"])]
    assert len(factors) == 4
    assert factors == sorted(factors, reverse=True)
    assert record["candidates"] > 100
    text = latcast("suggest", "--device", "pixel-7", "--samples", 3).stdout
    assert all(n["network"][:48] in text for n in record["networks"])
    files = [tmp_path / f"{name}.onnx" for name in ("squeezenet-1.1", "resnet-18")]
    for path in files:
        path.write_bytes(Variant.parse(path.stem).to_onnx(1))
    some = [word for path in files for word in ("--among", path)]
    few = latcast.json("suggest", "--device", "pixel-7", *some)
    assert {n["network"] for n in few["networks"]} == {str(path) for path in files}
    told = latcast.error("suggest", "--device", "epyc-genoa-2c-onnxruntime-b1-t1", code=1)
    assert "name the network whose forecast is to become surer" in told


def test_a_forecast_that_is_too_wide_names_the_command(latcast: Any, file: Path) -> None:
    said = latcast("predict", file, "--device", "pixel-7")
    assert "latcast suggest --device pixel-7 --for" in " ".join((said.stdout + said.stderr).split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--for", "absent.onnx", "--device", "pixel-7"), "no such file"),
        (("--for", "{file}"), "--device"),
        (("--device", "pixel-7", "--space", "fbnet"), "--device is of networks on a device"),
        (("--for", "{file}", "--device", "pixel-77"), "did you mean 'pixel-7'"),
        (("--for", "{file}", "--device", "pixel-7", "--space", "fbnet"), "of a space"),
        (("--for", "{file}", "--device", "pixel-7", "--among", "absent.onnx"), "no such file"),
        (("--for", "{file}", "--device", "epyc-genoa-2c"), "name one"),
        ((), "--samples"),
    ],
)
def test_what_cannot_be_suggested(
    latcast: Any, file: Path, arguments: tuple[str, ...], message: str
) -> None:
    asked = [a.format(file=file) for a in arguments]
    assert message in latcast.error("suggest", *asked, code=2)


def test_the_factor_of_a_doubt_is_that_of_the_interval(
    phone: JointPredictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the physical bound cuts the lower end off."""
    graph = library.read_graph(Variant.parse("squeezenet-1.1").to_onnx(1))
    (lower,), (upper,) = phone.predict_interval([graph])
    for least in (0.0, (lower + upper) / 5):
        monkeypatch.setattr(JointPredictor, "_limits", lambda p, own, low=least: np.array([low]))
        span = upper / max(lower, least)
        assert any(f"spans a factor of {span:.2g}" in text for text in phone.doubts([graph]))
