"""Intervals where no random row is asked for: after drift, of what is picked, of new devices."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import latcast
from latcast.data import Dataset
from latcast.devices import Device, Target
from latcast.families import Variant
from latcast.math.conformal import Calibration, student_scores
from latcast.models import BaseModel, Predictor, Roofline
from latcast.models.bayes import Bayes
from latcast.models.posterior_deviation import PosteriorDeviation, references
from latcast.models.transfer import averaged, estimate
from latcast.spaces import Archs, space

SPACE = space("ofa-mobilenet-v3")
TARGET = Target("my-phone", "onnxruntime")
RESOLUTIONS = {"r": [160, 192]}
ROWS = 600


def true_ms(archs: Archs) -> np.ndarray:
    return np.asarray(2 + SPACE.costs(archs)["macs"].to_numpy() / 1e7)


def campaign(shift: float, stretch: slice, seed: int = 0, noise: float = 0.005) -> Dataset:
    """Rows in the order of a campaign, those of a stretch off by a share."""
    archs = SPACE.sample(ROWS, seed, restrict=RESOLUTIONS)
    factor = np.random.default_rng(seed).normal(1, noise, ROWS)
    factor[stretch] += shift
    return Dataset(archs, true_ms(archs) * factor, TARGET)


def inside(p: Predictor, data: Dataset) -> float:
    lower, upper = p.predict_interval(data.archs, 0.9)
    return float(((lower <= data.values) & (data.values <= upper)).mean())


# -- drift ---------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(("first", "rows"), [(300, 150), (100, 60), (500, 100)])
@pytest.mark.parametrize("shift", [0.03, -0.03])
def test_rows_of_a_machine_that_drifted_are_held(shift: float, first: int, rows: int) -> None:
    """Rows to come may all be of a stretch that was off, and of the usual level as well."""
    p = Roofline().fit(campaign(shift, slice(first, first + rows)))
    (found,) = p.card["drift"]
    assert found["percent"] == pytest.approx(100 * shift, abs=1.0)
    assert abs(found["from"] - first) < 10 > abs(found["to"] - (first + rows - 1))
    assert inside(p, campaign(shift, slice(None), seed=1)) >= 0.85
    assert inside(p, campaign(0.0, slice(None), seed=2)) >= 0.9
    assert any("drifted" in doubt for doubt in p.doubts(SPACE.sample(2, 0)))


@pytest.mark.slow
@pytest.mark.parametrize("shift", [0.0, 0.001])
def test_a_steady_machine_s_intervals_are_as_they_were(shift: float) -> None:
    p = Roofline().fit(campaign(shift, slice(300, 450)))
    assert "drift" not in p.card
    assert not p.doubts(SPACE.sample(2, 0))
    assert inside(p, campaign(0.0, slice(None), seed=1)) < 0.98


def test_rows_in_the_order_of_their_size_tell_no_drift() -> None:
    data = campaign(0.0, slice(0, 0))
    order = np.argsort(data.values)
    ranked = replace(data[order], order=np.arange(ROWS))
    assert "drift" not in Roofline().fit(ranked).card


# -- networks that are picked --------------------------------------------------------------------


def few(n: int, seed: int = 0) -> Dataset:
    archs = SPACE.sample(n, seed, restrict=RESOLUTIONS)
    noise = np.random.default_rng(seed).normal(1, 0.005, n)
    return Dataset(archs, true_ms(archs) * noise, TARGET)


@pytest.fixture(scope="module")
def base() -> BaseModel:
    archs = SPACE.sample(60, seed=8, restrict=RESOLUTIONS)
    return BaseModel().fit(
        [
            Dataset(archs, true_ms(archs) ** p * f, Target(f"d{n}", "onnxruntime"))
            for n, (p, f) in enumerate([(1.0, 1.0), (0.9, 3.0), (1.1, 0.5)])
        ]
    )


@pytest.mark.parametrize("rows", [12, 30, 120])
def test_directions_are_the_posterior(base: BaseModel, rows: int) -> None:
    """Written out, deviations are those of the posterior itself, in the mean over networks."""
    data, prior = few(rows), base.prior(TARGET)
    seen: dict[str, object] = {}
    own = PosteriorDeviation.of.__func__  # type: ignore[attr-defined]

    def spied(cls: type, found: object, design: object, *rest: object) -> object:
        seen.update(found=found, design=design)
        return own(cls, found, design, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PosteriorDeviation, "of", classmethod(spied))
        got = estimate(prior, data.archs, data.values)
    found, design = seen["found"], seen["design"]
    some = references(prior.population, prior.mean(prior.population))
    new = prior.design(some, prior.mean(some))
    exact = found.variance(  # type: ignore[attr-defined]
        np.stack([(f**2).sum(axis=1) for f in new]),
        np.stack([f @ k.T for f, k in zip(new, design, strict=True)]),  # type: ignore[call-overload]
    )
    assert got.deviation is not None
    stated = got.deviation(some, None)
    ratio = stated / np.sqrt(exact)
    # What the directions leave out is the same for all networks, and errors may widen all alike.
    assert np.corrcoef(stated, exact**0.5)[0, 1] > 0.9
    assert ratio.max() / ratio.min() < 2.0
    assert averaged(got, prior, data.archs, data.values).deviation is got.deviation


@pytest.mark.parametrize("rows", [12, 30])
def test_an_adapted_predictor_is_less_sure_of_what_is_at_an_end(
    base: BaseModel, rows: int, tmp_path: Path
) -> None:
    p = base.adapt(few(rows))
    archs = SPACE.sample(400, 3, restrict=RESOLUTIONS)
    extreme = SPACE.sample(1, 0, restrict={g.name: [min(g.choices)] for g in SPACE.genes})
    value, deviation = p.stated(archs)
    assert deviation is not None
    alone = p.stated(extreme)[1]
    assert alone is not None
    assert alone[0] > 1.3 * np.median(deviation)
    p.save(tmp_path / "few.latcast")
    again = latcast.load(tmp_path / "few.latcast")
    np.testing.assert_allclose(again.stated(archs)[1], deviation, rtol=1e-5)
    np.testing.assert_allclose(again.stated(archs)[0], value)


def test_a_calibration_replaces_the_scores_not_the_deviations(base: BaseModel) -> None:
    p = base.adapt(few(30))
    assert isinstance(p, Bayes)
    p.calibrate(few(200, 1))
    assert isinstance(p.calibration, Calibration)
    assert p.calibration.in_deviations
    assert 0.85 <= inside(p, few(400, 2)) <= 0.95


# -- devices by their specification --------------------------------------------------------------


@pytest.mark.slow
def test_intervals_of_a_specification_follow_devices_that_are_left_out(base: BaseModel) -> None:
    """Where devices left out are forecast well the interval narrows, and widens where not."""
    widths = {}
    for name, away in (("alike", 1.0), ("apart", 30.0)):
        archs = SPACE.sample(60, seed=8, restrict=RESOLUTIONS)
        scales = np.geomspace(1.0, away, 8)
        model = BaseModel().fit(
            [
                Dataset(archs, true_ms(archs) * s, Target(f"d{n}", "onnxruntime"))
                for n, s in enumerate(scales)
            ]
        )
        errors = model._left_out_errors(None)
        assert (np.diff(errors) >= 0).all()
        np.testing.assert_allclose(errors, -errors[::-1])
        widths[name] = float(np.quantile(errors, 0.95))
    usual = float(np.quantile(student_scores(5.0), 0.95))
    assert widths["alike"] < 0.8 * usual
    assert widths["alike"] < 0.8 * widths["apart"]


def test_a_kind_of_device_that_no_source_has_is_one_more_draw_of_kinds() -> None:
    """GPUs tell each other's latencies; two kinds, whose targets are off together, tell little."""
    archs, kinds = SPACE.sample(60, seed=8, restrict=RESOLUTIONS), {"gpu": 20.0, "phone": 1.0}
    data, catalogue = [], {}
    for kind, scale in kinds.items():
        for n in range(4):
            name = f"{kind}-{n}"
            catalogue[name] = Device(
                name, "Simulated", kind, 4, 8.0, 50.0, "our own making", peak_fp32_flops=1e12
            )
            values = true_ms(archs) * scale * 1.05**n
            data.append(Dataset(archs, values, Target(name, "onnxruntime")))
    model = BaseModel().fit(data, catalogue=catalogue)
    known, unknown = (model._left_out_errors(kind) for kind in ("gpu", "cpu"))
    # Of a prior that counts for 2, and of 2 kinds: t with 3 degrees of freedom.
    assert np.quantile(unknown, 0.95) == pytest.approx(2.353 * 1.5**0.5, rel=0.03)
    assert np.quantile(unknown, 0.95) > 1.5 * np.quantile(known, 0.95)


