"""Make the shipped corpus of networks from the definitions of timm, torchvision and others.

    python scripts/make_corpus.py --data ../shared/data/public --work build/corpus \
        --out src/latcast/zoo/corpus

It needs timm and its kin (``pip install timm torchvision transformers``; for Qualcomm's models
``ultralytics``, ``diffusers``, ``segmentation-models-pytorch`` too), but no weights. Every graph is
kept in ``graphs.sqlite`` of the working folder, from which an interrupted run goes on; with all of
them there, or ``--as-is``, it needs none of these packages. Two thousand networks take half an
hour of one core, and their kernels as long.
"""

from __future__ import annotations

import argparse
import gc
import signal
import sqlite3
import zlib
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import polars as pl

from latcast.graph import Graph
from latcast.networks.corpus import Corpus, read_corpus

# Of one network: a few thousand layers are built and watched in 20 s.
MAX_SECONDS = 120
# Networks whose kernels are found before they are written, in case of an interruption.
CHUNK = 50


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="folder of the public tables")
    parser.add_argument("--work", type=Path, required=True, help="folder of the graphs")
    parser.add_argument("--out", type=Path, required=True, help="folder of the corpus")
    parser.add_argument("--as-is", action="store_true", help="record nothing: only what is there")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(arguments.work / "graphs.sqlite")) as store:
        store.execute("create table if not exists graphs (name text primary key, graph, failure)")
        store.execute("create table if not exists aliases (alias text primary key, name text)")
        if not arguments.as_is:
            _record(store, arguments.data)
        corpus = _corpus(store, arguments.work / "parts")
        failures = dict(store.execute("select name, failure from graphs where graph is null"))
    corpus.save(arguments.out)
    size = sum(file.stat().st_size for file in arguments.out.glob("*.parquet"))
    print(f"{len(corpus)} networks, {len(corpus.aliases)} other names, {size / 1e6:.2f} MB")
    for name, failure in failures.items():
        print(f"not read: {name}: {failure}")
    if arguments.data:
        _compare(corpus, arguments.data)


def _record(store: sqlite3.Connection, data: Path | None) -> None:
    """Record every network that the store does not have, and name the others it goes by."""
    import _corpus_ai_hub
    import _corpus_neusight
    import _corpus_timm

    wanted = {
        **_corpus_timm.wanted(data), **_corpus_neusight.wanted(data), **_corpus_ai_hub.wanted()
    }  # fmt: skip
    known = {name for (name,) in store.execute("select name from graphs")}
    for n, (name, make) in enumerate(wanted.items()):
        if name not in known:
            for found, (graph, failure) in _made(name, make).items():
                row = (found, graph and zlib.compress(graph.to_json().encode()), failure)
                store.execute("insert or replace into graphs values (?, ?, ?)", row)
            store.commit()
            print(f"{n + 1} of {len(wanted)}: {name}", flush=True)
    names = [name for (name,) in store.execute("select name from graphs where graph is not null")]
    aliases = {**_corpus_timm.aliases(names), **_corpus_ai_hub.aliases(names)}
    store.executemany("insert or replace into aliases values (?, ?)", aliases.items())
    store.commit()


def _made(
    name: str, make: Callable[[], dict[str, Graph]]
) -> dict[str, tuple[Graph | None, str | None]]:
    """The graphs of a network, or why there is none."""
    signal.signal(signal.SIGALRM, _late)
    signal.alarm(MAX_SECONDS)
    try:
        return {found: (graph, None) for found, graph in make().items()}
    except Exception as error:  # noqa: BLE001 - whatever a package's definition does
        return {name: (None, " ".join(f"{type(error).__name__}: {error}".split())[:300])}
    finally:
        signal.alarm(0)


def _late(*_: object) -> None:
    raise TimeoutError(f"it must be recorded within {MAX_SECONDS} s")


def _corpus(store: sqlite3.Connection, parts: Path) -> Corpus:
    """The corpus of all graphs of the store; finished parts of it are kept in a folder."""
    wanted = "select name from graphs where graph is not null order by name like 'timm:%', name"
    names = [n for (n,) in store.execute(wanted)]
    made = [read_corpus(folder) for folder in sorted(parts.glob("*"))]
    known = {name for part in made for name in part.names}
    missing = [name for name in names if name not in known]
    for start in range(0, len(missing), CHUNK):
        chunk = missing[start : start + CHUNK]
        # Looking for garbage among all that lives would be a third of the time.
        gc.collect()
        gc.freeze()
        gc.disable()
        made.append(Corpus.of({name: _graph(store, name) for name in chunk}))
        made[-1].save(parts / f"{len(made):04}")
        print(f"kernels of {start + len(chunk)} of {len(missing)}", flush=True)
    whole = Corpus.joined(made)
    aliases = dict(store.execute("select alias, name from aliases"))
    kept = {a: n for a, n in aliases.items() if n in whole and a not in whole}
    return Corpus(whole.names, kept, whole.totals, whole.runtimes, whole.kernels)


def _graph(store: sqlite3.Connection, name: str) -> Graph:
    (content,) = store.execute("select graph from graphs where name = ?", (name,)).fetchone()
    return Graph.from_json(zlib.decompress(content).decode())


def _compare(corpus: Corpus, data: Path) -> None:
    """Print how many networks of timm's table are there, and where its counts are others."""
    table = pl.read_csv(data / "timm" / "latencies.csv.gz", infer_schema_length=None)
    counts = table.group_by("model", "image_size", "params_m").agg(pl.col("gmacs", "macts").max())
    names = [f"timm:{m}@{s}" for m, s in counts.select("model", "image_size").iter_rows()]
    missing = sorted({name for name in names if name not in corpus})
    print(f"of {len(set(names))} networks of timm's table {len(missing)} are missing: {missing}")
    for name, row in zip(names, counts.iter_rows(named=True), strict=True):
        found = [corpus.place(x) for x in (name, f"{name}/merged") if x in corpus]
        if not found:
            continue
        # Of the network and of the merged one that whose parameters are nearer.
        place = min(found, key=lambda p: abs(corpus.total("params")[p] / 1e6 - row["params_m"]))
        for total, ours, theirs, digit in (
            ("params", corpus.total("params")[place] / 1e6, row["params_m"], 0.01),
            ("macs", corpus.total("macs")[place] / 1e9, row["gmacs"], 0.01),
            ("activations", corpus.total("activations")[place] / 1e6, row["macts"], 0.01),
        ):
            if theirs is not None and abs(ours - theirs) > 0.01 * theirs + digit:
                print(f"{corpus.names[place]}: {total} {ours:.2f}, in timm's table {theirs:.2f}")


if __name__ == "__main__":
    main()
