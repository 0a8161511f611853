"""Readers of public tables on tables of our own making, on damaged ones, and on the real ones."""

from __future__ import annotations

import gzip
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latcast.bench.devices.held_out import CONFIRMING_CHIPS
from latcast.data.audit_report import TablesAudit
from latcast.data.public import PublicTable, parse_heading, read_public, read_table
from latcast.data.public._table import COLUMNS
from latcast.data.public.headings import identify
from latcast.data.public.ncnn import expected_range
from latcast.data.public.timm import read_imagenet

PI = '"Raspberry Pi 4 Model B Broadcom BCM2711B0, Cortex-A72 (ARMv8) (1.8GHz x 4)"'
VM = '"Hyper-V (Intel Core i7-11800H, NVIDIA GeForce RTX 3070 Laptop GPU)"'
# Table -> file -> heading and rows, all of them good.
TABLES: dict[str, dict[str, str]] = {
    "ncnn": {
        "latencies.csv": f"""\
device,threads,powersave,gpu_device,loops,section,model,min_ms,max_ms,avg_ms
{PI},4,0,-1,10,,squeezenet,30,33,31
{PI},4,0,,10,,squeezenet_int8,25,75,40
{VM},1,0,0,10,with words,mobilenet-yolo,2,2,2
{VM},1,0,-1,4,,vgg16,200,201,200.5
AXERA AX620A (Cortex-A7 1.0GHz * 4),1,0,0,4,,vgg16,900,901,900.5
"""
    },
    "timm": {
        "latencies.csv.gz": """\
setting,model,image_size,batch,step_ms,images_per_second,gmacs,macts,params_m
amp-nchw-pt240-cu124-rtx4090-dynamo,resnet18,224,256.0,20,12800,1.82,2.48,11.69
amp-nchw-pt240-cu124-rtx4090-dynamo,vit_large,448,64,100,640,190,300,300
fp32-nchw-pt221-cpu-i9_10940x-dynamo,resnet18,224,1,9,111.1,,,11.69
""",
        "imagenet.csv.gz": """\
model,img_size,top1,top1_err,top5,top5_err,param_count,crop_pct,interpolation
vit_large.augreg_in1k,448,85.5,14.5,97.5,2.5,"1,014.45",1.0,bicubic
""",
    },
    "ai_hub": {
        "latencies.csv.gz": """\
model,component,precision,device,runtime,latency_ms,memory_min_mb,memory_max_mb,compute_unit,\
layers,layers_npu,layers_gpu,layers_cpu,qairt
beit,Beit,float,Samsung Galaxy S24,qnn_dlc,5.5,1,200,NPU,100,90,,10,2.42
beit,Beit,w8a8,Samsung Galaxy S24,tflite,2.5,1,2,NPU,100,100,,,
beit,Beit,w8a16,Samsung Galaxy S24,onnx,3.5,1,2,NPU,100,100,,,
beit,Beit,float,QCS8550 (Proxy),onnx,50,1,2,CPU,100,,,100,
""",
    },
    "neusight": {
        "operators.csv.gz": """\
op,device,dims,latency_ms
conv,Tesla T4,B=1 Input_Channel=3 Output_Channel=8 Kernel_Size=3 Input_Size=9 Stride=1 Padding=0,1
bmm,Tesla_T4,B=6 M=27 N=21 K=390,0.5
add,NVIDIA A100-PCIE-40GB,B=127 H=168,0.03
""",
        "models.csv": """\
device,model,mode,sequence,batch,forward_ms,end_to_end_ms
NVIDIA_A100-PCIE-40GB,gpt2_large,inf,1024,4-fusion,470,470
Tesla_T4,gpt2_large,train,1024,1,200,580
""",
    },
    "tinynas": {
        "v100-convolutions.csv.gz": """\
precision,kind,batch,c_in,height,width,c_out,kernel,stride,fused,latency_ms
fp32,Regular,32,3,28,28,64,3,2,1,0.05
fp32,Regular,32,64,28,28,64,3,2,1,0.1
int8,Depthwise,1,3,28,28,3,3,1,0,0.02
"""
    },
}


