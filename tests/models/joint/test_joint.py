"""The joint model: closed forms of its parts, and what it learns from targets made by a law."""

from dataclasses import replace

import law
import numpy as np
import pytest
import scipy.sparse as sp
from law import GRAPHS

from latcast.devices import device, target_facts
from latcast.graph import Graph, GraphBuilder, rules_of
from latcast.models.joint import JointModel, Observations, TargetFacts, _work, facts_with_peak
from latcast.models.joint._effects import Effects, Told
from latcast.models.joint._fit import STEPS, Learnt, fit
from latcast.models.joint._posterior import Posterior, Prior, Rest, posterior
from latcast.models.joint._predictor import JointPredictor
from latcast.models.joint._targets import NPU_PEAK, TargetFeatures
from latcast.models.joint._together import Column, log_ms_on
from latcast.models.joint._work import CLASSES, FEATURES, Work, class_of
from latcast.networks import ALL_KINDS, Networks
from latcast.networks.bound import bound_ms


def test_classes_are_told_by_window_and_groups(networks: Networks) -> None:
    of = {CLASSES[n] for n in class_of(networks)}
    assert {"conv3x3", "wide", "depthwise", "wide_depthwise", "pointwise", "linear", "reduce"} <= of


@pytest.mark.parametrize(
    ("overlap", "inference"), [((1.0, 1.0), -np.inf), ((3.0, 1.75), -np.inf), ((1.0, 1.0), -9.0)]
)
def test_slopes_are_those_of_the_logarithm_of_the_sum(
    networks: Networks, overlap: tuple[float, float], inference: float
) -> None:
    work = Work.of(networks)
    rng = np.random.default_rng(1)
    weights = 0.3 * rng.standard_normal(work.size)
    prices = np.array([-23.0, -22.0, -22.0, -11.5])
    log_ms, slopes = work.log_ms(networks.counts, weights, prices, overlap, inference)
    alone = work.log_ms_alone(networks.counts, weights, prices, overlap, inference)
    np.testing.assert_array_equal(log_ms, alone)
    step = 1e-6
    for column in (0, *rng.permutation(work.size)[:40], -1):
        moved = weights.copy()
        moved[column] += step
        up = work.log_ms(networks.counts, moved, prices, overlap, inference)[0]
        moved[column] -= 2 * step
        down = work.log_ms(networks.counts, moved, prices, overlap, inference)[0]
        np.testing.assert_allclose(slopes[:, column], (up - down) / (2 * step), atol=1e-7)


@pytest.mark.parametrize(
    ("channels", "groups", "facts", "lanes"),
    [
        (116, 1, {"isa_arm": 1.0}, (4, 4)),
        (116, 1, {"has_fp16": 1.0}, (8, 4)),
        (116, 1, {"has_avx2": 1.0, "has_avx512": 1.0}, (16, 4)),
        (58, 1, {"has_avx2": 1.0}, (8, 1)),
        (48, 1, {"has_avx512": 1.0}, (16, 16)),
        (240, 3, {"has_avx512": 1.0}, (16, 16)),
        (60, 3, {"has_avx512": 1.0}, (16, 4)),
        (24, 24, {"has_avx512": 1.0}, (16, 8)),
    ],
    ids=str,
)
def test_channels_fill_as_many_lanes_as_divide_them(
    channels: int, groups: int, facts: dict[str, float], lanes: tuple[int, int]
) -> None:
    b = GraphBuilder(1, "one")
    x = b.input(channels, 8, 8)
    graph = b.build(b.linear(b.global_pool(b.conv(x, channels, 3, groups=groups)), 10))
    networks, (width, used) = Networks.of_graphs([graph]), lanes
    assert _work.lanes(facts) == width
    found = _work.unfilled(networks, width)
    conv = np.isin(np.array(ALL_KINDS)[networks.kinds], ["conv", "depthwise_conv"])
    np.testing.assert_allclose(found[:, conv], np.log(width / used))
    np.testing.assert_array_equal(found[:, ~conv], 0.0)


def test_cpus_of_several_widths_at_once_are_as_one_by_one(networks: Networks) -> None:
    facts = [{"is_cpu": 1.0}, {"is_cpu": 1.0, "has_avx512": 1.0}, {"is_cpu": 1.0, "has_fp16": 1.0}]
    weights = 0.3 * np.random.default_rng(2).standard_normal(len(FEATURES))
    covariance, prices = np.eye(len(FEATURES)), np.array([-23.0, -22.0, -22.0, -11.5])
    prior = Prior(weights, covariance, covariance, prices)
    together = log_ms_on(networks, [Column(own, prior) for own in facts])
    for own, log_ms in zip(facts, together.T, strict=True):
        alone = prior.log_ms(prior.work(networks, own), networks.counts, weights)[0]
        np.testing.assert_allclose(log_ms, alone, rtol=1e-12)
    assert not np.allclose(together[:, 0], together[:, 1])


