"""Measure how a checkout is built: its lines, files, imports, comments and what a command runs.

For example: python scripts/structure.py                  (this checkout)
             python scripts/structure.py ../older --json  (another one, by the same rules)

The figures are those of the closing note of a rebuilding: taken before and after by one script,
they say what has become of it. Only source files are read, but for the last group, which runs the
checkout's own code with the Python that runs this script.
"""

from __future__ import annotations

import argparse
import ast
import io
import json
import sys
import tokenize
import tomllib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from _loading import executed_files, loaded_modules
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

Graph = dict[str, set[str]]


@dataclass(frozen=True)
class Import:
    """One module that another one imports; ``when`` is top, deferred or typing."""

    importer: str
    imported: str
    when: str


class Package:
    """The modules of ``src/latcast`` of a checkout, and who imports whom."""

    def __init__(self, checkout: Path) -> None:
        source = checkout / "src"
        self.files: dict[str, Path] = {}
        for path in sorted(source.glob("latcast/**/*.py")):
            parts = path.relative_to(source).with_suffix("").parts
            self.files[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
        found = (import_ for module in self.files for import_ in self._imports(module))
        self.imports = sorted(set(found), key=lambda i: (i.importer, i.imported, i.when))

    def _imports(self, module: str) -> Iterator[Import]:
        path = self.files[module]
        package = module if path.name == "__init__.py" else module.rpartition(".")[0]
        for node, when in _import_nodes(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            else:
                base = node.module or ""
                if node.level:
                    above = package.split(".")
                    kept = above[: len(above) - node.level + 1]
                    base = ".".join([*kept, base] if base else kept)
                names = [f"{base}.{alias.name}" for alias in node.names]
            for name in names:
                imported = self._module_of(name)
                if imported is not None and imported != module:
                    yield Import(module, imported, when)

    def _module_of(self, name: str) -> str | None:
        """The module itself, or the one that has this name; None of another package."""
        while name and name not in self.files:
            name = name.rpartition(".")[0]
        return name or None

    def graph(self, *when: str) -> Graph:
        """Module -> modules that it imports then (always, without ``when``)."""
        graph: Graph = {module: set() for module in self.files}
        for import_ in self.imports:
            if not when or import_.when in when:
                graph[import_.importer].add(import_.imported)
        return graph


def _import_nodes(
    tree: ast.AST, when: str = "top"
) -> Iterator[tuple[ast.Import | ast.ImportFrom, str]]:
    for node in ast.iter_child_nodes(tree):
        inner = when
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            inner = "deferred"
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            inner = "typing"
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node, when
        yield from _import_nodes(node, inner)


def components(graph: Graph) -> list[set[str]]:
    """Strongly connected components; one of several modules is a circle."""
    place = {module: n for n, module in enumerate(graph)}
    edges = [(place[a], place[b]) for a, imported in graph.items() for b in imported]
    rows, columns = np.array(edges, dtype=np.intp).reshape(-1, 2).T
    matrix = coo_matrix((np.ones(len(edges)), (rows, columns)), shape=(len(graph),) * 2)
    count, labels = connected_components(matrix, connection="strong")
    found: list[set[str]] = [set() for _ in range(count)]
    for module, label in zip(graph, labels.tolist(), strict=True):
        found[label].add(module)
    return found


def deepest_chain(graph: Graph) -> list[str]:
    """The modules of the longest path of imports; a circle counts with all of its modules."""
    own = {module: frozenset(part) for part in components(graph) for module in part}

    @cache
    def chain(part: frozenset[str]) -> list[str]:
        below = {own[imported] for module in part for imported in graph[module]} - {part}
        return [*sorted(part), *max(map(chain, below), key=len, default=[])]

    return max(map(chain, own.values()), key=len)


def against_arrows(checkout: Path, imports: Iterable[Import]) -> list[str]:
    """Imports of a module of a room that stands higher in the layers that import-linter checks."""
    settings = tomllib.loads((checkout / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = settings.get("tool", {}).get("importlinter", {}).get("contracts", ())
    layers = next((c["layers"] for c in contracts if c["type"] == "layers"), ())
    height = {
        room.strip(): -n for n, layer in enumerate(layers) for room in layer.split("|")
    }  # fmt: skip

    def step(module: str) -> int | None:
        return height.get(module.split(".")[1] if "." in module else module)

    steps = ((i, step(i.importer), step(i.imported)) for i in imports)
    return sorted(
        f"{i.importer} -> {i.imported} ({i.when})"
        for i, low, high in steps
        if low is not None and high is not None and high > low
    )


def single_importer(package: Package) -> list[str]:
    """Private files that exactly one other file imports, in whatever way."""
    importers = defaultdict(set)
    for import_ in package.imports:
        importers[import_.imported].add(import_.importer)
    private = {m for m, path in package.files.items() if path.name.startswith("_")}
    private -= {m for m, path in package.files.items() if path.name.startswith("__")}
    return sorted(module for module in private if len(importers[module]) == 1)


def longest_function(files: Iterable[Path]) -> tuple[int, str]:
    """Lines of the longest function, its decorators left out, and where it stands."""
    return max(
        (node.end_lineno - node.lineno + 1, f"{path.name}:{node.name}")
        for path in files
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None
    )


def comments_per_hundred_lines(files: Iterable[Path]) -> float:
    """Comments in 100 lines, marks for other tools (noqa) among them."""
    lines = comments = 0
    for path in files:
        text = path.read_text(encoding="utf-8")
        lines += text.count("\n")
        tokens = tokenize.generate_tokens(io.StringIO(text).readline)
        comments += sum(token.type == tokenize.COMMENT for token in tokens)
    return 100 * comments / lines


def figures(checkout: Path) -> Iterator[tuple[str, float | None, list[str]]]:
    """What is measured, its value (None: it could not be), and what it counts where that helps."""
    package = Package(checkout)
    sources = [p for d in ("src", "benchmarks", "scripts") for p in checkout.glob(f"{d}/**/*.py")]
    tests = checkout.glob("tests/**/*.py")
    yield "lines in src, benchmarks, scripts", sum(map(_lines, sources)), []
    yield "files in src/latcast", len(package.files), []
    yield "test lines", sum(map(_lines, tests)), []

    circles = [sorted(c) for c in components(package.graph()) if len(c) > 1]
    yield "circles of imports", len(circles), [", ".join(circle) for circle in circles]
    climbing = against_arrows(checkout, package.imports)
    yield "imports against the arrows", len(climbing), climbing
    single = single_importer(package)
    yield "private files with one importer", len(single), single
    chain = deepest_chain(package.graph("top"))
    yield "deepest chain of imports", len(chain) - 1, [" > ".join(chain)]

    longest, where = longest_function(sources)
    yield "lines of the longest function", longest, [where]
    comments = comments_per_hundred_lines(package.files.values())
    yield "comments in 100 lines", round(comments, 2), []

    for figure, value in [*loaded_modules(checkout), *executed_files(checkout)]:
        yield figure, value, []


def _lines(path: Path) -> int:
    return path.read_text(encoding="utf-8").count("\n")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    here = Path(__file__).resolve().parents[1]
    parser.add_argument("checkout", type=Path, nargs="?", default=here, help="this one by default")
    parser.add_argument("--json", action="store_true", help="print JSON, with what was counted")
    parser.add_argument("--list", action="store_true", help="print what was counted, too")
    arguments = parser.parse_args()
    rows = list(figures(arguments.checkout.resolve()))
    if arguments.json:
        records = [{"figure": f, "value": value, "counted": counted} for f, value, counted in rows]
        print(json.dumps(records, indent=2))
    else:
        for figure, value, counted in rows:
            print(f"{figure:42} {'failed' if value is None else f'{value:>8,}'}")
            for line in counted if arguments.list else ():
                print(f"    {line}")
    return int(any(value is None for _, value, _ in rows))


if __name__ == "__main__":
    sys.exit(main())
