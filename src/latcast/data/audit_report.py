"""Records of the data issues of a dataset, or of a folder of public tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latcast.report import charts
from latcast.report.axis import Axis
from latcast.report.figure import Figure, Series
from latcast.report.markup import counted
from latcast.report.record import Record, Section
from latcast.report.table import Column, Table

from ._audited import SEVERITIES
from ._dataset import Dataset
from ._formats import Source, read
from .audit import Finding, audit
from .evidence import concerned, evidence_tables

if TYPE_CHECKING:
    from latcast.devices import Target
    from latcast.spaces import SearchSpace

    from .public import PublicTable

# With fewer, drift and outliers can hardly be told from the scatter of the networks.
FEW_NETWORKS = 200


@dataclass(frozen=True, repr=False)
class AuditReport(Record):
    """The issues of a dataset.

    Attributes:
        dataset: name of its file.
        target: that it was measured on.
        rows: of the dataset.
        networks: distinct networks among them.
        subject: what the networks are: architectures of a space, or networks of families.
        issues: the most severe first; empty where nothing was found.
    """

    schema = "audit"
    frame = "issues"
    no_figure = "its issues are texts, none of which counts rows"

    dataset: str
    target: str
    rows: int
    networks: int
    subject: str
    issues: tuple[Finding, ...]

    @classmethod
    def of(cls, data: Dataset, name: str = "dataset") -> AuditReport:
        """Audit a dataset; ``name`` is how the report calls it."""
        distinct = len(set(data.unique_index().tolist()))
        if data.space is not None:
            subject = f"architectures of {data.space.name}"
        else:
            subject = f"networks of {counted(len(set(data.families)), 'family', 'families')}"
        return cls(name, str(data.target), len(data), distinct, subject, tuple(audit(data)))

    def headline(self) -> str:
        return f"Audit of {self.dataset}"

    def answer(self) -> str:
        return _found_text(self.issues, counted(self.rows, "row"))

    def figures(self) -> Iterator[Figure]:
        rows = [
            (f"{_kind(issue)} ({issue.severity})", 100 * count / self.rows)
            for issue in self.issues
            if (count := concerned(issue)) is not None
        ]
        if rows:
            yield charts.bars("Rows that an issue is about", rows, "% of the rows", of="issue")

    def sections(self) -> Iterator[Section]:
        first, *_ = self.parts()
        yield "The dataset", [first]
        for figure in self.figures():
            yield figure.title, [figure]
        yield from _issue_sections(self.issues)

    def parts(self) -> Iterator[Table | str]:
        yield (
            f"{self.dataset}: {counted(self.rows, 'row')}, {self.networks:,} {self.subject}, "
            "target "
            f"{self.target}"
        )
        yield from _issues(self.issues)

    def doubts(self) -> Iterator[str]:
        if self.networks < FEW_NETWORKS:
            few = counted(self.networks, "network")
            yield f"note: with {few} drift and outliers can hardly be told"


@dataclass(frozen=True)
class AuditedTable:
    """The issues of one public table.

    Attributes:
        table: its name.
        source: repository and licence.
        rows: of its files.
        usable: rows that the reader keeps.
        networks: distinct networks among these.
        chips: distinct chips among them.
        settings: distinct settings, which are scored apart.
        issues: the most severe first; ``evidence.examples`` has the first rows of each.
    """

    table: str
    source: str
    rows: int
    usable: int
    networks: int
    chips: int
    settings: int
    issues: tuple[Finding, ...]

    @classmethod
    def of(cls, table: PublicTable) -> AuditedTable:
        """Audit a table."""
        from .public.audit import audit_table

        networks, chips, settings = (
            table.frame[name].n_unique() for name in ("network", "chip", "setting")
        )
        issues = tuple(audit_table(table))
        kept = len(table.frame)
        return cls(table.name, table.source, table.rows, kept, networks, chips, settings, issues)


@dataclass(frozen=True, repr=False)
class TablesAudit(Record):
    """The issues of a folder of public tables.

    Attributes:
        folder: that holds them.
        tables: one entry each.
    """

    schema = "tables-audit"
    frame = "tables.issues"
    no_figure = "nothing was found in its tables"

    folder: str
    tables: tuple[AuditedTable, ...]

    @classmethod
    def of(cls, folder: str | Path) -> TablesAudit:
        """Read and audit the tables of a folder, as :func:`latcast.data.public.read_public` does.

        Raises:
            ValueError: there is no table, or a file is damaged.
            FileNotFoundError: there is no such folder.
        """
        from .public import read_public

        return cls(str(folder), tuple(map(AuditedTable.of, read_public(folder))))

    def headline(self) -> str:
        return "Audit of public tables"

    def answer(self) -> str:
        rows = sum(t.rows for t in self.tables)
        issues = tuple(issue for t in self.tables for issue in t.issues)
        tables = counted(len(self.tables), "table")
        return _found_text(issues, f"{tables} of {counted(rows, 'row')}")

    def figures(self) -> Iterator[Figure]:
        places, counts = range(len(self.tables)), [
            Counter(issue.severity for issue in t.issues) for t in self.tables
        ]  # fmt: skip
        series = tuple(
            Series(
                f"{name}s", [c[name] for c in counts], places, "bars",
                labels=[f"{t.table}: {c[name]} {name}s" for t, c in zip(self.tables, counts,
                                                                        strict=True)],
            )
            for name in SEVERITIES
            if any(c[name] for c in counts)
        )  # fmt: skip
        if series:
            names = Axis("table", names=[t.table for t in self.tables],
                         notes=[str(len(t.issues)) for t in self.tables])  # fmt: skip
            yield Figure("Issues by table", Axis("issues"), names, series)

    def sections(self) -> Iterator[Section]:
        columns = (
            Column("table", "table"),
            *(Column(n, n, ",") for n in ("rows", "usable", "networks", "chips", "settings")),
            Column("issues", lambda t: len(t.issues)),
        )
        for figure in self.figures():
            yield figure.title, [figure]
        yield "The tables", [Table(columns, self.tables)]
        for one in self.tables:
            for heading, parts in _issue_sections(one.issues):
                severity, _, kind = heading.partition(": ")
                yield f"{one.table}: {kind} ({severity.lower()})", parts

    def parts(self) -> Iterator[Table | str]:
        for one in self.tables:
            yield (
                f"{one.table}: {one.usable:,} of {counted(one.rows, 'row')}, "
                f"{counted(one.networks, 'network')}, {counted(one.chips, 'chip')}, "
                f"{counted(one.settings, 'setting')} ({one.source})"
            )
            yield from _issues(one.issues)
            yield ""


def _found_text(issues: Sequence[Finding], where: str) -> str:
    """How many issues of each severity there are."""
    if not issues:
        return f"The audit found nothing in {where}."
    counts = Counter(issue.severity for issue in issues)
    *told, last = [f"{n} {name}{'s' if n > 1 else ''}" for name, n in counts.items()]
    all_told = f"{', '.join(told)} and {last}" if told else last
    first = issues[0].message.partition(";")[0].rstrip(".")
    return f"The audit found {all_told} in {where}; the first: {first}."


def _issue_sections(issues: Sequence[Finding]) -> Iterator[Section]:
    """Each issue under a heading of its own."""
    for issue in issues:
        parts: list[Table | str] = [
            issue.message[:1].upper() + issue.message[1:],
            f"What follows: {issue.consequence}",
            f"What to do: {issue.advice}",
            *evidence_tables(issue),
        ]
        yield f"{issue.severity.capitalize()}: {_kind(issue)}", parts


def _kind(issue: Finding) -> str:
    return issue.kind.replace("-", " ")


def audit_of(
    data: Source, *, space: str | SearchSpace | None = None, target: str | Target | None = None
) -> AuditReport | TablesAudit:
    """Look for what is wrong with a dataset, or with a folder of public tables.

    Args:
        data: what :func:`latcast.read` takes, or a folder.
        space: search space, where the data does not tell.
        target: what the values belong to, likewise.

    Raises:
        ValueError: the data cannot be read, or a folder holds no public table.
        FileNotFoundError: there is no such file.
    """
    name = str(data) if isinstance(data, str | Path) else ""
    if name and Path(name).is_dir():
        if space is not None or target is not None:
            raise ValueError(
                f"{name} must be a file: space, target and format are of one; public tables state "
                "theirs"
            )
        return TablesAudit.of(name)
    found = read(data, space=space, target=target)
    return AuditReport.of(found, Path(name).name or str(found.target))


def _issues(issues: tuple[Finding, ...]) -> Iterator[str]:
    """Lines of each issue, the first rows of a table among them."""
    for issue in issues:
        yield f"\n{issue.severity.upper()} {issue.kind}: {issue.message}"
        for example in issue.evidence.get("examples", ()):
            yield f"  such as {_cells(example)}"
        yield f"  what follows: {issue.consequence}"
        yield f"  what to do:   {issue.advice}"
    if not issues:
        yield "nothing found"


def _cells(example: Mapping[str, Any]) -> str:
    """The cells of a row in one line, empty ones left out and long ones cut."""
    cells = [(name, value) for name, value in example.items() if value is not None]
    texts = [(n, f"{v:.4g}" if isinstance(v, float) else str(v)) for n, v in cells]
    return ", ".join(f"{n} {t if len(t) <= 60 else t[:57] + '...'}" for n, t in texts)