def test_parts_one_after_the_other_add_up(networks: Networks) -> None:
    work = Work.of(networks)
    prices = np.log([1e-10, 1e-9, 1e-9, 1e-5])
    own = 2 * networks.fact("macs") * 1e-10 + 1e-5
    for fact in ("read_bytes", "write_bytes", "param_bytes"):
        own += networks.fact(fact) * 1e-9
    log_ms, _ = work.log_ms(networks.counts, np.zeros(work.size), prices)
    np.testing.assert_allclose(np.exp(log_ms), networks.counts @ own * 1e3)


def test_without_measurements_a_target_has_its_prior(networks: Networks) -> None:
    work = Work.of(networks)
    prior = Prior(np.zeros(work.size), np.eye(work.size), np.eye(work.size), np.full(4, -20.0))
    after = posterior(prior, work, networks.counts[:0], np.zeros(0), Rest(np.zeros((0, 0))))
    np.testing.assert_array_equal(after.weights, prior.mean)
    np.testing.assert_allclose(after.covariance, prior.covariance)


def test_inverse_covariances_are_those_of_the_whole(networks: Networks) -> None:
    work = Work.of(networks)
    identity = np.eye(work.size)
    prior = Prior(np.zeros(work.size), identity, identity, np.array([-23.0, -22.0, -22.0, -11.5]))
    counts = sp.csr_matrix(networks.counts[:6])
    rest = 0.01 * np.eye(6) + 0.005
    log_ms = work.log_ms(counts, prior.mean, prior.log_prices)[0] + 0.1
    after = posterior(prior, work, counts, log_ms, Rest(rest))
    whole = after.slopes @ after.slopes.T + rest
    np.testing.assert_allclose(after.inverse @ whole, np.eye(6), atol=1e-6)
    np.testing.assert_allclose(after.inverse_diagonal, after.inverse.diagonal(), rtol=1e-6)


@pytest.mark.parametrize(("rows", "related"), [(3, 1), (3, 3), (60, 1), (60, 3), (60, 60)], ids=str)
def test_covariances_beside_the_weights_are_inverted_as_a_whole(rows: int, related: int) -> None:
    """Be they a diagonal, blocks of related rows in any order, or related altogether."""
    rng = np.random.default_rng(0)
    group = rng.permutation(rows) // related
    covariance = np.diag(rng.uniform(0.5, 2.0, rows)) + 0.3 * (group[:, None] == group)
    values, root = rng.normal(size=(rows, 2)), rng.uniform(0.5, 2.0, rows)
    for rest, whole in (
        (Rest(covariance), covariance),
        (Rest(covariance).scaled(root), covariance * root[:, None] * root),
    ):
        np.testing.assert_allclose(whole @ rest.solve(values), values, atol=1e-10)
        np.testing.assert_allclose(rest.solve(values[:, 0]), rest.solve(values)[:, 0])
        np.testing.assert_allclose(rest.inverse_diagonal(), np.linalg.inv(whole).diagonal())


@pytest.mark.parametrize("targets", [4, 30])
def test_effects_of_networks_are_learnt_as_means_over_targets(targets: int) -> None:
    """Without any weights the posterior is that of a mixed model of means."""
    rng = np.random.default_rng(0)
    names = tuple("abcdefgh")
    true = rng.normal(0, 0.3, len(names))
    effects = Effects.start(names)
    values = true + 0.05 * rng.standard_normal((targets, len(names)))
    none = np.zeros((len(names), 0))
    for _ in range(20):
        rest = Rest(effects.covariance_between(names, names) + 1e-4 * np.eye(len(names)))
        told = [
            Told(
                names,
                Posterior(
                    np.zeros(0), np.zeros((0, 0)), none,
                    rest.solve(v - effects.mean_of(names)), rest, none, np.ones(len(names)),
                ),
            )
            for v in values
        ]  # fmt: skip
        effects = effects.updated(told)
    np.testing.assert_allclose(effects.mean, true, atol=0.08)
    assert effects.variance**0.5 == pytest.approx(0.05, abs=0.03)
    assert effects.mean_variance**0.5 == pytest.approx(float(true.std()), abs=0.12)
    assert effects.variances(("unheard of",)) > effects.variances(("a",))


