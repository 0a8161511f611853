"""Every kind of file that latcast writes: whole or not there, and its damage is found."""

from __future__ import annotations

import errno
import os
import pickle
import sqlite3
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latcast._checksums import UncheckedFileWarning
from latcast._files import check_writable, write_file
from latcast._model_file import ModelFile, read_header, read_model, write_model
from latcast.data import Dataset
from latcast.devices import Target
from latcast.families import population
from latcast.graph import KERNEL_FACTS
from latcast.measure import BlockSource, CampaignFile, Run
from latcast.networks import Networks
from latcast.networks.corpus import RUNTIMES, TOTALS, Corpus, read_corpus
from latcast.spaces import space

PLAN = {"target": "here/onnxruntime/b1", "seed": 3, "protocol": {"runs": 2, "cpu_share": 0.9}}
NETWORKS = [BlockSource("nasbench201", row) for row in range(3)]


def _model(path: Path) -> None:
    header = {"kind": "any", "card": {"licence": "CC0-1.0"}}
    write_model(path, ModelFile(header, {"a": np.arange(5.0), "b": np.ones((2, 3), np.float32)}))


def _read_model(path: Path) -> Any:
    model = read_model(path)
    assert read_header(path) == model.header
    return model.header, {k: (v.dtype, v.shape, v.tobytes()) for k, v in model.tensors.items()}


def _archs(path: Path) -> None:
    archs = space("nasbench201").sample(6, seed=0)
    target = Target("here", "onnxruntime", batch=1)
    samples = tuple(np.arange(1.0, n + 2) for n in range(6))
    Dataset(archs, np.arange(1.0, 7), target, samples=samples, provenance={"a": "b"}).save(path)


def _graphs(path: Path) -> None:
    variants = population(2, 0, ["mobilenet-v1"])
    Dataset(
        tuple(v.graph() for v in variants), np.array([1.0, 2.5]), Target("here", "onnxruntime"),
        names=tuple(v.text for v in variants), families=("mobilenet-v1",) * 2,
    ).save(path)  # fmt: skip


def _read_dataset(path: Path) -> Any:
    data = Dataset.load(path)
    nets = data.networks if data.space is None else data.archs.genes.tolist()
    samples = data.samples and [s.tolist() for s in data.samples]
    return repr((nets, data.values.tolist(), data.order.tolist(), str(data.target), samples,
                 data.provenance, data.names))  # fmt: skip


def _campaign(path: Path) -> None:
    with CampaignFile.create(path, PLAN, NETWORKS) as file:
        file.extend(3)
        file.add_process({"pid": 1, "runtime": {"version": "1"}})
        for n in range(2):
            reference = np.array([1.0]), np.array([3.0, 4.0])
            samples = np.array([0.1, 1 / 3]) + n
            file.add_run(Run(n, 0, 0, 1, 5, bool(n), samples, reference, {"doubts": []}))
        file.add_failure(2, "no kernel", final=True)


def _read_campaign(path: Path) -> Any:
    with CampaignFile.open(path) as file:
        return repr((file.plan(), file.networks(), file.extent(), file.runs(), file.processes(),
                     file.failures(), file.counts(), file.pending(0, 1, 3)))  # fmt: skip


def _corpus(path: Path) -> None:
    facts = np.arange(3.0 * len(KERNEL_FACTS)).reshape(3, -1)
    counts = np.tile(np.arange(3.0), (2 * len(RUNTIMES), 1)) + 1
    kernels = Networks(np.arange(3), ("a", "b", "c"), facts, counts)
    totals = np.arange(2 * len(TOTALS)).reshape(2, -1)
    Corpus(("x", "y"), {"z": "x"}, totals, RUNTIMES, kernels).save(path.parent)


def _read_corpus(path: Path) -> Any:
    found = read_corpus(path.parent)
    return repr((found.names, found.aliases, found.kernels.facts.tolist(),
                 found.kernels.counts.toarray().tolist()))  # fmt: skip


@dataclass(frozen=True)
class Kind:
    """A kind of file: its name, and what writes and reads it."""

    name: str
    write: Callable[[Path], None]
    read: Callable[[Path], Any]


