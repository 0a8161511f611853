"""Train the shipped joint model from the public tables, HELP, OFANAS and our own (`make zoo`).

One model learns from all rows of all tables together; its intervals come from chips and families of
networks that were left out in turn. The card has what every table gave, and its licence.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from _joint_rows import TABLES, Campaign, campaigns, observations

from latcast.bench.devices.assembly import assemble
from latcast.data import Dataset
from latcast.math.metrics import Scored
from latcast.models.evaluation import score
from latcast.models.joint import Joint, JointModel, Observations

SEED = 0
# Of a target's networks of one space or campaign, so many tell what is common to targets.
CAMPAIGN_ROWS = 300

SOURCES = {
    "ncnn": ("benchmark/ of github.com/Tencent/ncnn", "BSD-3-Clause"),
    "timm": ("results/ of github.com/huggingface/pytorch-image-models", "Apache-2.0"),
    "ai_hub": ("github.com/quic/ai-hub-models", "BSD-3-Clause"),
    "neusight": ("github.com/sitar-lab/NeuSight", "MIT"),
    "tinynas": ("github.com/alibaba/lightweight-neural-architecture-search", "Apache-2.0"),
    "help": ("HELP, data/ of github.com/HayeonLee/HELP", "MIT"),
    "ofanas": ("OFANAS_PerformanceEstimation, datasets/ (arXiv:2101.00732)", "Apache-2.0"),
    "measured": ("latcast, datasets/", "CC-BY-4.0"),
}
"""Table -> where it is from, and its licence."""

ONE_SPACE = (
    "Trained on architectures of search spaces alone: a network whose layers are unlike theirs is "
    "predicted by physics, with a wide interval, and said to be outside of what the model has seen."
)

Bools = npt.NDArray[np.bool_]
Numbers = npt.NDArray[np.intp]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--data", type=Path, required=True, help="folder with public/, help/ and ofanas/"
    )
    parser.add_argument("--measured", type=Path, required=True, help="folder of our datasets")
    parser.add_argument("--tables", default="", help="names of tables; all by default")
    parser.add_argument("--out", type=Path, help="file of the model")
    parser.add_argument(
        "--ablation", action="store_true", help="print what tables do for each other instead"
    )
    parser.add_argument(
        "--left-out",
        metavar="DEVICE",
        help="print errors on a device of ours that is left out, and on its networks, instead",
    )
    arguments = parser.parse_args()
    start = time.perf_counter()
    tables = [name for name in arguments.tables.split(",") if name] or list(SOURCES)
    found = campaigns(arguments.data, arguments.measured, tables)
    parts = read(arguments.data / "public", tables, found)
    if arguments.ablation or arguments.left_out:
        made = ablation(parts) if arguments.ablation else left_out(parts, arguments.left_out)
        for line in made:
            print(line, flush=True)
        return
    data = Observations.joined(list(parts.values()))
    model = JointModel.fit(data, seed=SEED, report=print)
    card = {
        "data": list(_sources(parts)),
        "licence": "model: Apache-2.0; data: as of each table",
        "rows": len(data),
        "split": "intervals: a quarter of the chips and of the families left out, four times",
        "left_out": [
            {"domain": domain, "way": way, "samples": samples, "median_error": error}
            for (domain, way, samples), error in sorted(model.left_out.items())
        ],
    }
    joint = Joint.of(model, data, card)
    for line in name_campaigns(joint, found):
        print(line, flush=True)
    joint.save(arguments.out)
    size, seconds = arguments.out.stat().st_size, time.perf_counter() - start
    print(f"{len(data)} rows, {size / 1e6:.2f} MB, {seconds:.0f} s")


def read(public: Path, tables: Sequence[str], found: Sequence[Campaign]) -> dict[str, Observations]:
    """Observations of every table, the public ones first.

    Args:
        public: folder of the public tables.
        tables: names of those that are wanted.
        found: campaigns of the others.
    """
    parts = {}
    for name in (n for n in tables if n not in TABLES):
        assembled = assemble(public, tables=[name])
        print("\n".join(assembled.notes))
        parts[name] = assembled.data
    domains = sorted({t.domain for own in parts.values() for t in own.targets})
    for name in (n for n in tables if n in TABLES):
        datasets = [d for c in found if c.table == name for d in _learnt_from(c)]
        parts[name] = observations(datasets, domains, CAMPAIGN_ROWS)
    return parts


def _learnt_from(campaign: Campaign) -> Sequence[Dataset]:
    """Its networks but those that its name is scored on; all, where no name is."""
    of = campaign.parts
    return of.whole if of.whole[0].space is None else of.train


def name_campaigns(joint: Joint, found: Sequence[Campaign]) -> Iterator[str]:
    """Keep targets of search spaces by the names of their campaigns; yields a line on each."""
    for campaign in found:
        train = campaign.parts.train
        if train[0].space is None:
            continue  # whose kernels were timed: layer models know them better
        rows = observations(train, list(joint.domains))
        card = {
            "data": [dict(d.provenance) for d in train],
            "families": sorted(set(rows.families)),
            "split": campaign.parts.how,
            "data_issues": campaign.parts.data_issues,
            "note": ONE_SPACE,
        }
        named = joint.name(campaign.name, rows.targets[0], rows, card)
        predictor = joint.of_name(campaign.name)
        scored = Scored.joined([score(predictor, d) for d in campaign.parts.test])
        metrics = named.card["metrics"] = scored.metrics(of_any_network=True)
        yield (
            f"{campaign.name:36} {len(rows):5} rows  median error {metrics['median_error']:.2f} %  "
            f"within 10 % {metrics['within_10']:.1f} %  90 % interval covers "
            f"{metrics['coverage_90']:.1f} %"
        )


def _sources(parts: Mapping[str, Observations]) -> Iterator[dict[str, Any]]:
    for table, data in parts.items():
        source, licence = SOURCES[table]
        used = np.unique(data.target)
        yield {
            "table": table,
            "source": source,
            "licence": licence,
            "rows": len(data),
            "targets": len(used),
            "chips": len({data.targets[n].chip for n in used}),
            "networks": len({data.names[n] for n in np.unique(data.network)}),
        }


# --- what tables do for each other ------------------------------------------------------------

# Of a target at most, so that ten fits take minutes; measured networks of a new device; and the
# share of chips and of families that is left out.
ABLATION_ROWS, MEASURED, SHARE = 60, 5, 0.25
WAYS = ("family left out", "device left out", f"device left out, {MEASURED} networks measured")
WIDTH = 32


def ablation(parts: Mapping[str, Observations]) -> Iterator[str]:
    """Median errors on left-out rows of every table, by what else was learnt from, line by line."""
    rng = np.random.default_rng(SEED)
    parts = {name: own.select(_drawn(own.target, rng)) for name, own in parts.items()}
    data = Observations.joined(list(parts.values()))
    table = np.repeat(np.array(list(parts)), [len(own) for own in parts.values()])
    chips, families = (
        np.isin(of, rng.permutation(names)[: round(SHARE * len(names))])
        for of in (data.chips, data.measured_families)
        for names in (np.unique(of),)
    )
    seen = ~chips & ~families
    whole = _errors(JointModel.fit(data.select(seen), calibrate=False), data, chips, families)
    columns = {"all tables": whole}
    for names in (*((name,) for name in parts), TABLES):
        model = JointModel.fit(data.select(seen & ~np.isin(table, names)), calibrate=False)
        columns[f"without {', '.join(names)}"] = _errors(model, data, chips, families)
    alone: list[tuple[str, int, float]] = []
    for name in parts:
        if not (seen & (table == name)).any():
            continue  # all of its networks are of one family, which is left out
        model = JointModel.fit(data.select(seen & (table == name)), calibrate=False)
        alone += _errors(model, data, chips & (table == name), families & (table == name))
    columns["that table alone"] = alone
    yield f"{len(data)} rows, {int(seen.sum())} learnt from; median error on the others, percent"
    for way in WAYS:
        yield f"\n{way}"
        yield "  ".join(["learnt from".ljust(WIDTH), *(name.rjust(9) for name in parts)])
        for what, errors in columns.items():
            cells = []
            for name in parts:
                own = [e for w, row, e in errors if w == way and table[row] == name]
                cells.append(f"{np.median(own):9.1f}" if own else " " * 8 + "–")
            yield "  ".join([what.ljust(WIDTH), *cells])


def _drawn(target: npt.NDArray[np.intp], rng: np.random.Generator) -> npt.NDArray[np.intp]:
    """At most so many rows of every target."""
    rows = [rng.permutation(np.flatnonzero(target == t)) for t in np.unique(target)]
    return np.sort(np.concatenate([own[:ABLATION_ROWS] for own in rows]))


def _errors(
    model: JointModel, data: Observations, chips: Bools, families: Bools
) -> list[tuple[str, int, float]]:
    """What was left out, row and error in percent."""
    rng = np.random.default_rng(SEED)
    found: list[tuple[str, int, float]] = []
    for t in np.unique(data.target[chips | families]):
        rows = np.flatnonzero(data.target == t)
        known = rows[~families[rows]]
        if not chips[rows[0]]:
            splits = [(WAYS[0], known, rows[families[rows]])]
        else:
            drawn = rng.permutation(known)
            splits = [(WAYS[1], drawn[:0], drawn), (WAYS[2], drawn[:MEASURED], drawn[MEASURED:])]
        for way, measured, scored in splits:
            if not len(scored) or (way == WAYS[0] and not len(measured)):
                continue
            at = data.network[scored]
            names = [data.names[n] for n in at]
            forecast = model.forecast(
                data.targets[t], data.networks.select(at), names, data.select(measured)
            )
            errors = 100 * np.abs(forecast.ms / np.exp(data.log_ms[scored]) - 1)
            found += zip([way] * len(scored), scored.tolist(), errors.tolist(), strict=True)
    return found


# --- a device that is left out, and its networks ----------------------------------------------

NETWORK_FOLDS = 5


def left_out(parts: Mapping[str, Observations], device: str) -> Iterator[str]:
    """Errors on the networks of a device, by models that saw nothing of it, or not the networks.

    Networks are left out of all targets of the device at once, by a fifth.
    """
    data = Observations.joined(list(parts.values()))
    names = np.array(data.names)[data.network]
    own = np.array([t.name.startswith(f"{device}/") for t in data.targets])[data.target]
    rng = np.random.default_rng(SEED)
    order = rng.permutation(np.unique(names[own]))
    fold = {str(name): n % NETWORK_FOLDS for n, name in enumerate(order)}
    of = np.array([fold.get(name, -1) for name in names.tolist()])
    off = {way: np.full(len(data), np.nan) for way in LEFT_OUT_WAYS}
    unseen, few, seen = LEFT_OUT_WAYS
    model = JointModel.fit(data.select(~own), calibrate=False)
    for n in range(NETWORK_FOLDS):
        scored, known = own & (of == n), own & (of != n)
        for t in np.unique(data.target[scored]):
            rows, there = (np.flatnonzero(x & (data.target == t)) for x in (scored, known))
            off[unseen][rows] = _log_errors(model, data, t, rows, there[:0])
            drawn = rng.permutation(there)[:LEFT_OUT_MEASURED]
            off[few][rows] = _log_errors(model, data, t, rows, drawn)
        informed = JointModel.fit(data.select(~scored & ~(of == n)), calibrate=False)
        for t in np.unique(data.target[scored]):
            rows, there = (np.flatnonzero(x & (data.target == t)) for x in (scored, known))
            off[seen][rows] = _log_errors(informed, data, t, rows, there)
    yield f"median error %, and forecast over measured\n{'':38}{'networks':>9}" + "".join(
        f"{way:>24}" for way in LEFT_OUT_WAYS
    )
    for t in np.unique(data.target[own]):
        rows = data.target == t
        cells = [
            f"{100 * np.median(np.abs(np.expm1(e[rows]))):17.1f}{np.exp(np.median(e[rows])):7.2f}"
            for e in off.values()
        ]
        yield f"{data.targets[t].name:38}{rows.sum():9}{''.join(cells)}"


LEFT_OUT_MEASURED = 10
LEFT_OUT_WAYS = ("device left out", f"then {LEFT_OUT_MEASURED} measured", "network left out")


def _log_errors(
    model: JointModel, data: Observations, target: int, rows: Numbers, known: Numbers
) -> npt.NDArray[np.float64]:
    """Logarithms of forecasts over latencies of some rows of a target, after others of it."""
    at = data.network[rows]
    names = [data.names[n] for n in at]
    networks = data.networks.select(at)
    forecast = model.forecast(data.targets[target], networks, names, data.select(known))
    return np.asarray(np.log(forecast.ms) - data.log_ms[rows])


if __name__ == "__main__":
    main()
