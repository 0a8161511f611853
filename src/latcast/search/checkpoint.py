"""Checkpoints: a search that was interrupted goes on where it was."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from latcast._model_file import ModelFile, read_model, write_model
from latcast.spaces import Archs

from .front import Archive
from .problem import Method, Problem, State

KIND = "search-checkpoint"


@dataclass(frozen=True)
class Snapshot:
    """A search between two steps.

    Attributes:
        state: of the method.
        generator: of the random numbers.
        archive: what was found.
        evaluations, steps: how many there were.
        seconds: that it took.
        is_done: whether the method has nothing more to do.
    """

    state: State
    generator: Mapping[str, Any]
    archive: Archive
    evaluations: int
    steps: int
    seconds: float
    is_done: bool


def write(path: Path, question: Mapping[str, Any], snapshot: Snapshot) -> None:
    """Write a checkpoint atomically.

    Args:
        path: of the file.
        question: what the search was asked (JSON-able).
        snapshot: how it stands.
    """
    archive = snapshot.archive
    tensors = {f"state.{name}": array for name, array in snapshot.state.items()}
    tensors |= {
        "archive.genes": archive.archs.genes,
        "archive.accuracy": archive.accuracy,
        "archive.ms": archive.ms,
    }
    header = {
        "kind": KIND,
        "question": dict(question),
        "generator": json.dumps(snapshot.generator),
        "evaluations": snapshot.evaluations,
        "steps": snapshot.steps,
        "seconds": snapshot.seconds,
        "is_done": snapshot.is_done,
    }
    write_model(path, ModelFile(header, tensors))


def read(path: Path, question: Mapping[str, Any], archive: Archive) -> Snapshot:
    """Read a checkpoint of the same question.

    Args:
        path: of the file.
        question: what is asked now.
        archive: an empty one of the search's space, targets and ceiling.

    Raises:
        ValueError: the file is damaged, no checkpoint, or of another question.
        FileNotFoundError: there is no such file.
    """
    model = read_model(path)
    header, tensors = model.header, model.tensors
    if header.get("kind") != KIND:
        raise ValueError(f"{path} must be the checkpoint of a search; it is {header.get('kind')!r}")
    asked = header.get("question")
    _check_same(path, asked if isinstance(asked, dict) else {}, json.loads(json.dumps(question)))
    try:
        return Snapshot(
            {k.removeprefix("state."): v for k, v in tensors.items() if k.startswith("state.")},
            json.loads(header["generator"]),
            _archive(model, archive),
            int(header["evaluations"]),
            int(header["steps"]),
            float(header["seconds"]),
            header["is_done"] is True,
        )
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise ValueError(f"{path} must be a whole checkpoint of a search; got: {error}") from error


def _archive(model: ModelFile, empty: Archive) -> Archive:
    tensors = model.tensors
    archs = Archs(empty.archs.space, tensors["archive.genes"])
    accuracy, ms = tensors["archive.accuracy"], tensors["archive.ms"]
    if accuracy.shape != (len(archs),) or ms.shape != (len(archs), empty.ms.shape[1]):
        raise ValueError(f"a front of {len(archs)} networks with arrays of other sizes")
    return Archive(archs, accuracy, ms, empty.ceiling_ms)


def resume(snapshot: Snapshot, method: Method, problem: Problem, rng: np.random.Generator) -> None:
    """Bring a search that has begun to where a snapshot was taken.

    Raises:
        ValueError: the snapshot is of no such search.
    """
    try:
        method.restore(snapshot.state)
        rng.bit_generator.state = dict(snapshot.generator)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise ValueError(f"the checkpoint must be of this search; got: {error}") from error
    problem.archive = snapshot.archive
    problem.evaluations = snapshot.evaluations


def _check_same(path: Path, was: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    for key in sorted({*was, *now} - {"models"}):
        if was.get(key) != now.get(key):
            raise ValueError(
                f"a search goes on as it began: in {path} {key.replace('_', ' ')} was "
                f"{was.get(key)!r}, got {now.get(key)!r}; ask the same, or leave out resume"
            )
    if was.get("models") != now.get("models"):
        raise ValueError(
            f"a search goes on as it began: since {path} was written, the models of latency or "
            "accuracy have changed; ask with the same, or leave out resume"
        )