def write(folder: Path, name: str, files: dict[str, str]) -> Path:
    """A folder with one table in a folder of its name; returns the outer one."""
    for file, text in files.items():
        path = folder / name / file
        path.parent.mkdir(parents=True, exist_ok=True)
        content = text.encode()
        path.write_bytes(gzip.compress(content) if file.endswith(".gz") else content)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """All five tables."""
    for name, files in TABLES.items():
        write(tmp_path / "public", name, files)
    (tmp_path / "public" / "ncnn" / "models").mkdir()
    for network in ("squeezenet", "squeezenet_int8", "mobilenet_yolo"):
        (tmp_path / "public" / "ncnn" / "models" / f"{network}.param").write_text("7767517\n")
    return tmp_path


def test_every_good_row_is_read(folder: Path) -> None:
    tables = read_public(folder)
    assert [table.name for table in tables] == list(TABLES)
    for table in tables:
        assert table.dropped == ()
        assert len(table.frame) == table.rows
        assert list(table.frame.columns[: len(COLUMNS)]) == list(COLUMNS)
        assert [table.frame.schema[name] for name in COLUMNS] == list(COLUMNS.values())
        complete = table.frame.drop("scatter").select(*(c for c in COLUMNS if c != "scatter"))
        assert sum(complete.null_count().row(0)) == 0
    assert [table.name for table in read_public(folder / "public" / "timm")] == ["timm"]
    assert [table.name for table in read_public(folder, ["neusight"])] == ["neusight"]


# Table, the row from 0, what its columns must be.
ROWS: list[tuple[str, int, dict[str, Any]]] = [
    ("ncnn", 0, {"network": "ncnn:squeezenet", "precision": "fp32", "setting": "cpu",
                 "chip": "raspberry-pi-4", "threads": 4, "latency_ms": 30.0, "mean_ms": 31.0,
                 "throttled": False}),
    ("ncnn", 1, {"network": "ncnn:squeezenet", "precision": "int8", "gpu_device": -1,
                 "throttled": True}),
    ("ncnn", 2, {"network": "ncnn:mobilenet_yolo", "chip": "rtx-3070", "family": "mobilenet",
                 "runtime": "ncnn-vulkan", "setting": "vulkan", "section": "with words"}),
    ("ncnn", 3, {"chip": "core-i7-11800h", "runtime": "ncnn", "setting": "cpu"}),
    ("ncnn", 4, {"gpu_device": 0, "runtime": "ncnn", "setting": "cpu"}),
    ("timm", 0, {"network": "timm:resnet18@224", "batch": 256, "latency_ms": 20.0, "amp": True,
                 "precision": "fp16", "runtime": "pytorch-dynamo", "cuda": "cu124",
                 "chip": "rtx-4090", "layout": "nchw", "torch": "pt240", "family": "resnet"}),
    ("timm", 2, {"precision": "fp32", "chip": "core-i9-10940x", "cuda": None, "gmacs": 1.82,
                 "counts_stated": False}),
    ("ai_hub", 0, {"network": "ai_hub:beit/Beit", "setting": "npu", "precision": "fp16",
                   "runtime": "qnn-dlc", "layers_cpu": 10}),
    ("ai_hub", 1, {"precision": "int8", "stated_precision": "w8a8", "qairt": None}),
    ("ai_hub", 2, {"precision": "w8a16"}),
    ("ai_hub", 3, {"precision": "fp32", "setting": "cpu", "is_proxy": True}),
    ("neusight", 0, {"setting": "conv", "c_in": 3, "input_size": 9, "padding": 0, "batch": 1}),
    ("neusight", 1, {"network": "neusight:bmm/B=6 M=27 N=21 K=390", "b": 6, "c_in": None}),
    ("neusight", 3, {"network": "neusight:gpt2_large@1024", "setting": "models", "batch": 4,
                     "fused": True, "runtime": "pytorch-fused"}),
    ("neusight", 4, {"setting": "training", "latency_ms": 580.0, "forward_ms": 200.0}),
    ("tinynas", 0, {"network": "tinynas:regular/3-64-28x28-k3-s2-f1", "batch": 32,
                    "padded": False}),
    ("tinynas", 2, {"family": "depthwise", "setting": "int8", "padded": True}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "row", "expected"), ROWS)
def test_rows(folder: Path, name: str, row: int, expected: dict[str, Any]) -> None:
    found = read_table(name, folder / "public" / name).frame.row(row, named=True)
    assert {key: found[key] for key in expected} == expected


def test_one_chip_has_one_key(folder: Path) -> None:
    frame = read_table("neusight", folder / "public" / "neusight").frame
    of_chip = dict(frame.group_by("chip").agg("heading").rows())
    assert sorted(map(sorted, of_chip.values())) == [
        ["NVIDIA A100-PCIE-40GB", "NVIDIA_A100-PCIE-40GB"],
        ["Tesla T4", "Tesla_T4", "Tesla_T4"],
    ]


