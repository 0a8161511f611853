"""Public tables as observations: rows joined with kernels of networks and facts of devices."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from latcast._names import unknown_name
from latcast.data.public import find_tables, read_table
from latcast.devices import PRECISIONS, as_built, public_runtime
from latcast.graph.qdq import runs_quantized
from latcast.models.joint import Observations, TargetFacts, facts_with_peak
from latcast.report.markup import counted

from .lookup import MERGED, Key, find

if TYPE_CHECKING:
    from latcast.data.public import PublicTable
    from latcast.devices import Device

Bools = npt.NDArray[np.bool_]

# Networks of a table, drawn with a fixed seed, where it has too many to learn from in minutes:
# shapes of every operator of NeuSight's (of some 45,000).
OPERATOR_SHAPES = 120
_DRAW = 0

_CORES = {0: "all", 1: "little", 2: "big"}  # ncnn's powersave


class Part(NamedTuple):
    """The place of a target's rows in the scores: table, setting and pool.

    Attributes:
        table: folder's name.
        setting: the part of the table.
        pool: targets whose errors are alike: what an interval is calibrated on.
        twin: the same for the targets that differ in their precision only.
    """

    table: str
    setting: str
    pool: str
    twin: str


@dataclass(frozen=True, eq=False)
class Assembled:
    """Observations of all tables, and what the protocols need to know of them.

    Attributes:
        data: the observations.
        parts: of every target, t.
        identities: of every network: what must have been seen for it to be known, n texts. It is
            its name, or of operators the operator, of convolutions the shape.
        is_test: whether a row is of the folder that is only scored, (m,).
        notes: what was left out, by table.
    """

    data: Observations
    parts: tuple[Part, ...]
    identities: tuple[str, ...]
    is_test: Bools
    notes: tuple[str, ...]

    @property
    def tables(self) -> npt.NDArray[np.str_]:
        """Table of every row, (m,)."""
        return np.array([p.table for p in self.parts])[self.data.target]

    @property
    def row_identities(self) -> npt.NDArray[np.str_]:
        """Identity of every row's network, with its table, (m,)."""
        names = np.array(self.identities)[self.data.network]
        return np.char.add(np.char.add(self.tables, "/"), names)


def assemble(folder: Path, test: Path | None = None, tables: Sequence[str] = ()) -> Assembled:
    """Read the tables of one folder, and those of another that are only scored.

    Args:
        folder: of the tables.
        test: of the same layout.
        tables: names of those that are wanted; all by default.

    Raises:
        FileNotFoundError, ValueError: a folder has no table, or lacks one that is asked for; or
            nothing is left.
    """
    frames: list[pl.DataFrame] = []
    notes: list[str] = []
    files: dict[str, Path] = {}
    devices: dict[str, Device] = {}
    for place, is_test in ((folder, False), (test, True)):
        if place is None:
            continue
        for table in _tables(place, tables, notes, is_test=is_test):
            frame, dropped = _prepared(table)
            frames.append(frame.with_columns(is_test=pl.lit(is_test)))
            # A network that both folders have is read from the first one.
            files = {**table.network_files, **files}
            devices |= table.devices
            notes += _left_out(table, dropped)
    if not frames:
        raise ValueError(f"{folder} must hold a whole public table: {'; '.join(notes)}")
    frame = pl.concat(frames, how="vertical")
    frame = frame.with_columns(runs_in=_runs_in(frame))
    keys = frame.select(_KEY).unique(maintain_order=True)
    found = find([Key(*row) for row in keys.rows()], files)
    numbers = {key: n for n, key in enumerate(found.keys)}
    place_of = [numbers.get(Key(*row)) for row in frame.select(_KEY).rows()]
    frame = frame.with_columns(place=pl.Series(place_of, dtype=pl.Int64))
    notes += _not_found(frame.filter(pl.col("place").is_null()), found.missing)
    frame = frame.drop_nulls("place")
    if frame.is_empty():
        raise ValueError("the tables must have networks whose kernels are known; none is left")
    targets = frame.select(_TARGET).unique(maintain_order=True).with_row_index("t")
    frame = frame.join(targets, on=_TARGET, how="left", nulls_equal=True, maintain_order="left")
    described, rows = _of_networks(frame), targets.to_dicts()
    is_learnt = np.bincount(frame["t"].to_numpy(), ~frame["is_test"].to_numpy()) > 0
    facts, unknown = _filled(
        [_facts(row, devices.get(row["machine"])) for row in rows],
        is_learnt.tolist(),
        [(row["table"], row["machine"]) for row in rows],
    )
    notes += unknown
    data = Observations(
        found.networks,
        found.names,
        tuple(described.get(key.name, _UNUSED)[0] for key in found.keys),
        facts,
        frame["place"].to_numpy().astype(np.intp),
        frame["t"].to_numpy().astype(np.intp),
        np.log(frame["latency_ms"].to_numpy()),
        frame["scatter"].fill_null(0.0).to_numpy(),
    )
    parts = tuple(Part(*row) for row in targets.select("table", "setting", "pool", "twin").rows())
    identities = tuple(described.get(key.name, _UNUSED)[1] for key in found.keys)
    return Assembled(data, parts, identities, frame["is_test"].to_numpy(), tuple(notes))


