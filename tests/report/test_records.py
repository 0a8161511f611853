"""Records and tables: what every result of a command is made of."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from latcast.models.evaluation import ScoredRow
from latcast.report import charts, record, table
from latcast.report.axis import Axis
from latcast.report.figure import Figure, Guide, Series
from latcast.report.formats import pieces
from latcast.report.markup import breaks
from latcast.report.plot import draw
from latcast.report.record import Record, described
from latcast.report.table import Column, LazyRows, Table, lazy, numbered
from latcast.report.text import interval_column, shared_notes

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Inner:
    """A row.

    Attributes:
        name: of the row.
        ms: milliseconds, of several
            targets a list.
        costs: what it costs.
    """

    name: str
    ms: float | list[float] | None
    costs: Mapping[str, int]


@dataclass(frozen=True)
class Outer:
    """Rows of a target.

    Attributes:
        target: as :class:`latcast.devices.Target` writes it.
        rows: an entry each.
    """

    target: str
    rows: tuple[Inner, ...]


@dataclass(frozen=True, repr=False)
class Example(Record):
    """What was found.

    Attributes:
        seed: of ``everything``.
        targets: an entry each.
    """

    schema = "example"
    version = 3
    frame = "targets.rows"

    seed: int
    targets: tuple[Outer, ...]

    def parts(self) -> Iterator[Table | str]:
        columns = (
            Column("row", "name"),
            Column("ms", "ms", ".1f"),
            Column("M", "costs.macs", "g", 1e-6),
        )
        for outer in self.targets:
            yield Table(columns, outer.rows, outer.target)
        yield "that is all"


ROWS = (Inner("a", 1.25, {"macs": 2_000_000}), Inner("<b>", float("nan"), {"macs": 5}))
EXAMPLE = Example(7, (Outer("x/y/b1", ROWS), Outer("z/y/b1", ROWS[:1])))


def test_lazy_rows_are_shown_as_others_are(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["a", "-1 ms", "some longer text", "9", "–", ""]
    rows = [
        Inner(texts[n % 6], [n / 7, None] if n % 5 else n * 1e3, {"macs": n}) for n in range(23)
    ]
    calls = []

    def make(part: slice) -> list[Inner]:
        calls.append(part.stop - part.start)
        return rows[part]

    whole = Example(1, (Outer("x/y/b1", tuple(rows)), Outer("z", tuple(rows[:1]))))
    monkeypatch.setattr(table, "AT_ONCE", 5)
    parts = Example(1, (Outer("x/y/b1", lazy(23, make)), Outer("z", lazy(1, make))))  # type: ignore[arg-type]
    assert isinstance(parts.targets[0].rows, LazyRows)
    assert isinstance(parts.targets[1].rows, tuple)
    assert (
        parts.to_json()
        == whole.to_json()
        == json.dumps(whole.to_dict(), indent=2, ensure_ascii=False)
    )
    assert parts.to_dict() == whole.to_dict()
    assert parts.to_text() == whole.to_text()
    assert max(calls) <= 5
    found = numbered(parts.targets[0].rows)
    assert (found[22], found[-1][0], len(list(found))) == ((22, rows[22]), 22, 23)


def test_a_number_that_no_float_holds_is_shown() -> None:
    assert Column("M", "macs", ",.2f", 1e-6).cell({"macs": 10**400}) == "> 1e308"


def test_json_names_its_shape_and_has_no_nan() -> None:
    found = json.loads(EXAMPLE.to_json())
    assert (found["schema"], found["version"], found["seed"]) == ("latcast/example", 3, 7)
    assert found["targets"][0]["rows"][1] == {"name": "<b>", "ms": None, "costs": {"macs": 5}}


def test_a_frame_has_a_row_for_each_of_the_innermost() -> None:
    frame = EXAMPLE.to_polars()
    assert frame.columns == ["target", "name", "ms", "costs.macs"]
    assert frame["target"].to_list() == ["x/y/b1", "x/y/b1", "z/y/b1"]
    assert frame["costs.macs"].to_list() == [2_000_000, 5, 2_000_000]


def test_text_html_and_repr() -> None:
    lines = EXAMPLE.to_text().splitlines()
    assert lines[0] == "x/y/b1"
    assert lines[1].split() == ["row", "ms", "M"]
    assert lines[3].split() == ["a", "1.2", "2"]
    assert lines[4].split() == ["<b>", "–", "5e-06"]
    assert lines[-2:] == ["", "that is all"]
    assert all(line == line.rstrip() for line in lines)
    assert '<td>&lt;b&gt;</td><td class="number">–</td>' in EXAMPLE._repr_html_()
    assert repr(EXAMPLE) == "Example(seed=7, 2 targets)"
    assert repr(Example(7, EXAMPLE.targets[:1])) == "Example(seed=7, 1 target)"
    assert repr(Drawn((1,))) == "<Drawn: The answer is <b>.>"


def test_columns_of_which_nothing_is_known_are_left_out() -> None:
    columns = [Column(name, name) for name in "abc"]
    table = Table(columns, [{"b": 1}, {"b": 2}, {"c": 3}])
    assert [c.label for c in table.known_columns().columns] == ["b", "c"]
    assert [c.label for c in table.known_columns(2).columns] == ["b"]
    for rows in ([], [{}]):
        assert Table(columns, rows).known_columns().columns == columns


def test_a_repr_makes_no_lazy_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "AT_ONCE", 1)
    monkeypatch.setattr(Example, "answer", lambda self: self.targets[0].rows[0].name)
    rows = lazy(2, lambda part: pytest.fail("rows are made"))
    assert repr(Example(7, (Outer("x", rows),))) == "Example(seed=7, 1 target)"  # type: ignore[arg-type]
    assert repr(EXAMPLE) == "<Example: a>"


def test_keys_are_described_once() -> None:
    assert dict(described(Example)) == {
        "seed": "of `everything`.",
        "targets": "an entry each.",
        "targets[].target": "as `latcast.devices.Target` writes it.",
        "targets[].rows": "an entry each.",
        "targets[].rows[].name": "of the row.",
        "targets[].rows[].ms": "milliseconds, of several targets a list.",
        "targets[].rows[].costs": "what it costs.",
    }


@pytest.mark.parametrize(
    ("column", "row", "text"),
    [
        (Column("", "a", ".0f", 100), {"a": 0.5}, "50"),
        (Column("", "a.b"), {"a": {"b": True}}, "yes"),
        (Column("", "a.b"), {"a": None}, "–"),
        (Column("", "a", ".1f"), {"a": [1.0, None, 2.25]}, "1.0 / – / 2.2"),
        (Column("", "a", "g"), {"a": np.array([1.0, np.inf])}, "1 / –"),
        (Column("", lambda row: row * 2), "x", "xx"),
    ],
)
def test_cells(column: Column, row: object, text: str) -> None:
    assert column.cell(row) == text


def test_rows_go_to_other_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    pandas, pyarrow = pytest.importorskip("pandas"), pytest.importorskip("pyarrow")
    frame = EXAMPLE.to_polars()
    assert pl.DataFrame(EXAMPLE).equals(frame)  # by Arrow's PyCapsule interface
    assert pyarrow.table(EXAMPLE).to_pylist() == frame.to_dicts()
    assert EXAMPLE.to_arrow().to_pylist() == frame.to_dicts()
    assert isinstance(EXAMPLE.to_pandas(), pandas.DataFrame)
    assert EXAMPLE.to_pandas()["name"].to_list() == frame["name"].to_list()
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    for call in (EXAMPLE.to_arrow, EXAMPLE.to_pandas):
        with pytest.raises(ModuleNotFoundError, match=r"pip install 'latcast\[pandas\]'"):
            call()


# --- as printed -------------------------------------------------------------------------------

WIDE = Table(
    (
        Column("network", "name"),
        Column("ms", "ms", ".1f", detail=0),
        Column("what it is", "what"),
        Column("MACs (M)", "macs", ",.1f", 1e-6, detail=2),
        interval_column(0.9, ".1f", lambda row: SimpleNamespace(**row)),
        Column("kind", "kind"),
    ),
    [
        {"name": "features.0/conv_1", "ms": 1.25, "what": "a first, quite long text|", "kind": "a",
         "macs": 1_234_567_890, "lower_ms": 1.0, "upper_ms": 12345.5},
        {"name": "x", "ms": None, "what": "<b>", "macs": 5, "kind": 'b"', "lower_ms": None,
         "upper_ms": None},
    ],
    "two networks",
)  # fmt: skip


@pytest.mark.parametrize("limit", [30, 50, 60, 70, 85, 86, 100])
def test_a_table_fits_the_terminal_and_says_what_is_left_out(limit: int) -> None:
    whole, fitted = WIDE.to_text(), "".join(WIDE.pieces(limit))
    assert max(map(len, whole.splitlines())) == 86
    if limit >= 86:
        assert fitted == whole
        return
    lines = fitted.splitlines()
    told = " ".join(line.strip() for line in lines[5:])
    del lines[5:]
    heads = [c for c in WIDE.columns if c.label in lines[1]]
    assert "(--wide shows all)" in told
    assert {c.label for c in WIDE.columns if c not in heads} == {
        c.label for c in WIDE.columns[1:] if c.label in told.split("; ")[0]
    }
    assert ("texts are shortened" in told) == ("…" in fitted)
    # Numbers are whole, and names, which users copy.
    assert all(text in fitted for text in ("1.0 – 12345.5", " 1.2 "))
    assert ("1,234.6" in fitted) == ("MACs" in lines[1])
    assert "features.0/conv_1" in fitted
    # Numbers are never cut: below that the table is wider than the terminal.
    assert max(map(len, lines)) <= max(limit, 46)
    assert max(map(len, fitted.splitlines()[5:])) <= max(limit, 46)


def test_a_name_keeps_both_ends_and_prose_its_beginning() -> None:
    table = Table((Column("n", "n"), Column("t", "t")), [{"n": "ab" * 30, "t": "some text " * 9}])
    row = "".join(table.pieces(50)).splitlines()[2]
    assert row.startswith(" ababababababa…abababababab   some text some")
    assert row.endswith("…")


def test_names_give_way_to_columns_that_stay() -> None:
    """Two models that differ in the size of their image would else look the same."""
    columns = (Column("model", "m"), Column("image", "i", detail=0), Column("ms", "x", detail=0))
    rows = [{"m": "a" * 44, "i": 224, "x": "7.5"}, {"m": "a" * 44, "i": 256, "x": "8.5"}]
    for limit in (60, 40):
        title, _, rule, *lines = "".join(Table(columns, rows, "two").pieces(limit)).splitlines()
        assert (title, max(map(len, lines[:2]))) == ("two", min(len(rule), limit))
        assert ("224" in lines[0], "256" in lines[1]) == (True, True)
        assert "…" in lines[0] or limit == 60
    lines = "".join(Table(columns, rows, "some words that are wider than it").pieces(30)).split(
        "\n"
    )
    assert lines[:2] == ["some words that are wider than", "  it"]


def test_csv_is_one_table_with_numbers_in_full() -> None:
    other = Table((Column("x", "a"),), [{"a": 1}], "other")
    told: list[str] = []
    text = "".join(pieces(["text", WIDE, other, WIDE], "csv", note=told.append))
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [r["table"] for r in rows] == ["two networks"] * 4
    assert rows[0] == {
        "table": "two networks", "network": "features.0/conv_1", "ms": "1.25", "kind": "a",
        "what it is": "a first, quite long text|", "MACs (M)": "1234.56789",
        "90 % interval, lower": "1.0", "90 % interval, upper": "12345.5",
    }  # fmt: skip
    assert (rows[1]["ms"], rows[1]["kind"], rows[1]["90 % interval, lower"]) == ("", 'b"', "")
    assert len(told) == 1
    assert "left out: other" in told[0]
    assert "".join(pieces([WIDE], "csv")).startswith("network,ms,what it is,")
    assert "".join(pieces(["text"], "csv", note=told.append)) == ""
    assert "no table" in told[-1]


def test_csv_of_lazy_rows_is_that_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"a": n, "b": f"{n}, {n}"} for n in range(23)]
    columns = Column("a", "a"), Column("b", "b")
    monkeypatch.setattr(table, "AT_ONCE", 5)
    both = [Table(columns, x) for x in (rows, lazy(23, lambda part: rows[part]))]
    assert "".join(pieces(both[:1], "csv")) == "".join(pieces(both[1:], "csv"))


def test_markdown_has_all_tables_and_no_markup_of_names() -> None:
    lines = "".join(pieces(["a *note*", WIDE, "end"], "md")).splitlines()
    assert lines[:3] == [r"a \*note\*", "", "**two networks**"]
    assert lines[4].startswith("| network | ms | what it is | MACs (M) | 90 % interval |")
    assert lines[5] == "| --- | ---: | --- | ---: | ---: | --- |"
    assert lines[6].startswith(r"| features.0/conv_1 | 1.2 | a first, quite long text\| | 1,234.6")
    assert r"\<b\>" in lines[7]
    assert lines[-1] == "end"


# --- in notebooks and pictures ----------------------------------------------------------------


@dataclass(frozen=True, repr=False)
class Drawn(Record):
    """A record with figures.

    Attributes:
        rows: of its table.
    """

    rows: tuple[int, ...]

    def answer(self) -> str:
        return "The answer is <b>."

    def parts(self) -> Iterator[Table | str]:
        yield Table((Column("n", lambda n: n),), self.rows, "numbers")

    def figures(self) -> Iterator[Figure]:
        yield Figure(
            "a front", Axis("latency, ms", log=True), Axis("top-1, %", scale=100),
            (
                Series("a $5 model", [1.0, 10.0, 100.0], [0.5, 0.6, 0.7], sizes=[1, 2, 3],
                       lower=[0.4, None, 0.6], upper=[0.6, None, 0.75]),
                Series("front", [100.0, 1.0], [0.7, 0.5], "line", [0.6, 0.4], [0.8, None],
                       colour="var(--bad, #c23b56)"),
            ),
            (Guide("budget", x=20.0), Guide("least", y=0.55)),
        )  # fmt: skip
        yield Figure(
            "where the time goes", Axis("ms"), Axis("device", names=["a", "b"], notes=["1 ms", ""]),
            (
                Series("conv", [1.0, 2.0], [0, 1], "bars"),
                Series("linear", [3.0, 4.0], [0, 1], "bars"),
                Series("whole", [4.0, 6.0], [0, 1], lower=[3.5, 5.0], upper=[5.0, 7.0]),
            ),
        )  # fmt: skip
        yield Figure(
            "parity", Axis("measured, ms"), Axis("predicted, ms"),
            (Series("", [1.0, 2.0], [1.1, 2.2]),), (Guide("equal"),),
        )  # fmt: skip

    def doubts(self) -> Iterator[str]:
        yield "note: a doubt"


def test_a_notebook_shows_the_answer_the_figures_and_the_first_rows() -> None:
    text = Drawn(tuple(range(100)))._repr_html_()
    assert text.startswith("<p><b>The answer is &lt;b&gt;.</b></p>")
    assert text.count("<svg") > 3
    assert text.count("<tr>") == 1 + record.NOTEBOOK_ROWS
    assert "and 70 more rows: to_text() and to_polars() have all" in text
    assert "note: a doubt" in text
    assert "more rows" not in Drawn(tuple(range(30)))._repr_html_()


@pytest.mark.slow
def test_plot_draws_the_declared_figures_without_pyplot() -> None:
    pytest.importorskip("matplotlib")
    program = (
        "import sys; from tests.report.test_records import Drawn; p = Drawn((1,)).plot();"
        "p._repr_png_(); assert 'matplotlib.pyplot' not in sys.modules"
    )
    picture = Drawn((1,)).plot()
    front, rows, parity = picture.axes
    assert front.get_xscale() == "log"
    assert front.get_title(loc="left") == "a front"
    assert any(c.get_offsets().tolist()[0] == [1.0, 50.0] for c in front.collections)
    assert "#c23b56" in [line.get_color() for line in front.lines]
    widths = [patch.get_width() for patch in rows.patches]
    assert (widths, [patch.get_x() for patch in rows.patches]) == ([1, 2, 3, 4], [0, 0, 1, 2])
    assert [t.get_text() for t in rows.get_yticklabels()] == ["a\n1 ms", "b"]
    assert parity.lines[-1].get_xdata().tolist() == parity.lines[-1].get_ydata().tolist()
    assert picture._repr_png_().startswith(b"\x89PNG")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src")])}
    subprocess.run([sys.executable, "-c", program], check=True, env=environment, cwd=ROOT)
    with pytest.raises(ValueError, match="must have numbers to draw; What was found: it has none"):
        EXAMPLE.plot()


def test_a_figure_is_drawn_on_axes_of_others() -> None:
    matplotlib = pytest.importorskip("matplotlib.figure")
    axes = matplotlib.Figure().subplots()
    figure = next(Drawn(()).figures())
    assert draw(figure, axes) is axes
    assert axes.get_xlabel() == "latency, ms"


def test_a_frame_of_large_integers_goes_to_other_libraries() -> None:
    from latcast.spaces.overview import list_spaces

    found = list_spaces()
    assert max(row.gene_combinations for row in found.spaces) > 2**64
    assert found.to_arrow().num_rows == len(found.spaces)
    assert found.to_polars()["gene_combinations"].dtype.is_float()


def test_a_column_without_a_label_has_no_heading() -> None:
    table = Table([Column("", "a"), Column("b", "a")], [{"a": "x"}]).to_html()
    assert table.count("<th") == 2  # the head, and one heading
    assert "<thead><tr><td></td><th" in table


def test_notes_of_several_targets_are_told_once() -> None:
    a, b, c = ("x", "x/ncnn/b1"), ("x", "x/ncnn/b1/int8"), ("y", "y/ncnn/b1")

    def told(*rows: tuple[str, str], text: str = "it is so") -> list[str]:
        return list(shared_notes([(row, text) for row in rows], [a, b, c]))

    assert told(a, b, c) == ["note: it is so"]
    assert told(a, b) == told(b, a, b) == ["note: x: it is so"]
    assert told(b) == ["note: x/ncnn/b1/int8: it is so"]
    assert told(b, c) == ["note: x/ncnn/b1/int8, y: it is so"]
    assert told(c, text="y is known by 3 rows") == ["note: y is known by 3 rows"]
    assert list(shared_notes([(("z", "z"), "gone")], [a])) == ["note: z: gone"]


def test_long_names_wrap_between_their_parts_and_numbers_do_not() -> None:
    assert breaks("1,302 of GB/s") == "1,302 of GB/s"
    assert breaks("pixel-7/ncnn/b1/int8") == "pixel-7/<wbr/>ncnn/<wbr/>b1/<wbr/>int8"
    assert breaks("vit(patch=32,<b>=1)") == "vit(patch=<wbr/>32,&lt;b&gt;=1)"
    assert re.sub("<wbr/>", "", breaks("a_b/c.d,e=f_g_h_i_j")) == "a_b/c.d,e=f_g_h_i_j"


def test_more_groups_than_colours_are_told_apart_by_their_errors() -> None:
    def row(name: str, off: float) -> ScoredRow:
        return ScoredRow(name, name, 1.0, 1.0 + off, None, None)

    few = {str(n): [row(str(n), n / 100)] for n in range(8)}
    assert [s.name for s in charts.parity("t", few, "ms").series] == list(few)
    many = {str(n): [row(str(n), n / 100)] for n in range(15)}
    others, *known = charts.parity("t", many, "ms").series
    assert (others.name, len(others.x)) == ("other groups", 8)
    assert [series.name for series in known] == [str(n) for n in range(8, 15)]
    assert "0\nmeasured 1.000 ms" in others.labels[0]


def test_numbers_of_axes_are_short() -> None:
    line = Series("", [0.0, 50_000.0], [1.0, 2.0], "line")
    text = Figure("t", Axis("x"), Axis("y"), (line,)).to_svg()
    assert re.findall(r">([\d.]+ k|\d[\d,]*)</text>", text)[:3] == ["0", "20 k", "40 k"]
