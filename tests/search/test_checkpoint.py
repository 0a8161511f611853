from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import latcast
from latcast._model_file import ModelFile, read_model, write_model
from latcast.models import Predictor
from latcast.search import Memetic, search

KIND = "ofa-mobilenet-v3"


@pytest.fixture(scope="module")
def checkpoint(note10: Predictor, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """What a search leaves of itself."""
    path = tmp_path_factory.mktemp("search") / "s.checkpoint"
    ask(note10, checkpoint=path)
    return path.read_bytes()


@pytest.fixture
def file(checkpoint: bytes, tmp_path: Path) -> Path:
    path = tmp_path / "s.checkpoint"
    path.write_bytes(checkpoint)
    return path


def ask(note10: Predictor, **changes: Any) -> latcast.search.SearchResult:
    arguments: dict[str, Any] = {
        "latency": note10, "max_latency_ms": [20, 30], "method": Memetic(evaluations=4_000)
    }  # fmt: skip
    return search(KIND, **arguments | changes)


def test_more_evaluations_go_on(note10: Predictor, file: Path) -> None:
    more = ask(note10, checkpoint=file, resume=True, method=Memetic(evaluations=8_000))
    assert more.evaluations == 8_000
    whole = ask(note10, method=Memetic(evaluations=8_000))
    assert more.front.archs == whole.front.archs


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"max_latency_ms": [20, 31]}, "max latency ms was"),
        ({"seed": 1}, "seed was 0, got 1"),
        ({"method": "nsga2"}, "method was 'memetic', got 'nsga2'"),
        ({"method": Memetic(elite=9)}, "settings was"),
        ({"max_macs": 3e8}, "limits was"),
        ({"confidence": 0.9}, "confidence was None, got 0.9"),
        ({"restrict": {"r": [160]}}, "restrict was"),
        ({"latency": "tesla-p40"}, "was"),
    ],
)
def test_another_question_is_refused(
    note10: Predictor, file: Path, changes: dict[str, Any], named: str
) -> None:
    before = file.read_bytes()
    with pytest.raises(ValueError, match=f"a search goes on as it began.*{named}"):
        ask(note10, checkpoint=file, resume=True, **changes)
    assert file.read_bytes() == before


def test_damaged_files_are_refused(note10: Predictor, file: Path, tmp_path: Path) -> None:
    whole = read_model(file)
    content = file.read_bytes()
    bad = tmp_path / "bad.checkpoint"
    for part in (content[: len(content) // 2], b"", b"no checkpoint"):
        bad.write_bytes(part)
        with pytest.raises(ValueError, match=r"must be a whole latcast model file|was damaged"):
            ask(note10, checkpoint=bad, resume=True)
    headers = [{"evaluations": "x"}, {"generator": "[]"}, {"generator": "{"}, {"kind": "roofline"}]
    for change in headers:
        write_model(bad, ModelFile(whole.header | change, whole.tensors))
        with pytest.raises(ValueError, match="checkpoint"):
            ask(note10, checkpoint=bad, resume=True)
    for name in whole.tensors:
        left = {k: v for k, v in whole.tensors.items() if k != name}
        short = whole.tensors | {name: whole.tensors[name][:-1]}
        wrong = whole.tensors | {name: np.full_like(whole.tensors[name], 77)}
        tensors = [left]
        tensors += [short] if name.startswith("archive") else []
        tensors += [wrong] if name.endswith("genes") else []
        for t in tensors:
            write_model(bad, ModelFile(whole.header, t))
            with pytest.raises(ValueError, match="checkpoint"):
                ask(note10, checkpoint=bad, resume=True)


def test_a_checkpoint_must_be_named_and_be_there(note10: Predictor, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="name its checkpoint"):
        ask(note10, resume=True)
    with pytest.raises(FileNotFoundError, match="no such file"):
        ask(note10, checkpoint=tmp_path / "nowhere", resume=True)


def test_a_shipped_model_is_no_checkpoint(note10: Predictor, tmp_path: Path) -> None:
    model = tmp_path / "m.latcast"
    note10.save(model)
    with pytest.raises(ValueError, match="must be the checkpoint of a search; it is 'roofline'"):
        ask(note10, checkpoint=model, resume=True)


def test_other_candidates_are_another_question(note10: Predictor, tmp_path: Path) -> None:
    path = tmp_path / "s.checkpoint"
    many = latcast.space(KIND).sample(400, 0, restrict={"r": [160, 192]})
    arguments: dict[str, Any] = {"method": "exhaustive", "checkpoint": path}
    ask(note10, candidates=many, **arguments)
    # As many, of which the first are the same.
    others = many[:200].concatenate(
        many[:1], latcast.space(KIND).sample(199, 1, restrict={"r": [160]})
    )
    with pytest.raises(ValueError, match="candidates was"):
        ask(note10, candidates=others, resume=True, **arguments)


def test_a_checkpoint_that_cannot_be_written_is_told_before_the_search(
    note10: Predictor, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        ask(note10, checkpoint=tmp_path / "file" / "s.checkpoint", progress=pytest.fail)


@pytest.mark.slow
@pytest.mark.parametrize("after", [3, 60])
def test_local_search_goes_on_to_the_same_end(
    note10: Predictor, tmp_path: Path, after: int
) -> None:
    method = Memetic(evaluations=40_000, warmup=1_000)
    path = tmp_path / "s.checkpoint"
    whole = ask(note10, method=method)
    seen: list[Any] = []

    def interrupt(progress: Any) -> None:
        seen.append(progress)
        if len(seen) == after:
            raise KeyboardInterrupt

    assert ask(note10, method=method, checkpoint=path, progress=interrupt).stopped == "interrupted"
    state = read_model(path)
    assert ("state.penalty" in state.tensors) == (after == 60)
    rest = ask(note10, method=method, checkpoint=path, resume=True)
    assert rest.front.archs == whole.front.archs
    assert rest.evaluations == whole.evaluations