def _tables(
    place: Path, tables: Sequence[str], notes: list[str], *, is_test: bool
) -> Iterator[PublicTable]:
    """Read a folder's tables; ``notes`` names damaged ones and those that the second folder lacks.

    Raises:
        FileNotFoundError, ValueError: the folder has none, or the first one lacks one of those that
            are asked for, or has it damaged.
    """
    found = find_tables(place)
    for name in tables:
        if name not in found and not is_test:
            raise ValueError(unknown_name(f"table in {place}", name, list(found)))
        if name not in found:
            notes.append(f"{name}: {place} does not hold this table")
    for name, folder in found.items():
        if not tables or name in tables:
            try:
                yield read_table(name, folder)
            except ValueError as error:
                if name in tables and not is_test:
                    raise
                notes.append(f"{name}: left out, as it is damaged: {error}")


def _runs_in(frame: pl.DataFrame) -> pl.Expr:
    """Precision of the kernels that run: int8 where a CPU ran files that were quantized."""
    names = [r for r in frame["runtime"].unique() if runs_quantized(public_runtime(r), "int8")]
    is_so = pl.col("runtime").is_in(names) & pl.col("domain").str.ends_with("-cpu")
    return pl.when(is_so & (pl.col("precision") == "int8")).then(pl.lit("int8")).otherwise(
        pl.lit("fp32")
    )  # fmt: skip


_KEY = ("network", "batch", "runtime", "runs_in")


def _of_networks(frame: pl.DataFrame) -> dict[str, tuple[str, str]]:
    """Name of a network -> its family and identity."""
    rows = frame.select("network", "family", "identity").unique(maintain_order=True).rows()
    return {name: (family, identity) for name, family, identity in rows}


_UNUSED = ("", "")  # of a network without a row


# --- one table --------------------------------------------------------------------------------

_TARGET = (
    "table", "setting", "pool", "twin", "domain", "machine", "chip", "runtime", "fixed_batch",
    "precision", "threads", "cores", "channels_last", "label",
)  # fmt: skip
_KEPT = (*_TARGET, "network", "family", "identity", "batch", "latency_ms", "scatter")


def _prepared(table: PublicTable) -> tuple[pl.DataFrame, int]:
    """The rows that take part, in the columns of all tables, and how many were not drawn."""
    defaults = {
        "identity": pl.col("network"),
        "fixed_batch": pl.lit(1),
        "cores": pl.lit("all"),
        "channels_last": pl.lit(0.0),
        "label": pl.col("setting"),
        "pool": pl.col("setting"),
    }
    frame = table.frame.with_columns(**defaults)
    frame = _TABLES[table.name](frame)
    # Only the precision tells two targets with one twin apart.
    twin = pl.concat_str(
        "chip", "domain", "threads", "cores", "label", separator="/", ignore_nulls=True
    )
    frame = frame.with_columns(twin=twin, fixed_batch=pl.col("fixed_batch").cast(pl.Int64))
    return frame.select(_KEPT), len(table.frame) - len(frame)