# -- too wide to decide ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("device", "options", "is_wide"),
    [
        ("pixel-7", {}, True),  # the joint model, by the specification
        ("core-i9-10940x", {"runtime": "onnxruntime", "threads": 1}, True),  # carried from an EPYC
        ("epyc-genoa-2c", {"runtime": "onnxruntime", "threads": 1}, False),
    ],
)
def test_a_wide_interval_of_any_network_says_so_and_what_to_measure(
    device: str, options: dict[str, object], *, is_wide: bool
) -> None:
    graph = Variant.parse("squeezenet-1.1").graph(1)
    p = latcast.load(device, networks=graph, **options)  # type: ignore[arg-type]
    lower, upper = p.predict_interval([graph])
    assert (upper[0] / lower[0] > 3) == is_wide
    told = [doubt for doubt in p.doubts([graph]) if "too wide to decide" in doubt]
    assert len(told) == is_wide
    assert all("latcast measure" in doubt and "latcast adapt" in doubt for doubt in told)


@pytest.mark.parametrize("base", [None, "ofa-mobilenet-v3"])
def test_a_wide_interval_of_architectures_says_so(base: str | None) -> None:
    p = latcast.load("pixel-7", space=SPACE, base=base)
    archs = SPACE.sample(3, 0)
    lower, upper = p.predict_interval(archs)
    is_told = any("too wide to decide" in doubt for doubt in p.doubts(archs))
    assert is_told == (np.max(upper / lower) > 3)
