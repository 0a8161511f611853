"""Every reader on real files and on hostile ones."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latcast import _limits
from latcast.data import ofa_lookup_table, ofanas, read
from latcast.devices import Target
from latcast.spaces import space

REAL = Path(__file__).parents[3] / "shared" / "data"
SPACE = space("ofa-mobilenet-v3")
ITEMS = SPACE.format(SPACE.sample(3, 0))
NAME = "RTX_2080_Ti_GPU_ofa.csv"
CANARY = "canary"  # what code in data would touch: see the fixture no_code_runs


def real(*parts: str) -> Path:
    path = REAL.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"needs the public data: {'/'.join(parts)}")
    return path


def paper_csv(folder: Path, cells: list[str], latencies: list[str], name: str = NAME) -> Path:
    path = folder / name
    pl.DataFrame({"child_arch": cells, "latency": latencies}).write_csv(path)
    return path


# -- the paper's CSV ------------------------------------------------------------------------


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "space_name", "target", "distinct"),
    [
        ("note10_lookuptable_ofa", "ofa-mobilenet-v3", "samsung-note10/lookup-table/b1", 10_000),
        ("Tesla_P40_GPU_ofa", "ofa-mobilenet-v3", "tesla-p40/pytorch/b64", 10_000),
        ("Intel_Xeon_CPU_fixedkernelcompofa", "compofa-fixed-kernel", "intel-xeon/pytorch/b64",
         1_215),
    ],
)  # fmt: skip
def test_the_papers_files(name: str, space_name: str, target: str, distinct: int) -> None:
    data = read(real("ofanas", "datasets", f"{name}.csv"))
    assert len(data) == 10_000
    assert data.archs.space.name == space_name
    assert str(data.target) == target
    assert len(data.archs.unique()) == distinct
    data.check_values()


def test_python_and_json_dicts_are_the_same(tmp_path: Path) -> None:
    cells = [repr({"wid": None, **ITEMS[0]}), json.dumps({"wid": None, **ITEMS[1]})]
    data = read(paper_csv(tmp_path, cells, ["1.5", " 2 "]))
    assert data.archs.to_dicts() == ITEMS[:2]
    np.testing.assert_array_equal(data.latency_ms, [1.5, 2])


def test_other_names_need_space_and_target(tmp_path: Path) -> None:
    path = paper_csv(tmp_path, [repr(ITEMS[0])], ["1"], "mine.csv")
    with pytest.raises(ValueError, match="give --space and --target"):
        read(path)
    data = read(path, space="ofa-mobilenet-v3", target="a/b/b3")
    assert data.target == Target("a", "b", batch=3)
    # Anybody's table can have the paper's columns.
    assert dict(data.provenance) == {"source": "mine.csv", "licence": "unknown"}
    assert "OFANAS" in read(paper_csv(tmp_path, [repr(ITEMS[0])], ["1"])).provenance["source"]


@pytest.mark.usefixtures("no_code_runs")
@pytest.mark.parametrize(
    "cell",
    [
        f"__import__('os').system('touch {CANARY}')",
        f"{{'ks': __import__('os').system('touch {CANARY}')}}",
        f"{{'ks': [3], 'r': [open('{CANARY}', 'w')]}}",
        "{'ks': [3]*10**9}",
        "{'ks': [(lambda: 3)()]}",
        "[" * 1_999,
        "{'ks': [" * 200,
        "{'ks': [3",
        "",
        "nan",
        "{'ks': [1e9]}",
        "{" + " " * 3_000 + "}",
        "{'r': [" + "9" * 1_900 + "]}",
        "{'ks': [-3]}",
        "7",
        "[]",
        "{}",
        repr({**ITEMS[0], "ks": ITEMS[0]["ks"][:19]}),
        repr({**ITEMS[0], "d": [2] * 6}),
        repr({**ITEMS[0], "r": [480]}),
        repr({**ITEMS[0], "r": [225]}),
        repr({"wid": 1, **ITEMS[0]}),
    ],
)
def test_cells_that_are_no_architecture_are_refused(tmp_path: Path, cell: str) -> None:
    with pytest.raises(ValueError, match=r"row 1|architecture 1"):
        read(paper_csv(tmp_path, [repr(ITEMS[0]), cell], ["1", "2"]))


@given(st.text(max_size=200) | st.text("{}[]:,'0123456789 ksedr", max_size=200))
def test_any_text_is_parsed_or_refused(cell: str) -> None:
    try:
        ofanas.parse_cell(cell, "row 0")
    except ValueError as error:
        assert str(error).startswith("row 0")  # noqa: PT017  # reading is fine as well


@pytest.mark.parametrize("text", ["NaN", "nan", "inf", "-inf"])
def test_latencies_that_are_no_numbers_are_kept_for_the_audit(tmp_path: Path, text: str) -> None:
    data = read(paper_csv(tmp_path, [repr(i) for i in ITEMS[:2]], ["1", text]))
    assert not np.isfinite(data.latency_ms[1])
    assert len(data.valid()) == 1


@pytest.mark.parametrize("text", ["", "fast", "1,5", "0x10", "1 2", "3ms"])
def test_latencies_that_are_text_are_named(tmp_path: Path, text: str) -> None:
    with pytest.raises(ValueError, match="row 1: latency must be a number; got"):
        read(paper_csv(tmp_path, [repr(i) for i in ITEMS[:2]], ["1", text]))


def test_a_subspace_refuses_what_is_not_in_it(tmp_path: Path) -> None:
    path = paper_csv(tmp_path, [repr(ITEMS[0])], ["1"], "RTX_2080_Ti_GPU_fixedkernelcompofa.csv")
    with pytest.raises(ValueError, match="architecture 0 is not in compofa-fixed-kernel"):
        read(path)


# -- CSV of the user's own ------------------------------------------------------------------


def gene_columns() -> dict[str, list[int]]:
    genes = SPACE.sample(3, 0).genes
    return {gene.name: genes[:, i].tolist() for i, gene in enumerate(SPACE.genes)}


def user_csv(folder: Path, **columns: Any) -> Path:
    path = folder / "mine.csv"
    frame = pl.DataFrame({**gene_columns(), "latency_ms": [1.0, 2.0, 3.0]})
    frame.with_columns(**columns).write_csv(path)
    return path


def test_genes_in_columns_and_a_target_in_columns(tmp_path: Path) -> None:
    target = {"device": "my-phone", "runtime": "onnxruntime", "batch": 4, "threads": 2,
              "precision": "fp16"}  # fmt: skip
    columns = {name: pl.lit(value) for name, value in target.items()}
    path = user_csv(tmp_path, order=pl.Series([2, 0, 1]), **columns)
    data = read(path, space="ofa-mobilenet-v3")
    assert data.archs.to_dicts() == ITEMS
    assert data.target == Target("my-phone", "onnxruntime", 4, "fp16", 2)
    assert data.order.tolist() == [2, 0, 1]


@pytest.mark.parametrize(
    "name", ["ofa-mobilenet-v3", "nasbench201", "fbnet", "ofa-proxyless", "ofa-resnet50"]
)
def test_architectures_in_one_column(tmp_path: Path, name: str) -> None:
    path = tmp_path / "mine.csv"
    items = space(name).sample(3, 0).to_dicts()
    cells = [[json.dumps(x) for x in items]]
    if name == "nasbench201":
        cells.append([x["arch"] for x in items])
    for column in cells:
        pl.DataFrame({"arch": column, "latency_ms": [1, 2, 3]}).write_csv(path)
        assert read(path, space=name, target="a/b").archs.to_dicts() == items
    pl.DataFrame({"arch": [cells[0][0], "|none~0|"], "latency_ms": [1, 2]}).write_csv(path)
    with pytest.raises(ValueError, match=r"mine\.csv, row 1 must be a (string|dict)"):
        read(path, space=name, target="a/b")


def test_genes_that_are_no_choice_name_file_and_row(tmp_path: Path) -> None:
    path, the_space = tmp_path / "mine.csv", space("nasbench201")
    genes = the_space.sample(3, 0).genes.astype(int)
    genes[2, 0] = 9
    columns = {g.name: genes[:, n] for n, g in enumerate(the_space.genes)}
    pl.DataFrame({**columns, "latency_ms": [1, 2, 3]}).write_csv(path)
    with pytest.raises(ValueError, match=r"mine\.csv, row 2: .* must be one of .*; got 9"):
        read(path, space=the_space, target="a/b")


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"r": pl.lit(480)}, "row 0: r must be one of the gene's choices; got 480"),
        ({"r": pl.lit(-32)}, "row 0: r must be one of the gene's choices; got -32"),
        ({"r": pl.lit("big")}, "row 0: r must be an integer; got 'big'"),
        ({"ks1": pl.lit(4)}, "ks1 must be one of 3, 5, 7; got 4"),
        ({"order": pl.lit("first")}, "order must be an integer"),
        ({"latency_ms": pl.lit("x")}, "latency_ms must be a number"),
        ({"device": pl.Series(["a", "a", "b"]), "runtime": pl.lit("c")}, "mixes device 'a' and"),
        ({"device": pl.lit("A B"), "runtime": pl.lit("c")}, "device must be lower-case"),
        ({"device": pl.lit("a")}, "no columns 'device' and 'runtime'"),
    ],
)
def test_bad_columns_are_named(tmp_path: Path, columns: Any, message: str) -> None:
    target = None if "device" in columns else "a/b"
    with pytest.raises(ValueError, match=message):
        read(user_csv(tmp_path, **columns), space="ofa-mobilenet-v3", target=target)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "must be a CSV file"),
        (b"latency_ms,arch\n", "holds no rows"),
        (b"latency,arch\n1,2\n", "'latency' does not tell its unit"),
        (b"time,arch\n1,2\n", "lacks the column 'latency_ms'"),
        (b"latency_ms\n1\n", "must have a column 'arch', or one per gene"),
        (b'latency_ms,arch\n1,"\xff\xfe"\n', "must be a CSV file"),
        (b"latency_ms,arch\n1,2,3\n", "must be a CSV file"),
        (b'latency_ms,arch\n1,"{\n', r"must be a CSV file|row 0"),
        (b"\x00" * 100, "lacks the column|holds no rows|must be a CSV"),
    ],
)
def test_damaged_csv_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "mine.csv"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read(path, space="ofa-mobilenet-v3", target="a/b")


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_column_per_key_of_a_dict(tmp_path: Path, separator: str) -> None:
    """What a frame of Once-For-All's dicts is written as, by spreadsheets of any country."""
    path = tmp_path / "mine.csv"
    frame = pl.DataFrame({**{k: [json.dumps(i[k]) for i in ITEMS] for k in ITEMS[0]}})
    frame = frame.with_columns(latency_ms=pl.Series([1.0, 2.0, 3.0]))
    frame.write_csv(path, separator=separator, quote_style="necessary")
    data = read(path, space="ofa-mobilenet-v3", target="a/b")
    assert data.archs.to_dicts() == ITEMS
    assert data.values.tolist() == [1.0, 2.0, 3.0]
    frame.with_columns(r=pl.lit("[1]")).write_csv(path, separator=separator)
    with pytest.raises(ValueError, match=r"mine\.csv, row 0: r must be"):
        read(path, space="ofa-mobilenet-v3", target="a/b")