# Table, file, a row that is appended, the reason it is left out for.
BAD = [
    ("ncnn", "latencies.csv", f"{PI},4,0,-1,10,,squeezenet,30,33,40", "contradiction"),
    ("ncnn", "latencies.csv", f"{PI},0,0,-1,10,,squeezenet,30,33,31", "small-threads"),
    ("ncnn", "latencies.csv", f"{PI},4,0,-1,10,,squeezenet,30,33,nan", "bad-avg_ms"),
    ("ncnn", "latencies.csv", f"{PI},4,0,-1,10,,squeezenet,30,33", "ragged"),
    ("ncnn", "latencies.csv", ",4,0,-1,10,,squeezenet,30,33,31", "no-device"),
    ("ncnn", "latencies.csv", f"{VM},1,0,0,10,,vgg16_int8,30,33,31", "int8-on-gpu"),
    ("timm", "latencies.csv.gz", "amp-nchw-pt240-cu124-rtx4090,vit,224,,,,1,1,1", "failed"),
    ("timm", "latencies.csv.gz", "amp-nchw-rtx4090,vit,224,1,1,1000,1,1,1", "bad-setting"),
    ("timm", "latencies.csv.gz", "amp-nchw-pt240-cu124-x,vit,224,1,1,500,1,1,1", "contradiction"),
    ("timm", "latencies.csv.gz", "amp-nchw-pt240-cu124-x,vit,224,1.5,1,1500,1,1,1", "bad-batch"),
    ("ai_hub", "latencies.csv.gz", "m,c,float,d,r,1,9,2,NPU,1,1,,,", "contradiction"),
    ("ai_hub", "latencies.csv.gz", "m,c,float,d,r,1,1,2,DSP,1,1,,,", "bad-unit"),
    ("ai_hub", "latencies.csv.gz", "m,c,float,d,r,0,1,2,NPU,1,1,,,", "small-latency_ms"),
    ("neusight", "operators.csv.gz", "conv,Tesla T4,B=1 H=2,1", "bad-dims"),
    ("neusight", "operators.csv.gz", "add,Tesla T4,B=1 W=2,1", "bad-dims"),
    ("neusight", "operators.csv.gz", "add,Tesla T4,B=0 H=2,1", "small-b"),
    ("neusight", "models.csv", "Tesla_T4,bert,infer,8,1,1,1", "bad-mode"),
    ("tinynas", "v100-convolutions.csv.gz", "fp32,Regular,1,3,9,9,8,3,1,1,-1", "failed"),
    ("tinynas", "v100-convolutions.csv.gz", "fp64,Regular,1,3,9,9,8,3,1,1,1", "bad-precision"),
    ("tinynas", "v100-convolutions.csv.gz", "fp32,Reg�lar,1,3,9,9,8,3,1,1,1", "unreadable"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "file", "row", "kind"), BAD)
def test_a_bad_row_is_left_out_with_its_reason(
    tmp_path: Path, name: str, file: str, row: str, kind: str
) -> None:
    files = {**TABLES[name], file: f"{TABLES[name][file]}{row}\n"}
    good = sum(text.count("\n") - 1 for f, text in TABLES[name].items() if f in _RATED)
    (table,) = read_public(write(tmp_path, name, files))
    (dropped,) = table.dropped
    assert (dropped.kind, dropped.count) == (kind, 1)
    assert dropped.examples[0]["row"] == TABLES[name][file].count("\n") - 1
    assert (table.rows, len(table.frame)) == (good + 1, good)
    (audited,) = TablesAudit.of(tmp_path).tables
    assert kind in [issue.kind for issue in audited.issues]


_RATED = {"latencies.csv", "latencies.csv.gz", "operators.csv.gz", "models.csv",
          "v100-convolutions.csv.gz"}  # fmt: skip

CELLS = st.one_of(
    st.sampled_from(
        ["", "-1", "0", "nan", "inf", "1e400", "9" * 30, "1.5", "-0.0", "=1", "\ufeff"]
    ),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters='\n\r,"'), max_size=12),
)