def _ncnn(frame: pl.DataFrame) -> pl.DataFrame:
    is_int8 = pl.col("precision") == "int8"
    return frame.with_columns(
        label=pl.concat_str(
            "heading", "section", "powersave", "gpu_device", separator="/", ignore_nulls=True
        ),
        domain=pl.format("ncnn-{}", "setting"),
        setting=pl.when(is_int8).then(pl.format("{}-int8", "setting")).otherwise("setting"),
        cores=pl.col("powersave").replace_strict(_CORES, default="all"),
    ).with_columns(pool=pl.col("setting"))


def _timm(frame: pl.DataFrame) -> pl.DataFrame:
    is_gpu = pl.col("cuda").is_not_null()
    engine = pl.when("dynamo").then(pl.lit("inductor")).otherwise(pl.lit("pytorch"))
    unit = pl.when(is_gpu).then(pl.lit("gpu")).otherwise(pl.lit("cpu"))
    # From this version on timm's benchmark merges the branches of networks that can be merged.
    is_merged = pl.col("torch").str.extract(r"(\d+)").cast(pl.Int64) >= _MERGING_TORCH
    return frame.with_columns(
        domain=pl.concat_str(engine, unit, separator="-"),
        pool=unit,
        fixed_batch=pl.lit(0),
        channels_last=(pl.col("layout") == "nhwc").cast(pl.Float64),
        network=pl.when(is_merged).then(pl.format(f"{{}}{MERGED}", "network")).otherwise("network"),
    )


_MERGING_TORCH = 291


def _ai_hub(frame: pl.DataFrame) -> pl.DataFrame:
    model = pl.col("network").str.extract("^ai_hub:([^/]+)")
    return frame.with_columns(
        label=pl.concat_str("heading", "setting", separator="/"),
        domain=pl.format("{}-{}", "runtime", "setting"),
        family=model,
        identity=model,
    )


def _neusight(frame: pl.DataFrame) -> pl.DataFrame:
    frame = frame.filter(pl.col("setting") != "training")
    models, operators = (frame.filter((pl.col("setting") == "models") == x) for x in (True, False))
    fused = pl.col("runtime") == "pytorch-fused"
    models = models.with_columns(
        domain=pl.when(fused).then(pl.lit("inductor-gpu")).otherwise(pl.lit("pytorch-gpu")),
        pool=pl.lit("models"),
        setting=pl.when(pl.col("heading").str.starts_with("AMD"))
        .then(pl.lit("models-amd"))
        .otherwise(pl.lit("models")),
        label=pl.format("models/{}", "runtime"),
        family=pl.col("network").str.extract("^neusight:([^@]+)"),
        fixed_batch=pl.lit(0),
    )
    operators = _drawn(operators, "network", "family", OPERATOR_SHAPES)
    operators = operators.with_columns(
        domain=pl.lit("pytorch-gpu"),
        pool=pl.lit("operators"),
        label=pl.lit("operators"),
        setting=pl.col("chip"),
        identity=pl.col("family"),
        fixed_batch=pl.lit(0),
    )
    return pl.concat([models, operators], how="diagonal")


def _tinynas(frame: pl.DataFrame) -> pl.DataFrame:
    shape = pl.concat_str("kind", "c_in", "c_out", "kernel", "height", separator="-")
    return frame.with_columns(family=shape).with_columns(
        domain=pl.lit("tensorrt"),
        label=pl.lit(""),
        pool=pl.format("convolutions/{}", "precision"),
        identity=pl.col("family"),
        fixed_batch=pl.lit(0),
    )


_TABLES: Mapping[str, Callable[[pl.DataFrame], pl.DataFrame]] = {
    "ncnn": _ncnn,
    "timm": _timm,
    "ai_hub": _ai_hub,
    "neusight": _neusight,
    "tinynas": _tinynas,
}


def _drawn(frame: pl.DataFrame, what: str, within: str, count: int) -> pl.DataFrame:
    """All rows of ``count`` of the values of ``what`` in each group, those of most chips first."""
    measured = frame.group_by(within, what).agg(chips=pl.col("chip").n_unique()).sort(within, what)
    order = np.random.default_rng(_DRAW).permutation(len(measured))
    kept = (
        measured.with_columns(order=pl.Series(order))
        .sort("chips", "order", descending=[True, False])
        .group_by(within, maintain_order=True)
        .head(count)
    )
    return frame.join(kept.select(within, what), on=[within, what], how="semi")


# --- targets, and what is left out ------------------------------------------------------------