KINDS = {
    "model": Kind("a.latcast", _model, _read_model),
    "dataset of architectures": Kind("a.parquet", _archs, _read_dataset),
    "dataset of graphs": Kind("a.parquet", _graphs, _read_dataset),
    "campaign": Kind("a.campaign", _campaign, _read_campaign),
    "kernels of a corpus": Kind("kernels.parquet", _corpus, _read_corpus),
    "networks of a corpus": Kind("networks.parquet", _corpus, _read_corpus),
}


@cache
def sound(kind: str) -> tuple[Path, bytes, Any]:
    """A file in a folder of its own, its bytes, and what is read of it."""
    folder = Path(tempfile.mkdtemp())
    path = folder / KINDS[kind].name
    KINDS[kind].write(path)
    return path, path.read_bytes(), KINDS[kind].read(path)


# -- damage ----------------------------------------------------------------------------------------


@st.composite
def damage(draw: st.DrawFn, content: bytes) -> bytes:
    """Content with one bit, some bytes or a sector changed, or cut off."""
    at = draw(st.integers(0, len(content) - 1))
    damaged = bytearray(content)
    match draw(st.sampled_from(["bit", "bit", "bit", "bytes", "sector", "cut", "twice"])):
        case "bit":
            damaged[at] ^= 1 << draw(st.integers(0, 7))
        case "bytes":
            new = draw(st.binary(min_size=1, max_size=4))
            damaged[at : at + len(new)] = new
        case "sector":
            damaged[at : at + 512] = bytes(len(damaged[at : at + 512]))
        case "cut":
            del damaged[at:]
        case "twice":
            damaged[at:at] = damaged[at : at + 64]
    return bytes(damaged)


def check(kind: str, damaged: bytes) -> bool:
    """Whether a file is read as it was before it was damaged; if not, an error names it."""
    path, content, told = sound(kind)
    path.write_bytes(damaged)
    try:
        read = KINDS[kind].read(path)
    except (ValueError, OSError) as error:
        assert str(path.parent) in str(error)  # noqa: PT017  # reading is fine as well
        return False
    finally:
        for beside in path.parent.glob(f"{path.name}-*"):
            beside.unlink()
        path.write_bytes(content)
    assert read == told
    return True


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_damage_is_found_or_changes_nothing(kind: str, data: st.DataObject) -> None:
    check(kind, data.draw(damage(sound(kind)[1])))


@pytest.mark.parametrize(
    ("place", "read"),
    [
        ("data/files/schema-1.parquet", Dataset.load),
        ("data/files/schema-1.networks.parquet", Dataset.load),
        ("measure/data/schema-1-archs.campaign", _read_campaign),
    ],
)
def test_files_of_before_are_read_with_a_note(
    place: str, read: Callable[[Path], Any], tmp_path: Path
) -> None:
    old = Path(__file__).parent / place
    path = tmp_path / old.name
    path.write_bytes(old.read_bytes())
    with pytest.warns(UncheckedFileWarning, match="has no checksum, as files of earlier versions"):
        read(path)


def test_the_command_line_says_so_in_a_note(latcast: Any, tmp_path: Path) -> None:
    old = Path(__file__).parent / "data" / "files" / "schema-1.parquet"
    (tmp_path / "old.parquet").write_bytes(old.read_bytes())
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        run = latcast("audit", tmp_path / "old.parquet")
    assert f"note: {tmp_path / 'old.parquet'} has no checksum" in run.stderr.splitlines()[0]


def test_what_ships_has_checksums() -> None:
    root = Path(__file__).parents[1]
    zoo = root / "src" / "latcast" / "zoo"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert [read_header(path)["schema_version"] for path in zoo.glob("*.latcast")]
        read_corpus()
        for path in (root / "datasets").glob("*_b1_t1.parquet"):
            Dataset.load(path)