@pytest.mark.slow
@given(
    st.sampled_from(
        [(name, file) for name, files in TABLES.items() for file in files if file in _RATED]
    ),
    st.lists(
        st.tuples(st.integers(0, 30), st.integers(0, 20), CELLS, st.booleans()), min_size=1,
        max_size=4,
    ),
)  # fmt: skip
def test_no_cell_makes_a_reader_fail(
    tmp_path_factory: pytest.TempPathFactory,
    of: tuple[str, str],
    changes: list[tuple[int, int, str, bool]],
) -> None:
    name, file = of
    head, *lines = TABLES[name][file].splitlines()
    for line, column, cell, is_short in changes:
        cells = lines[line % len(lines)].split(",")
        cells[column % len(cells)] = cell
        lines[line % len(lines)] = ",".join(cells[: -1 if is_short else None])
    place = write(
        tmp_path_factory.mktemp("table"), name, {**TABLES[name], file: "\n".join([head, *lines])}
    )
    check(read_public(place)[0])
    assert TablesAudit.of(place).to_text()


def check(table: PublicTable) -> None:
    """What holds of a table whatever is in its file."""
    assert table.rows == len(table.frame) + sum(each.count for each in table.dropped)
    assert all(each.reason and each.examples for each in table.dropped)
    latency = table.frame["latency_ms"]
    assert latency.is_finite().all()
    assert (latency > 0).all()
    assert table.frame.select("device", "chip").null_count().row(0) == (0, 0)


# Without the time of day: parts of the content are names of the tests, which all workers of one run
# must agree on.
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"not gzip", "must be a whole gzip file"),
        (gzip.compress(b"a,b\n1,2\n" * 100, mtime=0)[:20], "must be a whole gzip file"),
        (gzip.compress(b"", mtime=0), "must begin with a heading"),
        (gzip.compress(b"a,a\n", mtime=0), "must begin with a heading"),
        (gzip.compress(b"op,device,dims\n", mtime=0), "must have the column 'latency_ms'"),
        (
            gzip.compress(b'op,device,dims,latency_ms\n"' + b"x" * 200_000, mtime=0),
            "must be a CSV file",
        ),
    ],
)
def test_files_that_are_damaged_as_a_whole(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "neusight").mkdir()
    (tmp_path / "neusight" / "operators.csv.gz").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_public(tmp_path)


