"""Public tables with networks and devices left out, from the command line and piece by piece."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from latcast.bench.devices import held_out
from latcast.bench.devices.assembly import Assembled, Part, assemble
from latcast.bench.devices.baselines import BASELINES
from latcast.bench.devices.language_models import language_model
from latcast.bench.devices.lookup import Key, find
from latcast.bench.devices.methods import Forecast
from latcast.bench.devices.protocols import Outcome
from latcast.bench.devices.scoring import calibrated, collected, precision_rows, score_rows
from latcast.bench.tables import Scores
from latcast.graph import GraphBuilder
from latcast.models.joint import Faster, Observations, TargetFacts
from latcast.networks import Networks
from latcast.networks.bound import bound_ms
from latcast.report.table import MISSING, Table

FIELDS = {
    "table", "protocol", "setting", "samples", "method", "groups", "networks", "median_error",
    "within_10", "within_25", "spearman", "coverage_90", "width_90",
}  # fmt: skip

# Name of a network -> channels of its convolutions; time is 1 ns a MAC of a device of speed 1.
NETWORKS = {"aa": (8,), "bb": (16, 16), "cc": (32,), "dd": (24, 8), "ee": (64,)}
SIDE = 16


def write_network(path: Path, channels: Sequence[int]) -> int:
    """A file of 3x3 convolutions one after the other; gives its MACs."""
    lines, before, macs = [f"Input in0 0 1 x0 0={SIDE} 1={SIDE} 2=3"], 3, 0
    for n, c in enumerate(channels):
        weights = 9 * before * c
        lines.append(f"Convolution conv{n} 1 1 x{n} x{n + 1} 0={c} 1=3 4=1 5=1 6={weights}")
        macs, before = macs + weights * SIDE**2, c
    path.write_text("\n".join(["7767517", f"{len(lines)} {len(lines)}", *lines]) + "\n")
    return macs


def write_table(
    folder: Path, speeds: Mapping[str, float], networks: Mapping[str, Sequence[str]]
) -> Path:
    """A folder with the table ``ncnn``: which networks each device of a given speed has run."""
    models = folder / "ncnn" / "models"
    models.mkdir(parents=True)
    macs = {n: write_network(models / f"{n}.param", c) for n, c in NETWORKS.items()}
    header = (
        "device", "threads", "powersave", "gpu_device", "loops", "section", "model", "min_ms",
        "max_ms", "avg_ms",
    )  # fmt: skip
    with (folder / "ncnn" / "latencies.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(header)
        for device, speed in speeds.items():
            for name in networks[device]:
                ms = f"{1e-4 * macs[name] / speed:.6f}"
                rows.writerow((device, 1, 0, -1, 8, "", name, ms, ms, ms))
    return folder


SPEEDS = {f"Board {letter}": 1.0 + n for n, letter in enumerate("ABCDEFG")}


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_table(
        tmp_path_factory.mktemp("public"), SPEEDS, dict.fromkeys(SPEEDS, ("aa", "bb", "cc", "dd"))
    )


def bench(latcast: Any, folder: Path, *options: Any) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = latcast.json("bench", "devices", "--data", folder, *options)[
        "rows"
    ]
    return rows


@pytest.mark.slow
def test_what_is_a_factor_times_a_network_is_forecast_exactly(latcast: Any, public: Path) -> None:
    options = ("--samples", 0, "--samples", 1, "--method", "rank-1", "--method", "gaussian")
    rows = bench(latcast, public, *options)
    assert {(r["protocol"], r["samples"], r["method"]) for r in rows} == {
        ("device", k, method) for k in (0, 1) for method in ("rank-1", "gaussian")
    }  # neither knows a network that it has not seen
    for row in rows:
        assert row.keys() >= FIELDS
        assert (row["table"], row["setting"]) == ("ncnn", "cpu")
        assert (row["groups"], row["networks"]) == (len(SPEEDS), 4)
        if row["samples"]:
            assert row["median_error"] < (1e-3 if row["method"] == "rank-1" else 5)
            assert row["within_10"] == 100
        else:
            assert row["median_error"] > 20


@pytest.mark.slow
def test_a_cost_of_macs_is_forecast_for_new_networks(latcast: Any, public: Path) -> None:
    rows = bench(
        latcast, public, "--samples", 2, "--method", "coefficients", "--method",
        "macs-bytes-constant", "--protocol", "network", "--protocol", "both",
    )  # fmt: skip
    found = {(r["protocol"], r["method"]): r for r in rows}
    assert set(found) == {
        (protocol, method)
        for protocol in ("network", "both")
        for method in ("coefficients", "macs-bytes-constant")
    }
    assert found["network", "macs-bytes-constant"]["groups"] == 4  # families
    assert found["both", "macs-bytes-constant"]["groups"] == len(SPEEDS)
    assert all(r["median_error"] < 30 for r in rows)


@pytest.mark.slow
def test_rows_of_a_second_folder_are_classed_by_what_is_new(
    latcast: Any, public: Path, tmp_path: Path
) -> None:
    own = {"Board A": ("dd", "ee"), "Box X": ("aa", "bb", "cc", "dd", "ee"), "Box Y": ("aa",)}
    test = write_table(tmp_path, {"Board A": 1.0, "Box X": 20.0, "Box Y": 3.0}, own)
    run = latcast(
        "bench", "devices", "--data", public, "--test", test, "--samples", 2, "--json",
        "--method", "rank-1", "--method", "macs-bytes-constant",
    )  # fmt: skip
    found = {(r["protocol"], r["method"]): r for r in json.loads(run.stdout)["rows"]}
    # Board A's dd is known, so only ee is a new network; X is a new device, of which two of the
    # four known networks are measured, and ee is new with it.
    network, device, both = (
        found.get((protocol, "macs-bytes-constant")) for protocol in ("network", "device", "both")
    )
    assert network is not None
    assert (network["rows"], network["networks"], network["samples"]) == (1, 1, 0)
    assert device is not None
    assert (device["groups"], device["networks"], device["samples"]) == (1, 4, 2)
    assert both is not None
    assert (both["rows"], both["networks"], both["groups"]) == (1, 1, 1)
    assert found["device", "rank-1"]["median_error"] < 1e-3
    assert ("both", "rank-1") not in found
    assert "left out at 2 samples: 1 target of fewer than 3 rows, such as " in run.stderr


@pytest.mark.slow
def test_confirming_chips_are_not_seen_while_choosing(
    latcast: Any, public: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = (
        "bench", "devices", "--data", public, "--samples", 1, "--method", "rank-1", "--protocol",
        "device", "--held-out",
    )  # fmt: skip
    run = latcast(*asked, "confirming", code=1)
    assert "must have chips for confirming" in run.stderr
    chips = sorted(set(assemble(public).data.chips.tolist()))
    monkeypatch.setattr(held_out, "CONFIRMING_CHIPS", frozenset(chips[:2]))
    chosen, confirmed = (latcast(*asked, part, "--json") for part in held_out.PARTS)
    assert json.loads(chosen.stdout)["rows"][0]["groups"] == len(SPEEDS) - 2
    assert json.loads(confirmed.stdout)["rows"][0]["groups"] == 2
    assert "2 confirming chips are neither scored nor learnt from" in chosen.stderr
    assert f"that was done {held_out.LOOKS} times" in confirmed.stderr
    run = latcast(*asked, "choosing", "--test", public, code=2)
    assert "exclude each other" in run.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--held-out", "none"), "no part of the chips is called 'none'"),
        (("--method", "rank1"), "no method is called 'rank1'"),
        (("--protocol", "devices"), "no protocol is called 'devices'"),
        (("--samples", -1), "greater than or equal to 0"),
    ],
)
def test_what_is_not_known_is_told(
    latcast: Any, public: Path, options: Sequence[Any], said: str
) -> None:
    run = latcast("bench", "devices", "--data", public, *options, code=2)
    assert said in run.stderr


def test_a_table_that_is_not_there_is_told(latcast: Any, public: Path) -> None:
    error = latcast.error("bench", "devices", "--data", public, "--public-table", "tim", code=1)
    assert "is called 'tim'; known: ncnn" in error


def test_a_table_of_one_device_is_scored_on_new_networks_alone(
    latcast: Any, tmp_path: Path
) -> None:
    """With the device left out nothing is left to learn of."""
    one = {"Raspberry Pi 4 (Cortex-A72 1.5GHz x 4)": 1.0}
    folder = write_table(tmp_path, one, dict.fromkeys(one, ("aa", "bb", "cc", "dd")))
    options = ("--method", "latcast", "--method", "coefficients", "--samples", 0)
    rows = bench(latcast, folder, *options)
    assert {(r["protocol"], r["method"]) for r in rows} == {
        ("network", "latcast"), ("network", "coefficients"),
    }  # fmt: skip


def test_what_only_the_second_folder_has_is_named_and_never_stops_it(
    latcast: Any, tmp_path: Path
) -> None:
    """An unknown device, an unknown card, a network without a file, and a damaged table."""
    known = {
        "Raspberry Pi 4 (Cortex-A72 1.5GHz x 4)": 1.0,
        "Raspberry Pi 5 (Cortex-A76 2.4GHz x 4)": 3.0,
    }
    names = ("aa", "bb", "cc", "dd")
    data = write_table(tmp_path / "a", known, dict.fromkeys(known, names))
    new = {"Zorblax 9000 (Quux-A99 9.9GHz x 3)": 2.0, "NVIDIA RTX 9999 Ti": 2.0}
    test = write_table(tmp_path / "b", new, dict.fromkeys(new, names))
    rows = (test / "ncnn" / "latencies.csv").read_text()
    (test / "ncnn" / "latencies.csv").write_text(rows + rows.splitlines()[1].replace("aa", "zz"))
    for folder in (data, test):
        (folder / "timm").mkdir()
        (folder / "timm" / "latencies.csv.gz").write_bytes(b"no gzip")
    options = ("--method", "latcast", "--samples", 0, "--json")
    run = latcast("bench", "devices", "--data", data, "--test", test, *options)
    (row,) = json.loads(run.stdout)["rows"]
    assert (row["protocol"], row["groups"], row["networks"]) == ("device", 2, 4)
    # They are forecast as the devices that are known: within what these differ by, not a thousand.
    assert row["median_error"] < 100
    for said in (
        "timm: left out, as it is damaged", "such as ncnn:zz", "nothing is known of 2 devices",
        "Zorblax 9000", "RTX 9999",
    ):  # fmt: skip
        assert said in run.stderr
    error = latcast.error("bench", "devices", "--data", data, "--public-table", "timm", code=1)
    assert "whole gzip file" in error
    (test / "ncnn" / "latencies.csv").unlink()
    run = latcast("bench", "devices", "--data", data, "--test", test, *options, code=1)
    assert "must hold rows of the tables" in run.stderr


def test_methods_stand_beside_each_other_and_none_is_dropped() -> None:
    """One row a question; networks are counted where another method answers for fewer."""
    base = dict.fromkeys(
        ("mean_error", "within_10", "within_25", "spearman", "coverage_90", "coverage_90_low",
         "coverage_90_high", "width_90", "published"),
    )  # fmt: skip
    rows = [
        {**base, "table": "t", "protocol": "device", "setting": "cpu", "samples": k, "groups": 2,
         "method": method, "networks": networks, "median_error": error}
        for k, method, networks, error in (
            (0, "latcast", 9, 10.0), (1, "latcast", 9, 8.0), (1, "rank-1", 4, 7.5),
            (1, "roofline", 9, 70.0), (5, "roofline", 9, 71.0),
        )
    ]  # fmt: skip
    ours, rest = [p for p in Scores("devices", rows).parts() if isinstance(p, Table)]
    labels = [c.label for c in ours.columns][-2:]
    assert labels == ["rank-1 %", "roofline %"]
    assert [row[-2:] for row in ours.cells()] == [[MISSING, MISSING], ["7.5 (4)", "70.0"]]
    assert [row[1] for row in rest.cells()] == ["5"]
    assert "by latcast" in ours.title
    assert "by roofline" in rest.title


# --- pieces -----------------------------------------------------------------------------------


def case(latencies: Mapping[tuple[str, str, str], float]) -> Assembled:
    """Rows by (device, precision, network) -> ms, in the order given."""
    names = tuple(dict.fromkeys(name for _, _, name in latencies))
    targets = tuple(dict.fromkeys((chip, precision) for chip, precision, _ in latencies))
    b = GraphBuilder()
    graph = b.build(b.conv(b.input(3, 8, 8), 4, 3))
    data = Observations(
        Networks.of_graphs([graph] * len(names)),
        names,
        names,
        tuple(TargetFacts(f"{c}/{p}", c, "d", "r", precision=p) for c, p in targets),
        np.array([names.index(n) for _, _, n in latencies]),
        np.array([targets.index((c, p)) for c, p, _ in latencies]),
        np.log(list(latencies.values())),
        np.zeros(len(latencies)),
    )
    parts = tuple(Part("t", precision, "pool", chip) for chip, precision in targets)
    return Assembled(data, parts, names, np.zeros(len(latencies), dtype=bool), ())


def outcomes(the_case: Assembled, factors: Sequence[float], half: float) -> list[Outcome]:
    """One forecast a row, so many times its latency; a device leaves after the other."""
    chips = list(dict.fromkeys(t.chip for t in the_case.data.targets))
    result = []
    for row, factor in enumerate(factors):
        log = the_case.data.log_ms[[row]] + np.log(factor)
        target = int(the_case.data.target[row])
        forecast = Forecast(log, log - half, log + half)
        fold = chips.index(the_case.data.targets[target].chip)
        result.append(Outcome("m", "device", 0, target, fold, np.array([row]), forecast))
    return result


def test_scores_are_what_their_names_say() -> None:
    the_case = case({("a", "fp32", f"n{n}"): 1.0 + n for n in range(4)})
    found = collected(outcomes(the_case, (1.05, 1.2, 1.5, 0.9), 0.1))
    (row,) = score_rows(the_case, ("m", "device", 0), found["m", "device", 0])
    assert row["median_error"] == pytest.approx(15)
    assert row["mean_error"] == pytest.approx((5 + 20 + 50 + 10) / 4)
    assert row["within_25"] == 75
    assert row["coverage_90"] == 25  # log 1.05 < 0.1; log 0.9 is -0.105
    assert row["width_90"] == pytest.approx(np.exp(0.2))
    assert (row["groups"], row["networks"], row["spearman"]) == (1, 4, None)


def test_intervals_are_as_wide_as_errors_of_other_folds() -> None:
    the_case = case({(f"d{n}", "fp32", "x"): 1.0 for n in range(21)})
    # All errors but the first are a factor of e^0.2, so its interval is 0.2 to either side.
    factors = [float(np.exp(3.0)), *[float(np.exp(0.2))] * 20]
    (found,) = collected(outcomes(the_case, factors, 0.05)).values()
    wide = calibrated(the_case, "device", found, found)
    assert (wide.upper - wide.log_ms)[0] == pytest.approx(0.2)
    assert (wide.log_ms - wide.lower)[0] == pytest.approx(0.2)


def test_of_few_groups_one_more_has_the_errors_of_the_table() -> None:
    the_case = case({(f"d{n}", "fp32", f"n{i}"): 1.0 for n in range(23) for i in range(10)})
    # Two devices of a part of their own, each as far off as the other; the rest is farther.
    parts = tuple(
        part._replace(pool="apart" if n < 2 else "many") for n, part in enumerate(the_case.parts)
    )
    the_case = replace(the_case, parts=parts)
    factors = [float(np.exp(0.1 if n < 2 else 0.4)) for n in range(23) for _ in range(10)]
    (found,) = collected(outcomes(the_case, factors, 0.05)).values()
    wide = calibrated(the_case, "device", found, found)
    reach = (wide.upper - wide.log_ms).reshape(23, 10)
    # One other device and one of the table: 90 % of both are not within the errors of the first.
    np.testing.assert_allclose(reach[:2], 0.4)
    np.testing.assert_allclose(reach[2:], 0.4)


def test_intervals_of_operators_are_those_of_the_same_operator() -> None:
    chips = [f"chip{n}" for n in range(20)]
    ms = {(chip, "fp32", op): 1.0 for chip in chips for op in ("add", "bmm")}
    the_case = case(ms)
    parts = tuple(part._replace(pool="operators") for part in the_case.parts)
    the_case = replace(the_case, parts=parts)
    found = collected(outcomes(the_case, [1.01, 1.5] * len(chips), 0.1))["m", "device", 0]
    after = calibrated(the_case, "device", found, found)
    reach = (after.upper - after.log_ms).reshape(-1, 2)
    np.testing.assert_allclose(reach, [[np.log(1.01), np.log(1.5)]] * len(chips))


def test_a_precision_is_faster_with_the_probability_of_its_error() -> None:
    ms = {("a", "int8"): 1.0, ("a", "fp32"): 2.0, ("b", "int8"): 3.0, ("b", "fp32"): 2.0}
    the_case = case({(chip, p, f"n{n}"): v for n in range(3) for (chip, p), v in ms.items()})
    found = collected(outcomes(the_case, [1.0] * len(the_case.data), 0.1))
    own = found["m", "device", 0]
    (row,) = precision_rows(the_case, ("m", "device", 0), own, own)
    assert (row["setting"], row["rows"]) == ("int8-faster-than-fp32", 6)
    assert row["balanced_accuracy"] == 100
    assert row["brier"] < 0.01 < row["brier_base"]
    assert row["share_faster"] == 50


def test_rules_of_a_method_hold_where_no_other_fold_tells() -> None:
    """Half of the answers are rare: 5 % of the pairs tie where int8 falls back to fp32."""
    names = [f"n{n}" for n in range(60)]
    ms = {
        (chip, p, name): 0.5 if p == "int8" and n % 20 else 1.0 + 1e-3 * (p == "int8")
        for chip in ("a", "b", "c") for n, name in enumerate(names) for p in ("int8", "fp32")
    }  # fmt: skip
    the_case = case(ms)
    # Told a little too short in int8, so that ties are forecast as faster.
    factors = [0.95 if key[1] == "int8" else 1.0 for key in ms]
    kind = ("m", "device", 0)
    own = collected(outcomes(the_case, factors, 0.02))[kind]
    (learnt,) = precision_rows(the_case, kind, own, own)
    assert learnt["balanced_accuracy"] == 100
    assert learnt["brier"] < 0.01 < learnt["brier_base"]
    alone = replace(own, fold=np.full(len(own), -1))
    (normal,) = precision_rows(the_case, kind, alone, alone)
    told = np.where(np.arange(400) % 20, np.log(0.5 * 0.95), np.log(0.95))
    rule = Faster.fit(told, told < -0.1)
    assert rule is not None
    rules = {("d", "int8", "fp32"): rule}
    (ruled,) = precision_rows(the_case, kind, alone, alone, rules)
    assert ruled["brier"] < 0.01 < normal["brier"]


def test_a_target_is_worse_by_more_than_a_standard_error() -> None:
    the_case = case({(f"d{n}", "fp32", "x"): 1.0 for n in range(3)})
    own, other = (
        collected([x for _ in range(2) for x in outcomes(the_case, factors, 0.1)])
        for factors in ((1.1, 1.2, 1.0), (1.1, 1.1, 1.1))
    )
    kind = ("m", "device", 0)
    (row,) = score_rows(the_case, kind, own[kind], other[kind])
    assert (row["targets"], row["targets_worse"]) == (3, 1)


@pytest.mark.parametrize("name", BASELINES)
def test_a_method_says_nothing_of_a_domain_that_it_has_not_seen(name: str) -> None:
    the_case = case({("a", "fp32", f"n{n}"): 1.0 + n for n in range(4)})
    method = BASELINES[name]()
    method.fit(the_case.data)
    unknown = TargetFacts("x", "x", "elsewhere", "r")
    nothing = the_case.data.select(np.zeros(0, dtype=np.intp))
    found = method.predict(unknown, nothing, the_case.data.networks, the_case.data.names)
    assert np.isnan(found.log_ms).all()


@pytest.mark.parametrize("name", ["rank-1", "gaussian"])
def test_one_known_target_gives_the_ratios_of_networks(name: str) -> None:
    the_case = case({("a", "fp32", f"n{n}"): 1.0 + n for n in range(4)})
    method = BASELINES[name]()
    method.fit(the_case.data)
    twice = replace(the_case.data.select(np.array([3])), log_ms=np.log([8.0]))
    target = replace(the_case.data.targets[0], name="new")
    found = method.predict(target, twice, the_case.data.networks, the_case.data.names)
    np.testing.assert_allclose(np.exp(found.log_ms), [2.0, 4.0, 6.0, 8.0], rtol=0.01)
    assert (found.lower < found.log_ms).all()


# --- networks ---------------------------------------------------------------------------------


CONVOLUTION = "B=2 Input_Channel=4 Output_Channel=6 Kernel_Size=3 Input_Size=8 Stride=2 Padding=1"


@pytest.mark.parametrize(
    ("name", "batch", "macs"),
    [
        ("neusight:bmm/B=2 M=3 N=5 K=7", 1, 2 * 3 * 5 * 7),
        ("neusight:linear/B=2 M=3 N=5 K=7", 1, 2 * 3 * 5 * 7),
        ("neusight:ln/B=2 H=8", 1, 0),
        ("neusight:powu/B=2 H=8", 1, 0),
        (f"neusight:conv/{CONVOLUTION}", 1, 2 * 6 * 4 * 9 * 16),
        ("tinynas:regular/4-6-8x8-k3-s2-f1", 3, 3 * 6 * 4 * 9 * 16),
        ("tinynas:depthwise/4-4-8x8-k3-s1-f0", 3, 3 * 4 * 9 * 64),
    ],
)
def test_an_operator_by_its_dimensions_is_one_kernel(name: str, batch: int, macs: int) -> None:
    found = find([Key(name, batch, "pytorch" if "neusight" in name else "tensorrt")], {})
    assert found.missing == {}
    assert found.networks.counts.sum() == 1
    assert found.networks.fact("macs").tolist() == [macs]


def test_some_networks_have_their_own_kernels_alone() -> None:
    keys = [Key(f"neusight:bmm/B={b} M=3 N=5 K=7", 1, "pytorch") for b in (1, 2, 3)]
    whole = find(keys, {}).networks
    some = whole.select([2, 0])
    assert some.counts.toarray().tolist() == [[0, 1], [1, 0]]
    assert some.fact("macs").tolist() == [105, 315]
    assert [r.tolist() for r in some.rows] == [[1], [0]]
    unordered = replace(whole, rows=())
    assert unordered.select([1]).rows == ()
    # Of networks whose order is known for some only, it is unknown whose rows they are.
    joined = Networks.joined([unordered, some])
    assert (len(joined.rows), joined.select([0]).rows) == (2, ())


def test_an_operator_that_nobody_builds_is_missing() -> None:
    found = find([Key("neusight:fft/B=2 H=8", 1, "pytorch")], {})
    assert len(found.networks) == 0
    assert "fft" in found.missing["neusight:fft/B=2 H=8"]


CONFIGS: Mapping[str, Mapping[str, Any]] = {
    "gpt2": {"n_embd": 32, "n_head": 4, "n_layer": 2, "vocab_size": 50},
    "opt": {
        "hidden_size": 32, "num_attention_heads": 4, "num_hidden_layers": 2, "ffn_dim": 128,
        "vocab_size": 50,
    },
    "bert": {
        "hidden_size": 32, "num_attention_heads": 4, "num_hidden_layers": 2,
        "intermediate_size": 128, "vocab_size": 50,
    },
}  # fmt: skip


@pytest.mark.parametrize("kind", CONFIGS)
def test_a_language_model_has_the_macs_of_its_configuration(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"model_type": kind, **CONFIGS[kind]}))
    batch, tokens, width, words = 3, 10, 32, 50
    # Four products with width x width and two with width x 4 width a layer, scores and their sums.
    layer = 12 * width**2 * tokens + 2 * tokens**2 * width
    head = tokens * width * words + (tokens * width**2 if kind == "bert" else 0)
    assert language_model(path, tokens, batch).macs == batch * (2 * layer + head)


def test_a_configuration_of_another_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"model_type": "mamba"}))
    with pytest.raises(ValueError, match="gpt2, opt, bert; it is of mamba"):
        language_model(path, 8, 1)
    path.write_text(json.dumps({"model_type": "gpt2", "n_embd": 32}))
    with pytest.raises(ValueError, match="n_head"):
        language_model(path, 8, 1)


@pytest.mark.slow
def test_networks_of_phones_are_forecast_after_five(latcast: Any, shared: Path) -> None:
    rows = bench(
        latcast, shared / "public", "--public-table", "ncnn", "--samples", 5,
        "--method", "gaussian", "--protocol", "device",
    )  # fmt: skip
    (row,) = (r for r in rows if r["setting"] == "cpu")
    assert row["median_error"] < 11
    assert row["groups"] > 40
    assert 85 < row["coverage_90"] < 95


@cache
def assembled(folder: Path, table: str) -> Assembled:
    """A public table, of which several tests ask."""
    return assemble(folder, tables=[table])


@pytest.mark.slow
def test_language_models_on_cards_of_amd_are_scored_apart(shared: Path) -> None:
    case = assembled(shared / "public", "neusight")
    of: dict[str, set[str]] = {part.setting: set() for part in case.parts}
    for part, target in zip(case.parts, case.data.targets, strict=True):
        of[part.setting].add(target.chip)
    assert of["models-amd"] == {"mi100", "mi210", "mi250"}
    assert not of["models"] & of["models-amd"]


@pytest.mark.slow
@pytest.mark.parametrize("table", ["ncnn", "timm", "ai_hub", "neusight", "tinynas"])
def test_no_measured_row_is_faster_than_its_bound(table: str, shared: Path) -> None:
    """By more than 5 %: clocks vary, and a network of a name may differ a little."""
    data = assembled(shared / "public", table).data
    bound = np.concatenate([np.zeros(0)] + [
        bound_ms(data.networks.select(data.network[data.target == n]), target)
        / np.exp(data.log_ms[data.target == n])
        for n, target in enumerate(data.targets)
    ])  # fmt: skip
    assert len(bound) == len(data)
    assert bound.max() < 1.05