def test_a_campaign_of_before_is_sealed_when_it_is_gone_on_with(tmp_path: Path) -> None:
    old = Path(__file__).parent / "measure" / "data" / "schema-1-archs.campaign"
    path = tmp_path / "a.campaign"
    path.write_bytes(old.read_bytes())
    with pytest.warns(UncheckedFileWarning):
        opened = CampaignFile.open(path)
    with opened as file:
        before = file.plan(), file.networks(), repr(file.runs())
        file.plan_runs(file.plan()["protocol"]["runs"] + 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with CampaignFile.open(path) as file:
            assert (file.networks(), repr(file.runs())) == before[1:]
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE visits SET time_s = time_s + 1 WHERE visit = 1")
    with pytest.raises(ValueError, match="row 1 of visits was damaged after it was written"):
        CampaignFile.open(path)


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TRIGGER t AFTER INSERT ON visits BEGIN DELETE FROM visits; END",
        "CREATE VIEW v AS WITH n(x) AS (SELECT 1 UNION ALL SELECT x FROM n) SELECT x FROM n",
        "ALTER TABLE plan ADD COLUMN x AS (hex(zeroblob(100000000)))",
        "CREATE INDEX i ON visits (round)",
    ],
)
def test_a_campaign_runs_nothing_that_stands_in_its_file(tmp_path: Path, statement: str) -> None:
    path = tmp_path / "a.campaign"
    _campaign(path)
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(statement)
    with pytest.raises(ValueError, match="is none of a campaign's"):
        CampaignFile.open(path)


# -- a disk that is full, or cannot be written to --------------------------------------------------


class Disk:
    """The calls of the system that write: the n-th fails."""

    def __init__(self, patch: pytest.MonkeyPatch, fails_at: int, code: int) -> None:
        self.calls, self.fails_at, self.code = 0, fails_at, code
        for place in ("tempfile.mkstemp", "os.fsync", "os.link", "pathlib.Path.replace",
                      "pathlib.Path.chmod", "pathlib.Path.mkdir"):  # fmt: skip
            self._wrap(patch, place)
        fdopen = os.fdopen

        def opened(*arguments: Any, **options: Any) -> Any:
            file = fdopen(*arguments, **options)
            if "b" in file.mode and "w" in file.mode:
                return _Slow(file, self)
            return file

        patch.setattr("os.fdopen", opened)

    def _wrap(self, patch: pytest.MonkeyPatch, place: str) -> None:
        module, _, name = place.rpartition(".")
        holder = {"tempfile": tempfile, "os": os}.get(module, Path)
        original = getattr(holder, name)

        def counted(*arguments: Any, **options: Any) -> Any:
            self.step()
            return original(*arguments, **options)

        patch.setattr(holder, name, counted)

    def step(self) -> None:
        self.calls += 1
        if self.calls == self.fails_at:
            raise OSError(self.code, os.strerror(self.code))