@pytest.mark.slow
def test_a_law_is_learnt_and_carried_over_to_a_target_left_out(networks: Networks) -> None:
    made = law.made(networks)
    left_out = made.target >= 10
    model = JointModel.fit(made.select(~left_out), calibrate=False)
    for samples, most in ((0, 0.35), (4, 0.12), (12, 0.06)):
        rows = np.flatnonzero(made.target == 10)
        seen, unseen = rows[:samples], rows[12:]
        found = model.forecast(
            made.targets[10], networks, made.names, made.select(seen) if samples else None
        )
        error = np.abs(found.ms[made.network[unseen]] / np.exp(made.log_ms[unseen]) - 1)
        assert np.median(error) < most
    assert (found.lower_ms < found.ms).all()
    assert (found.ms < found.upper_ms).all()


def test_long_steps_come_nearer_to_the_fixed_point(
    networks: Networks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of twelve targets two have enough networks to tell all of their weights."""
    made = law.made(networks)
    told = made.select((made.target < 2) | (made.network < 2))
    log_ms = {}
    for name, steps in (("long", STEPS), ("plain", (1.0,) * len(STEPS)), ("fixed", (1.0,) * 20)):
        monkeypatch.setattr("latcast.models.joint._fit.STEPS", steps)
        learnt = fit(told)
        work = Work.of(networks)
        priors = [learnt.prior(t) for t in made.targets]
        log_ms[name] = np.array([p.log_ms(work, networks.counts, p.mean)[0] for p in priors])
    away = {name: np.abs(log_ms[name] - log_ms["fixed"]).mean() for name in log_ms}
    assert away["long"] < 0.8 * away["plain"], away


def test_networks_on_npus_have_effects_of_their_own_in_each_precision(networks: Networks) -> None:
    """One network is twice as slow in 8 bits alone; of a CPU precisions have effects in common."""
    made = law.made(networks, 4)

    def learnt_in(domain: str) -> Learnt:
        precisions = ("fp16", "int8")
        targets = tuple(
            replace(t, domain=domain, precision=precisions[n % 2])
            for n, t in enumerate(made.targets)
        )
        log_ms = made.log_ms + np.where((made.network == 0) & (made.target % 2 == 1), 0.7, 0.0)
        return fit(replace(made, targets=targets, log_ms=log_ms))

    name, npu = made.names[:1], law.target(0)
    learnt = learnt_in("qnn-npu")
    means = [
        learnt.effects_of(replace(npu, domain="qnn-npu", precision=p)).mean_of(name)[0]
        for p in ("fp16", "int8")
    ]
    assert means[1] > means[0] + 0.2
    assert list(learnt_in("ncnn-cpu").effects) == ["ncnn-cpu"]


def test_an_npu_without_a_stated_peak_is_taken_for_a_middling_one() -> None:
    targets = [
        TargetFacts("a", "a", "qnn-npu", "qnn", precision=precision, facts=facts)
        for precision in ("fp16", "int8")
        for facts in ({"bound_flops": NPU_PEAK}, {})
    ]
    features = TargetFeatures.choose(targets)
    prices = [features.log_prices(t)[0] for t in targets]
    np.testing.assert_allclose(prices, -np.log(NPU_PEAK / 2))
    assert {"qnn-npu", "npu/fp16", "npu/int8"} == set(features.domains)
    assert np.isfinite([features.log_inference(t) for t in targets]).all()
    assert features.log_inference(law.target(0)) == -np.inf


def test_a_table_of_another_precision_moves_no_chip_of_this_one(networks: Networks) -> None:
    """Efficiency that differs between precisions must not look as if it followed the peak."""
    peaks = [*np.geomspace(4e12, 4e13, 10), 1e14, 1.5e14, 3e14]
    wide, left_out = 10, 12
    targets = tuple(
        TargetFacts(
            f"t{n}", f"chip{n}", "pytorch-gpu", "pytorch", 1, "fp32" if n < wide else "fp16", 0,
            {"is_gpu": 1.0, "peak_flops": peak, "bandwidth_gb_s": peak / 2e10},
        )
        for n, peak in enumerate(peaks)
    )  # fmt: skip
    macs = np.asarray(networks.counts @ networks.fact("macs"))
    t, n = np.indices((len(targets), len(macs))).reshape(2, -1)
    used = np.where(np.arange(len(peaks)) < wide, 0.6, 0.1) * np.array(peaks)
    log_ms = np.log(2e3 * macs[n] / used[t])
    names = tuple(g.name for g in GRAPHS)
    data = Observations(networks, names, names, targets, n, t, log_ms, np.zeros(len(log_ms)))
    model = JointModel.fit(data.select(t != left_out), calibrate=False)
    forecast = model.forecast(targets[left_out], networks, names)
    error = np.log(forecast.ms) - log_ms[t == left_out]
    assert abs(np.median(error)) < 0.1


def test_targets_that_are_far_off_do_not_move_a_chip_like_the_others(networks: Networks) -> None:
    """A virtual machine, or a build without vector code, tells little of how facts count."""
    data = law.made(networks, targets=40)
    slow, left_out = np.isin(data.target, [2, 3, 5]), data.target == 7
    data = replace(data, log_ms=data.log_ms + 3.0 * slow)
    model = JointModel.fit(data.select(~left_out), calibrate=False)
    forecast = model.forecast(data.targets[7], networks, data.names)
    assert abs(np.median(np.log(forecast.ms) - data.log_ms[left_out])) < 0.1


def _cells(width: int, depth: int, means: int) -> Graph:
    """A network whose blocks, so many of them, have a mean over positions, as the last one has."""
    b = GraphBuilder(1, f"cells{width}-{depth}-{means}")
    x = b.input(3, 32, 32)
    for n in range(depth):
        x = b.activation(b.conv(x, width, 3, padding=1), "relu")
        if n < means:
            x = b.mul(x, b.activation(b.conv(b.global_pool(x), width, 1), "sigmoid"))
    return b.build(b.linear(b.global_pool(x), 10))


@pytest.mark.parametrize(("domain", "off"), [("pytorch-help-gpu", 0.3), ("pytorch-gpu", None)])
def test_what_every_network_takes_is_no_launch_of_what_every_network_has_once(
    domain: str, off: float | None
) -> None:
    """Rows of one space must not make another slower that has more of such kernels."""
    graphs = [_cells(w, d, 0) for w in (8, 16, 24) for d in range(4, 24, 3)]
    known, other = len(graphs), [_cells(w, 20, 16) for w in (8, 16, 24)]
    networks = Networks.of_graphs([*graphs, *other], rules_of("eager"))
    runs = np.asarray(networks.counts.sum(axis=1)).ravel()
    facts = {"is_gpu": 1.0, "peak_flops": 1e13, "bandwidth_gb_s": 500.0, "vendor_nvidia": 1.0}
    targets = tuple(
        TargetFacts(f"t{n}", f"chip{n}", domain, "pytorch-help", facts=facts) for n in range(6)
    )
    t, n = np.indices((len(targets), len(runs))).reshape(2, -1)
    log_ms = np.log((3.0 + 0.01 * runs[n]) * (1 + 0.1 * t))
    names = tuple(g.name for g in (*graphs, *other))
    data = Observations(networks, names, names, targets, n, t, log_ms, np.zeros(len(log_ms)))
    model = JointModel.fit(data.select(n < known), calibrate=False)
    own = data.select((t == 2) & (n < known))
    forecast = model.forecast(targets[2], networks.select(range(known, len(runs))), measured=own)
    error = np.abs(np.log(forecast.ms) - log_ms[(t == 2) & (n >= known)])
    assert (error < off).all() if off else (error > 0.9).all()


def test_a_cpu_with_fp16_is_priced_by_what_its_runtime_computes_in() -> None:
    facts = {"peak_flops": 4e10, "bandwidth_gb_s": 10.0}
    old, new = law.target(0, **facts), law.target(1, **facts, has_fp16=1.0)
    others = [replace(new, runtime="onnxruntime"), replace(new, precision="int8")]
    features = TargetFeatures.choose([old, new, *others])
    prices = features.log_prices(old)
    twice = np.log([2.0, 2.0, 2.0, 1.0])
    np.testing.assert_allclose(features.log_prices(new), prices - twice)
    for other in others:
        np.testing.assert_allclose(features.log_prices(other), prices)
    assert {"cpu", "cpu/halves", "cpu/int8"} == set(features.domains)
    others = [replace(old, domain="onnx-cpu"), replace(old, domain="mnn-cpu")]
    apart = TargetFeatures.choose([*others, replace(old, domain="onnx-npu", precision="fp32")])
    assert {"onnx-cpu", "mnn-cpu", "all/cpu", "onnx-npu", "npu/fp32"} == set(apart.domains)
    # Files that were learnt before had one price for all.
    before = replace(features, domains=("cpu",))
    np.testing.assert_allclose(before.log_prices(new), prices)


def test_cpus_with_quantized_files_are_a_group_by_their_domain() -> None:
    facts = {"peak_flops": 4e10, "bandwidth_gb_s": 10.0}
    floats, ncnn = law.target(0, **facts), replace(law.target(1, **facts), precision="int8")
    onnx = replace(floats, domain="onnx-cpu", runtime="onnx")
    integers = [replace(onnx, precision="int8"), replace(onnx, precision="int8", chip="other")]
    wide = replace(onnx, precision="w8a16")
    features = TargetFeatures.choose([floats, ncnn, onnx, *integers, wide])
    assert {"onnx-cpu/int8", "onnx-cpu/w8a16", "cpu/int8"} < set(features.domains)

    def groups(target: TargetFacts, of: TargetFeatures) -> set[str]:
        columns = of.of(target)[1 : 1 + len(of.domains)]
        return {d for d, value in zip(of.domains, columns, strict=True) if value}

    assert groups(integers[0], features) == {"onnx-cpu", "all/cpu", "onnx-cpu/int8"}
    # Numbers of 16 bits tell nothing of other networks there.
    assert groups(wide, features) == {"onnx-cpu/w8a16"}
    assert groups(ncnn, features) == {"cpu", "all/cpu", "cpu/int8"}
    # Files that were learnt before had one group of int8.
    before = replace(features, domains=("cpu", "onnx-cpu", "cpu/int8", "cpu/w8a16"))
    assert groups(integers[0], before) == {"onnx-cpu", "cpu/int8"}
    assert groups(wide, before) == {"onnx-cpu", "cpu/w8a16"}


def test_a_runtime_a_kind_or_a_precision_that_is_new_leaves_more_open(networks: Networks) -> None:
    made = law.made(networks)
    domains = ("ncnn-cpu", "onnx-cpu", "qnn-npu")
    targets = tuple(replace(t, domain=domains[n % 3]) for n, t in enumerate(made.targets))
    learnt = fit(replace(made, targets=targets))
    known = learnt.prior(targets[0])
    np.testing.assert_array_equal(known.covariance, learnt.covariances["ncnn-cpu"])
    pooled = learnt.covariances[""]
    for domain, precision, groups in (
        ("mnn-cpu", "fp32", 1),
        ("mnn-cpu", "int8", 2),
        ("tflite-npu", "int8", 3),  # of one NPU's domain nobody knows what they have in common
    ):
        new = replace(targets[0], domain=domain, precision=precision)
        first, second = learnt.priors([new, replace(new, name="another")])
        np.testing.assert_allclose(first.covariance, (1 + groups) * pooled)
        np.testing.assert_allclose(
            first.precision @ first.covariance, np.eye(len(pooled)), atol=1e-6
        )
        assert first.covariance is second.covariance
    other = learnt.prior(replace(targets[2], precision="int8"))
    np.testing.assert_allclose(other.covariance, 2 * learnt.covariances["qnn-npu"])


def test_one_measurement_that_is_far_off_does_not_move_the_others(networks: Networks) -> None:
    made = law.made(networks)
    learnt = made.select(made.target < 10)
    model = JointModel.fit(learnt, calibrate=False)
    rows = np.flatnonzero(made.target == 10)
    seen, unseen = rows[:8], rows[8:]
    right = made.select(seen)
    log_ms = right.log_ms.copy()
    log_ms[3] += np.log(5)

    def error(measured: Observations) -> float:
        found = model.forecast(made.targets[10], networks, made.names, measured)
        at = made.network[unseen]
        return float(np.median(np.abs(np.log(found.ms[at]) - made.log_ms[unseen])))

    assert error(replace(right, log_ms=log_ms)) < error(right) + 0.02


def test_nothing_is_faster_than_the_peak_or_the_memory(networks: Networks) -> None:
    facts = {"bound_flops": 1e9, "bandwidth_gb_s": 1.0, "last_level_kb": 0.001}
    bound = bound_ms(networks, law.target(0, **facts))
    window, stride = networks.fact("window"), networks.fact("stride")
    dense = (window == 9) & (stride <= 1) & (networks.fact("groups") <= 1)
    operations = 2 * networks.fact("macs") * np.where(dense, 64 / 324, 1)
    moved = np.maximum(networks.fact("param_bytes") - 0.001 * 1024, 0)
    expected = networks.counts @ np.maximum(operations / 1e9, moved / 1e9) * 1e3
    np.testing.assert_allclose(bound, expected)
    assert bound_ms(networks, law.target(0)).tolist() == [0.0] * len(networks)
    # The runtime of these targets computes in fp16 where it can.
    memory = {"bandwidth_gb_s": 1.0, "last_level_kb": 0.001}
    widths = [replace(law.target(0, **memory), precision=p) for p in ("fp32", "fp16", "int8")]
    moved = [bound_ms(networks, t) for t in widths]
    assert (moved[0] > moved[1]).any()
    np.testing.assert_allclose(moved[0] - moved[1], 2 * (moved[1] - moved[2]), rtol=1e-3, atol=1e-5)
    halves = bound_ms(networks, law.target(0, has_fp16=1.0, bound_flops=1e9))
    np.testing.assert_allclose(2 * halves, bound_ms(networks, law.target(0, bound_flops=1e9)))


def test_a_forecast_beyond_the_bound_is_clipped(networks: Networks) -> None:
    made = law.made(networks, 3)
    model = JointModel.fit(made, calibrate=False)
    found = model.forecast(law.target(9, bound_flops=1e3), networks)
    assert found.clipped.all()
    np.testing.assert_array_equal(found.ms, found.bound_ms)
    assert (found.lower_ms >= found.bound_ms).all()


def test_learning_needs_a_measurement(networks: Networks) -> None:
    made = law.made(networks, 2)
    with pytest.raises(ValueError, match="at least one measurement; got none"):
        JointModel.fit(made.select(made.target > 5))


def test_several_targets_at_once_are_as_one_by_one(networks: Networks) -> None:
    learnt = JointModel.fit(law.made(networks, 6), calibrate=False).learnt
    targets = [law.target(n) for n in (1, 4, 9)]
    targets[1] = replace(targets[1], facts={**targets[1].facts, "peak_flops": None})
    priors, work = learnt.priors(targets), Work.of(networks)
    assert Work.of(networks) is work
    together = work.log_ms_alone(
        networks.counts,
        np.stack([p.mean for p in priors], axis=1),
        np.stack([p.log_prices for p in priors], axis=1),
        priors[0].overlap,
        np.array([p.log_inference for p in priors]),
    )
    for target, prior, log_ms in zip(targets, priors, together.T, strict=True):
        alone = learnt.prior(target)
        np.testing.assert_allclose(prior.mean, alone.mean, rtol=1e-12)
        np.testing.assert_array_equal(prior.log_prices, alone.log_prices)
        expected = alone.log_ms(work, networks.counts, alone.mean)[0]
        np.testing.assert_allclose(log_ms, expected, rtol=1e-12)


def test_what_an_inference_takes_counts_with_fewer_cores_too(networks: Networks) -> None:
    target = law.target(3)
    learnt = JointModel.fit(law.made(networks, 6), calibrate=False).learnt
    prior = replace(learnt.prior(target), log_inference=2.0)
    new = JointPredictor.of(
        target, prior, Effects.unknown(), {}, (), nested=[(target.facts, prior)]
    )
    expected = prior.log_ms(prior.work(networks, target.facts), networks.counts, prior.mean)[0]
    np.testing.assert_allclose(new._log_ms_nested(networks)[0], expected, rtol=1e-12)
    assert (expected > np.log(1e3) + 2).all()


@pytest.mark.parametrize(
    ("name", "runtime", "threads", "precision", "peak"),
    [
        ("dragonwing-q-6690", "onnx-cpu", 0, "int8", 2.9e9 * 8 * 2 * 16),
        ("dragonwing-q-6690", "onnx-cpu", 2, "fp32", 2.9e9 * 2 * 2 * 4),
        ("qcs8275", "tflite-gpu", 0, "int8", None),
        ("snapdragon-8-gen-3", "qnn-npu", 0, "int8", None),
    ],
)
def test_a_chip_without_a_stated_peak_has_a_usual_one(
    name: str, runtime: str, threads: int, precision: str, peak: float | None
) -> None:
    assert not target_facts(name, runtime, threads, precision).get("peak_flops")
    other = target_facts(name, runtime, threads, "fp32").get("peak_flops")
    facts, notes = facts_with_peak(device(name), runtime, threads, precision)
    assert facts["peak_flops"] == facts["base_flops"]
    assert facts["peak_flops"] == (other if peak is None else pytest.approx(peak))
    assert len(notes) == 1
    assert f"the peak of {name} in this precision is not known" in notes[0]