def _facts(row: Mapping[str, Any], device: Device | None) -> TargetFacts:
    name = "/".join(
        str(row[k]) for k in ("table", "chip", "label", "runtime", "threads", "precision")
    )
    return TargetFacts(
        name, row["chip"], row["domain"], row["runtime"], row["fixed_batch"], row["precision"],
        row["threads"], _device_facts(row, device) | {"channels_last": row["channels_last"]},
    )  # fmt: skip


def _device_facts(row: Mapping[str, Any], device: Device | None) -> dict[str, float | None]:
    """Facts of a device at its heading's clocks; none where nothing is known of it."""
    # Weights and activations of mixed widths are computed as integers of 8 bits where there are
    # no others.
    precision = row["precision"] if row["precision"] in PRECISIONS else "int8"
    unit = row["domain"].rpartition("-")[2]
    runtime = f"{row['runtime']}-{unit}" if unit in ("cpu", "gpu", "npu", "vulkan") else "cuda"
    if device is None:
        return {}
    try:
        # An operation without any price would seem 40 times too slow, and what is learnt from that
        # make all that is alike too fast: with one CPU of unknown cores among AI Hub's, others
        # left out were off by 97 % (ONNX Runtime) and 51 % (TensorFlow Lite), not 72 and 25 %.
        own = as_built(device, row["label"])
        return facts_with_peak(own, runtime, row["threads"], precision, row["cores"])[0]
    except ValueError:  # the part of it that ran the networks is not known
        return {}


def _filled(
    targets: Sequence[TargetFacts], known: Sequence[bool], machines: Sequence[tuple[str, str]]
) -> tuple[tuple[TargetFacts, ...], list[str]]:
    """Targets of which nothing is known get the medians of their domain, and are named.

    By the prices of no device a GPU would be a thousand times off.

    Args:
        targets: of both folders.
        known: whether each is of the folder that is learnt from.
        machines: table and device of each.
    """
    unknown = [not t.facts.keys() - {"channels_last"} for t in targets]
    found, names = list(targets), dict[str, dict[str, None]]()
    for n, target in enumerate(targets):
        if unknown[n]:
            own, unit = target.domain, target.domain.rpartition("-")[2]
            told = [t for t, k, u in zip(targets, known, unknown, strict=True) if k and not u]
            others = [t.facts for t in told if t.domain == own] or [
                t.facts for t in told if t.domain.rpartition("-")[2] == unit
            ]
            found[n] = replace(target, facts={**_medians(others), **target.facts})
            names.setdefault(machines[n][0], {})[machines[n][1]] = None
    notes = [
        f"{table}: nothing is known of {counted(len(own), 'device')}, taken as middling: "
        f"{', '.join(list(own)[:_SHOWN])}{', …' if len(own) > _SHOWN else ''}"
        for table, own in names.items()
    ]
    return tuple(found), notes


def _medians(facts: Sequence[Mapping[str, float | None]]) -> dict[str, float | None]:
    """Median of every fact over the devices of which it is known; limits of a device have none."""
    values: dict[str, list[float]] = {}
    for own in facts:
        for name, value in own.items():
            if value is not None and name not in _LIMITS:
                values.setdefault(name, []).append(value)
    return {name: float(np.median(some)) for name, some in values.items()}


_LIMITS = ("bound_flops", "last_level_kb")  # what :func:`latcast.models.joint.bound_ms` takes
_SHOWN = 5  # names of devices in a note


def _left_out(table: PublicTable, not_drawn: int) -> Iterator[str]:
    where = f"{table.name} ({table.folder})"
    for each in table.dropped:
        yield f"{where}: {counted(each.count, 'row')} left out: {each.reason}"
    if not_drawn:
        yield f"{where}: {not_drawn} rows were not drawn, or are of no network's inference"


def _not_found(frame: pl.DataFrame, missing: Mapping[str, str]) -> Iterator[str]:
    for (table,), own in frame.group_by("table", maintain_order=True):
        names = own["network"].unique(maintain_order=True).to_list()
        why = missing.get(names[0], "no kernels")
        yield (
            f"{table}: {counted(len(own), 'row')} of {counted(len(names), 'network')} left "
            "out, of unknown "
            f"kernels, such as {names[0]} ({why})"
        )