class _Slow:
    """A file that writes half of what it is given, and then the rest."""

    def __init__(self, file: Any, disk: Disk) -> None:
        self._file, self._disk = file, disk

    def write(self, content: bytes) -> None:
        self._file.write(content[: len(content) // 2])
        self._disk.step()
        self._file.write(content[len(content) // 2 :])

    def __enter__(self) -> _Slow:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


WRITERS: dict[str, Kind] = {
    **{k: v for k, v in KINDS.items() if "networks of" not in k},
    "text": Kind("a.html", lambda path: write_file(path, "<p>"), lambda path: path.read_text()),
}


def _failures(write: Callable[[Path], None], path: Path, code: int) -> Iterator[OSError | None]:
    """The error of every call that can fail, one after the other; None: it did without the call."""
    for n in range(1, 100):
        with pytest.MonkeyPatch.context() as patch:
            disk = Disk(patch, n, code)
            failed: OSError | None = None
            try:
                write(path)
            except OSError as error:
                failed = error
        if disk.calls < n:
            return
        yield failed
    pytest.fail("it never ends")


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EIO])
@pytest.mark.parametrize("kind", WRITERS)
def test_a_file_is_whole_or_not_there(kind: str, code: int, tmp_path: Path) -> None:
    folder = tmp_path / "new"
    path = folder / WRITERS[kind].name
    advice = {errno.ENOSPC: "make room", errno.EIO: ""}.get(code, "a folder that can be written")
    count = 0
    for error in _failures(WRITERS[kind].write, path, code):
        if error is None:
            WRITERS[kind].read(path)
        for file in (found := list(folder.iterdir()) if folder.is_dir() else []):
            file.unlink()
        if error is None:
            continue
        count += 1
        assert str(error).startswith(str(folder))
        assert f"could not be written: {os.strerror(code).lower()}" in str(error)
        assert advice in str(error)
        # The first of a corpus's two files may be whole.
        assert [p.name for p in found] in ([], ["kernels.parquet"])
    assert count >= 4
    WRITERS[kind].read(path)


@pytest.mark.parametrize("kind", ["model", "dataset of architectures", "text"])
def test_an_old_file_stays_as_it_was(kind: str, tmp_path: Path) -> None:
    path = tmp_path / WRITERS[kind].name
    path.write_bytes(b"what was here")
    for error in _failures(WRITERS[kind].write, path, errno.ENOSPC):
        assert (path.read_bytes() == b"what was here") == (error is not None)
        assert [p.name for p in tmp_path.iterdir()] == [path.name]
        path.write_bytes(b"what was here")


@pytest.mark.parametrize("stub", ["empty", "without tables"])
def test_what_a_full_disk_left_of_a_beginning_is_begun_anew(stub: str, tmp_path: Path) -> None:
    path = tmp_path / "a.campaign"
    path.touch()
    if stub == "without tables":
        with closing(sqlite3.connect(path)) as db:
            db.execute("PRAGMA journal_mode = WAL")
    with pytest.raises(ValueError, match="holds no plan: begin the campaign again, without"):
        CampaignFile.open(path)
    _campaign(path)
    assert "no kernel" in _read_campaign(path)
    for other in (b"x", b"my notes" * 100):
        (tmp_path / "b").write_bytes(other)
        with pytest.raises(FileExistsError, match="exists already"):
            _campaign(tmp_path / "b")
        assert (tmp_path / "b").read_bytes() == other


def test_a_disk_that_fills_during_a_campaign(tmp_path: Path) -> None:
    """After each row that did not fit, the file is whole and goes on."""
    path = tmp_path / "a.campaign"
    refused = 0
    with CampaignFile.create(path, PLAN, NETWORKS) as file:
        file.add_process({})
    for n in range(12):
        with CampaignFile.open(path) as file:
            pages = file._db.execute("PRAGMA page_count").fetchone()[0]
            file._db.execute(f"PRAGMA max_page_count = {pages + n % 3}")
            samples = np.arange(400.0 * n + 1)
            run = Run(n % 3, n, 0, 1, 5.0, True, samples, (samples, samples), {})
            before = repr(file.runs())
            try:
                file.add_run(run)
            except OSError as error:
                assert "make room, or let its folder be written to" in str(error)  # noqa: PT017
                assert repr(file.runs()) == before
                refused += 1
        with CampaignFile.open(path) as file:
            assert file.counts()[1] == n + 1 - refused
    assert 0 < refused < 12


def test_a_folder_that_cannot_be_written_to(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    _campaign(tmp_path / "a.campaign")
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(OSError, match="name a file in a folder that can be written to"):
            check_writable(tmp_path / "b")
        assert "no kernel" in _read_campaign(tmp_path / "a.campaign")
        with (
            CampaignFile.open(tmp_path / "a.campaign") as file,
            pytest.raises(OSError, match="let its folder be written to"),
        ):
            file.extend(4)
    finally:
        tmp_path.chmod(0o700)


def test_nothing_that_is_read_is_a_pickle(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> Any:
            return (pytest.fail, ("a pickle was opened",))

    for kind in KINDS.values():
        path = tmp_path / kind.name
        path.write_bytes(pickle.dumps(Bomb()))
        (tmp_path / "networks.parquet").touch()
        with pytest.raises(ValueError, match=r"a\.|kernels\.parquet"):
            kind.read(path)