def test_names_and_formats_that_are_not_known(tmp_path: Path) -> None:
    path = user_csv(tmp_path)
    with pytest.raises(ValueError, match="did you mean 'ofa-mobilenet-v3'"):
        read(path, space="ofa-mobilenetv3", target="a/b")
    with pytest.raises(ValueError, match=r"give --space \(in Python, space="):
        read(path, target="a/b")
    with pytest.raises(ValueError, match="a target must be written"):
        read(path, space="ofa-mobilenet-v3", target="phone")
    with pytest.raises(ValueError, match="no format is called 'cvs'"):
        read(path, format="cvs")
    with pytest.raises(ValueError, match=r"not known by its suffix.* give --input-format"):
        read(path.rename(tmp_path / "mine.txt"))
    with pytest.raises(FileNotFoundError):
        read(tmp_path)


# -- OFA's lookup tables --------------------------------------------------------------------


SYSTEM = f"!!python/object/apply:os.system ['touch {CANARY}']"


def table(folder: Path, text: str, name: str = "160_lookup_table.yaml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


@pytest.mark.data
def test_ofas_tables_cover_the_blocks_of_the_space() -> None:
    values = ofa_lookup_table.read(real("ofanas", "lookup_tables"))
    at_160 = {k for k in SPACE.block_table.keys if k.startswith("160/")}
    assert at_160 <= set(values)
    assert all(np.isfinite(v) and v > 0 for v in values.values())


def test_a_file_and_a_folder(tmp_path: Path) -> None:
    one = table(tmp_path, "a:\n  count: 3\n  mean: 1.5\n  std: 0\n'b c': {mean: 2}\n")
    table(tmp_path, "a: {mean: 3}\n", "224_lookup_table.yaml")
    (tmp_path / "README.md").write_text("not a table")
    assert ofa_lookup_table.read(one) == {"160/a": 1.5, "160/b c": 2.0}
    assert ofa_lookup_table.read(tmp_path)["224/a"] == 3.0


@pytest.mark.usefixtures("no_code_runs")
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no blocks"),
        ("{}", "holds no blocks"),
        ("a: 1\n", "must map block keys"),
        ("- a\n", "must map block keys"),
        ("a: [1, 2]\n", "must map block keys"),
        ("a: {mean: {x: 1}}\n", "must map block keys"),
        ("a: {mean: [1]}\n", "must map block keys"),
        ("{a: 1}: {mean: 1}\n", "must map block keys"),
        ("a: {count: 1}\n", "must have a 'mean' in ms; got None"),
        ("a: {mean: fast}\n", "must have a 'mean' in ms; got 'fast'"),
        ("a: {mean: .nan}\n", "must have a 'mean'"),
        ("a: {mean: nan}\n", "must be finite and positive; got nan"),
        ("a: {mean: 0}\n", "must be finite and positive; got 0"),
        ("a: {mean: -1}\n", "must be finite and positive"),
        ("a: {mean: 1e999}\n", "must be finite and positive; got inf"),
        ("a: {mean: 1\n", "must be YAML"),
        ("a: &x {mean: 1}\nb: *x\n", "must map block keys"),
        ("\x01", "must be YAML"),
        ("[" * 50_000, "must be YAML|must map block keys"),
        ("{" * 50_000, "must be YAML|must map block keys"),
        ("a: {b: " * 10_000, "must be YAML|must map block keys"),
        (f"{SYSTEM}\n", "must map block keys"),
        (f"a: {{mean: {SYSTEM}}}\n", "must map block keys"),
    ],
)
def test_hostile_yaml_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ofa_lookup_table.read(table(tmp_path, text))