def test_folders_without_tables(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such folder"):
        read_public(tmp_path / "absent")
    with pytest.raises(ValueError, match="must hold public tables"):
        read_public(tmp_path)
    write(tmp_path, "tinynas", TABLES["tinynas"])
    with pytest.raises(ValueError, match=r"no table in .* is called 'tinyna'; did you mean"):
        read_public(tmp_path, ["tinyna"])
    with pytest.raises(FileNotFoundError, match=r"latencies\.csv"):
        read_table("ncnn", tmp_path)


def test_copies_of_another_device_are_left_out_and_one_chip(tmp_path: Path) -> None:
    head, *_ = TABLES["ai_hub"]["latencies.csv.gz"].splitlines()
    line = "m{n},c,float,{device},onnx,{ms},1,2,NPU,1,1,,,"
    devices = (("QCS8275 (Proxy)", 1.0), ("SA7255P ADP", 1.0), ("Samsung Galaxy S24", 0.5))
    rows = [line.format(n=n, device=d, ms=f * (n + 1)) for n in range(30) for d, f in devices]
    place = write(tmp_path, "ai_hub", {"latencies.csv.gz": "\n".join([head, *rows])})
    (table,) = read_public(place)
    (dropped,) = table.dropped
    assert (dropped.kind, dropped.count) == ("copied", 30)
    assert dropped.examples[0]["device"] == "QCS8275 (Proxy)"
    assert table.frame["chip"].n_unique() == 2


@pytest.mark.parametrize(("slow", "left"), [(4.0, 0), (1.5, 50)])
def test_a_file_of_a_card_whose_clock_was_held_down_is_left_out(
    tmp_path: Path, slow: float, left: int
) -> None:
    """Twenty large products tell, and the operator's smaller ones leave with them."""
    shapes = [*((4096 + n, 8192) for n in range(25)), *((8 + n, 8) for n in range(25))]
    lines = [(f"B=1 M={m} N={n} K={n}", m * n * n / 1e12) for m, n in shapes]
    files = {
        f"{name}.csv.gz": "\n".join(
            ["op,device,dims,latency_ms", *(f"linear,Tesla P4,{d},{by * ms}" for d, ms in lines)]
        )
        for name, by in (("operators", slow), ("operators-test-known-gpus", 1.0))
    }
    (table,) = read_public(write(tmp_path, "neusight", files))
    assert len(table.frame) == 50 + left
    assert [(d.kind, d.count) for d in table.dropped] == [("held-down", 50)] * (left == 0)


def test_a_run_of_a_lost_gpu_is_left_out(tmp_path: Path) -> None:
    head = TABLES["ncnn"]["latencies.csv"].splitlines()[0]
    runs = {-1: np.arange(1, 13) * 10.0, 0: 20.0 / np.arange(1, 13), 1: np.arange(1, 13) * 1.0}
    rows = [
        f"RK3588 board,1,0,{gpu},8,,net{n},{ms},{ms},{ms}"
        for gpu, times in runs.items()
        for n, ms in enumerate(times)
    ]
    (table,) = read_public(write(tmp_path, "ncnn", {"latencies.csv": "\n".join([head, *rows])}))
    assert [(d.kind, d.count) for d in table.dropped] == [("empty-run", 12)]
    assert table.frame["gpu_device"].unique().sort().to_list() == [-1, 1]


def test_scatter_is_the_deviation_that_such_a_range_comes_of() -> None:
    rng = np.random.default_rng(0)
    for loops in (2, 8, 64):
        ranges = np.ptp(rng.normal(size=(20_000, loops)), axis=1)
        assert expected_range(loops) == pytest.approx(ranges.mean(), rel=0.02)


def test_scatter_of_unknown_deviation_is_null(tmp_path: Path) -> None:
    text = TABLES["ncnn"]["latencies.csv"].replace("-1,10,", "-1,1,")
    (table,) = read_public(write(tmp_path, "ncnn", {"latencies.csv": text}))
    of_one = table.frame.filter(loops=1)["scatter"]
    assert (len(of_one), of_one.null_count()) == (1, 1)
    assert table.frame.filter(pl.col("loops") > 1)["scatter"].min() > 0  # type: ignore[operator]


def test_files_beside_the_latencies(folder: Path) -> None:
    ncnn = read_table("ncnn", folder / "public" / "ncnn")
    assert sorted(ncnn.network_files) == [
        "ncnn:mobilenet_yolo",
        "ncnn:squeezenet",
        "ncnn:squeezenet_int8",
    ]
    (row,) = read_imagenet(folder / "public" / "timm").rows(named=True)
    assert (row["network"], row["top1"], row["params_m"]) == ("timm:vit_large@448", 85.5, 1014.45)


HEADINGS = [
    ("Kirin 970 (Cortex-A73 2.4GHz x 4 + Cortex-A53 1.8GHz x 4 + Mali-G72)", "kirin-970", ()),
    ("Station-M3/ROC-RK3588S-PC, Rockchip RK3588S (Quad Core A76 2.4GHz)", "rk3588", ()),
    ("OrangePi5 Plus, Rockchip RK3588 (Quad Core A76 2.4GHz)", "rk3588", ()),
    ("Qualcomm SM8150-AC Snapdragon 855+ (Kyro485 2.96 GHz + Adreno 640)", "sm8150", ()),
    ("MacBook Pro (13-inch, M1, 2020)", "apple-m1", ()),
    ("Banana Pi M2 Zero 2 AllWinner H2+, Cortex-A7", "h2", ()),
    ("nVIDIA RTX2060 of Notebook", "rtx-2060-laptop", ("rtx-2060-laptop",)),
    ("NVIDIA_A100-PCIE-40GB", "a100", ("a100",)),
    ("NVIDIA A100 80GB PCIe", "a100", ("a100",)),
    ("Intel® Core™ i7-13700K of Desktop[2023-10-12]", "core-i7-13700k", ()),
    ("MacBook Pro (15-inch) - 2.6GHz six cores Intel Core i7 && Radeon Pro 555X 4GB", "macbook-pro",
     ("radeon-pro-555x",)),
    ("Huawei P40 Pro (Kirin 990 5G) HiSilicon Hi3690", "kirin-990", ()),
    ("MT6765 Helio P35 (Cortex-A53 2.3GHz x 4)", "mt6765", ()),
    ("NVIDIA GeForce RTX 2080Ti", "rtx-2080-ti", ("rtx-2080-ti",)),
    ("A board that nobody knows (9 cores)", "a-board-that-nobody-knows", ()),
    ("", "unknown", ()),
    ("(((™", "unknown", ()),
]  # fmt: skip


@pytest.mark.parametrize(("text", "chip", "cards"), HEADINGS)
def test_headings(text: str, chip: str, cards: tuple[str, ...]) -> None:
    machine = parse_heading(text)
    assert (machine.chip, machine.cards) == (chip, cards)


# Table, heading, part and which of several, the device and the chip.
MACHINES = [
    ("ncnn", VM.strip('"'), "cpu", 0, "core-i7-11800h", "core-i7-11800h"),
    ("ncnn", VM.strip('"'), "gpu", 0, "rtx-3070-laptop", "rtx-3070"),
    ("ncnn", VM.strip('"'), "gpu", 1, "uhd-xe-32", "core-i7-11800h"),
    ("ncnn", "nVIDIA RTX A3000 of Notebook (6GB)", "gpu", 1, "rtx-a3000-laptop",
     "rtx-a3000-laptop"),
    ("ncnn", "A board, Rockchip RK9999 (Cortex-A55 1.8GHz x 4)", "cpu", 0, "rk9999", "rk9999"),
    ("ncnn", "Another, Rockchip RK9999S (Cortex-A55 1.7GHz x 4)", "cpu", 0, "rk9999", "rk9999"),
    ("ncnn", "Intel Core i7-4790 (4 cores)", "cpu", 0, "core-i7-4790", "core-i7-4790"),
    ("timm", "v100_32", "gpu", 0, "tesla-v100", "tesla-v100"),
    ("timm", "4090", "gpu", 0, "rtx-4090", "rtx-4090"),
    ("ai_hub", "Something new", "npu", 0, "something-new", "something-new"),
]  # fmt: skip


@pytest.mark.parametrize(("table", "heading", "part", "index", "device", "chip"), MACHINES)
def test_machines(table: str, heading: str, part: str, index: int, device: str, chip: str) -> None:
    assert identify(table, heading, part, index)[:2] == (device, chip)


def test_a_heading_that_the_catalogue_lacks_tells_its_cores(tmp_path: Path) -> None:
    text = TABLES["ncnn"]["latencies.csv"].replace("BCM2711B0", "RK9999").replace("Pi 4", "Pi")
    (table,) = read_public(write(tmp_path, "ncnn", {"latencies.csv": text}))
    row = table.frame.row(0, named=True)
    assert row["chip"] == "rk9999"
    assert [(c.core, c.count) for c in table.devices[row["machine"]].clusters] == [
        ("cortex-a72", 4)
    ]


@given(st.text(max_size=60))
def test_no_heading_is_refused(text: str) -> None:
    assert parse_heading(text).chip


# Table -> rows, rows that are left out by reason, distinct networks.
REAL: dict[str, tuple[int, dict[str, int], int]] = {
    "ncnn": (5_192, {"int8-on-gpu": 182, "empty-run": 22}, 23),
    "timm": (17_417, {"failed": 2}, 1_470),
    "ai_hub": (4_366, {"copied": 349}, 154),
    "neusight": (219_604, {"held-down": 6_423}, 45_377),
    "tinynas": (70_507, {"failed": 1_995}, 28_771),
}
# What their own page says of them, which the audit must find.
FOUND = {
    "ncnn": ["throttled", "several-machines", "setting-in-words", "few-passes", "erratic",
             "no-gpu"],
    "timm": ["shrinking-batch", "no-counts", "one-chip", "versions", "launch-bound"],
    "ai_hub": ["memory-range", "stand-ins", "copied", "mixed-units"],
    "neusight": ["launch-floor", "one-chip", "repeats"],
    "tinynas": ["failed", "padded"],
}  # fmt: skip


@pytest.fixture(scope="module")
def tables(shared: Path) -> list[PublicTable]:
    return list(read_public(shared))


@pytest.mark.slow
def test_the_public_tables(tables: list[PublicTable], shared: Path) -> None:
    for table in tables:
        rows, dropped, networks = REAL[table.name]
        check(table)
        assert table.rows == rows
        assert {each.kind: each.count for each in table.dropped} == dropped
        assert table.frame["network"].n_unique() == networks
    for audited in TablesAudit.of(shared).tables:
        assert set(FOUND[audited.table]) <= {issue.kind for issue in audited.issues}


@pytest.mark.slow
def test_chips_that_confirm_are_a_fifth_of_each_table_by_their_names(
    tables: list[PublicTable],
) -> None:
    found = set()
    for table in tables:
        chips = table.frame["chip"].unique().to_list()
        if len(chips) > 1:
            chips.sort(key=lambda chip: sha256(chip.encode()).hexdigest())
            found |= set(chips[: -(-len(chips) // 5)])
    assert found == CONFIRMING_CHIPS