def test_yaml_that_grows_is_refused_unread(tmp_path: Path) -> None:
    levels = ["a0: &a0 {mean: 1}"] + [
        f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)
    ]
    with pytest.raises(ValueError, match="no aliases"):
        ofa_lookup_table.read(table(tmp_path, "\n".join(levels)))
    path = table(tmp_path, "a: {mean: 1}\n")
    os.truncate(path, _limits.MAX_LOOKUP_TABLE_BYTES + 1)
    with pytest.raises(ValueError, match="must have at most"):
        ofa_lookup_table.read(path)


def test_other_names_and_no_folder(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none", table(tmp_path, "a: {mean: 1}", "table.yaml")):
        with pytest.raises(FileNotFoundError, match=r"RESOLUTION_lookup_table\.yaml"):
            ofa_lookup_table.read(path)


CELL = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|none~0|none~1|none~2|"


def own_table(path: Path, header: str, *rows: str) -> Path:
    path.write_text("\n".join([header, *(f"{CELL},{row}" for row in rows)]) + "\n")
    return path


def test_columns_may_be_called_otherwise(tmp_path: Path, latcast: Any) -> None:
    path = own_table(tmp_path / "mine.csv", "cell,mean_s,latency_ms", "0.005,9", "0.006,9")
    options: Any = {"space": "nasbench201", "target": "a/b/b1"}
    columns = {"arch": "cell", "latency": "mean_s"}
    own = path.with_name("own.csv")
    own.write_text(path.read_text().replace("latency_ms", "other"))
    assert read(own, unit="s", columns=columns, **options).latency_ms.tolist() == [5.0, 6.0]
    # One that is called as ours, and is not meant, is left.
    columns = {"arch": "cell", "latency_ms": "mean_s"}
    assert read(path, columns=columns, **options).latency_ms.tolist() == [0.005, 0.006]
    with pytest.raises(ValueError, match="has no column 'x', which is to be arch; it has cell, "):
        read(path, columns={"arch": "x"}, **options)
    with pytest.raises(ValueError, match="columns are named of a CSV file of your own"):
        read(path, columns=columns, format="ofanas", **options)
    asked = ("audit", own, "--space", "nasbench201", "--target", "a/b/b1")
    told = latcast.error(*asked, code=1)
    assert "--column latency_ms=NAME" in told
    named = ("--column", "arch=cell", "--column", "latency=mean_s", "--unit", "s")
    assert latcast.json(*asked, *named)["issues"] is not None
    for wrong in ("cell", "nothing=cell", "arch="):
        assert "--column must be OURS=YOURS" in latcast.error(*asked, "--column", wrong, code=2)


def test_deviations_and_numbers_tell_how_well_a_mean_is_known(tmp_path: Path) -> None:
    options: Any = {"space": "nasbench201", "target": "a/b/b1"}
    path = own_table(tmp_path / "m.csv", "arch,latency_ms,std,n", "10,3,9", "10,0.3,9", "10,3,900")
    data = read(path, **options)
    assert data.standard_error is not None
    assert data.standard_error.tolist() == pytest.approx([0.1, 0.01, 0.01])
    assert data.unstable.tolist() == [True, False, False]
    alone = own_table(tmp_path / "n.csv", "arch,latency_ms,std", "10,3")
    assert read(alone, **options).standard_error == pytest.approx([0.3])  # of one pass
    number = own_table(tmp_path / "k.csv", "arch,latency_ms,k", "10,3")
    assert read(number, **options).standard_error is None
    for columns, told in (
        ({"n": "k"}, "is told in no column 'std'"),
        ({"energy_mj": "k"}, "read for"),
    ):
        with pytest.raises(ValueError, match=told):
            read(number, columns=columns, **options)
    for cells, told in (("10,-1,9", "row 0: std must be at least 0"), ("10,1,0", "row 0: n must")):
        wrong = own_table(tmp_path / "w.csv", "arch,latency_ms,std,n", cells)
        with pytest.raises(ValueError, match=told):
            read(wrong, **options)
