"""Train, adapt, evaluate and tune in one call: what the command line does, from Python.

Each takes data as people have it (a file, a frame, a dataset) and models by name, and returns the
record that the command prints; the model that was made is the record's ``fitted_model``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from latcast._names import unknown_name
from latcast.data import Dataset, Source, read
from latcast.devices import Target
from latcast.spaces import SearchSpace

from . import workflow
from ._base import Predictor
from ._block_predictor import ADAPTATIONS
from .base_model import BaseModel
from .evaluation import Evaluation
from .resolve import load_with_data
from .workflow import Adaptation, BaseTraining, Made, Progress, Training

if TYPE_CHECKING:
    from .tuning import TuningRecord

M = TypeVar("M", bound=Made)


def kind_of(datasets: Sequence[Dataset], predictor: str | None) -> str:
    """Return the kind of model to fit to datasets: ``predictor``, or by default by their networks.

    Raises:
        ValueError: it is not for such data, or there is none of that name.
    """
    of_networks = any(data.space is None for data in datasets)
    if predictor is None:
        several = workflow.BASE if len(datasets) > 1 else "roofline"
        return workflow.LAYERS if of_networks else several
    if of_networks and predictor != workflow.LAYERS:
        raise ValueError(
            f"networks of any kind need --predictor {workflow.LAYERS}; got {predictor}"
        )
    workflow.check_kind(predictor)
    return predictor


def train(
    data: Source | Sequence[Source],
    predictor: str | None = None,
    *,
    space: str | SearchSpace | None = None,
    target: str | Target | None = None,
    test: float = 0.15,
    seed: int = 0,
    families: bool = True,
    out: str | Path | None = None,
    progress: Progress = lambda _done, _total: None,
) -> Training | BaseTraining:
    """Fit a predictor to measurements, and score it on architectures that it has not seen.

    Args:
        data: what :func:`latcast.read` takes; several of a space, one a target, make a base model,
            and several of networks of one target a layer model.
        predictor: kind, of :data:`latcast.models.KINDS` or ``base``; by default ``roofline`` for a
            space, ``layers`` for networks of any kind, ``base`` for several datasets.
        space: search space, where the data does not tell.
        target: what the values belong to, likewise.
        test: share of the architectures, between 0 and 1, that is only scored on.
        seed: of the split and of the fit.
        families: of ``layers``, whether to score on one family after the other, left out.
        out: model file to write (``.latcast``).
        progress: called with the number of fits done and of all.

    Returns:
        The scores; the predictor is its ``fitted_model``.

    Raises:
        ValueError: the data cannot be read or fitted, or the predictor is not for it.
        FileNotFoundError: there is no such file.
    """
    sources: Any = data if isinstance(data, list | tuple) else [data]
    datasets = [read(each, space=space, target=target) for each in sources]
    kind = kind_of(datasets, predictor)
    model, found = workflow.train(
        datasets, kind, test=test, seed=seed, families=families, out=_path(out), progress=progress
    )
    return _written(found.of_model(model), out)


def evaluate(
    model: Predictor | str | Path,
    data: Source,
    *,
    space: str | SearchSpace | None = None,
    target: str | Target | None = None,
) -> Evaluation:
    """Score a model on measurements that it has not seen.

    Args:
        model: a predictor, a ``.latcast`` file, or the name of a shipped model or of a device.
        data: what :func:`latcast.read` takes.
        space: search space, where the data does not tell.
        target: what the values belong to, likewise.

    Raises:
        ValueError: nothing of that name predicts such networks, or the data cannot be read.
        FileNotFoundError: there is no such file.
    """
    known, dataset = _model_and_data(model, data, space, target, scored=True)
    return Evaluation.of(known, dataset, model_name=_name(model), data=_name(data))


def adapt(
    model: Predictor | BaseModel | str | Path,
    data: Source,
    *,
    space: str | SearchSpace | None = None,
    target: str | Target | None = None,
    samples: int | None = None,
    method: str = "bayes",
    seed: int = 0,
    out: str | Path | None = None,
) -> Adaptation:
    """Make a model for another target from one that is known and a few measurements.

    Args:
        model: what is known: a predictor or base model, a ``.latcast`` file, or a name.
        data: measurements of the new target, one or more: what :func:`latcast.read` takes.
        space: search space, where the data does not tell.
        target: what the values belong to, likewise.
        samples: adapt to so many networks at random, and score on all others; by default to all.
        method: of :data:`latcast.models.ADAPTATIONS`: ``bayes`` or ``last-layer``.
        seed: of the choice, and of the fit.
        out: model file to write (``.latcast``).

    Returns:
        The scores; the new predictor is its ``fitted_model``.

    Raises:
        ValueError: more samples than networks, or a model, method or data that do not go together.
        FileNotFoundError: there is no such file.
    """
    if method not in ADAPTATIONS:
        raise ValueError(unknown_name("method", method, list(ADAPTATIONS)))
    known, dataset = _model_and_data(model, data, space, target, scored=False)
    adapted, found = workflow.adapt_and_score(
        known, dataset, samples=samples, method=method, seed=seed, base=_name(model),
        out=_path(out),
    )  # fmt: skip
    return _written(found.of_model(adapted), out)


def tune(
    data: Source,
    predictor: str | None = None,
    *,
    preset: str | None = None,
    epochs: int | None = None,
    space: str | SearchSpace | None = None,
    target: str | Target | None = None,
    test: float = 0.15,
    prune: bool = True,
    seed: int = 0,
    out: str | Path | None = None,
    storage: str | Path | None = None,
    **how: Any,
) -> TuningRecord:
    """Search the options of a predictor: which suit a dataset.

    Args:
        data: what :func:`latcast.read` takes, of a space's architectures.
        predictor: ``roofline`` by default, ``lookup-table`` or ``mlp``.
        preset: a published grid instead: ``paper-grid``.
        epochs: of every fit, where there are epochs.
        space: search space, where the data does not tell.
        target: what the values belong to, likewise.
        test: share of the architectures that is only scored on.
        prune: whether trials that fall behind are given up.
        seed: of everything chance decides.
        out: model file to write (``.latcast``).
        storage: SQLite file or URL that keeps the trials; in memory by default.
        how: ``trials``, ``timeout_s``, ``study``, ``workers``, ``ray`` and ``progress`` of
            :func:`latcast.models.tuning.tune`.

    Returns:
        The trials; the predictor with the best options is its ``fitted_model``.

    Raises:
        ValueError: an option out of range, or data that cannot be fitted.
        ModuleNotFoundError: Optuna is not installed.
    """
    from .tuning import TuningPlan, TuningRecord
    from .tuning import tune as run

    plan = TuningPlan.make(predictor, preset, epochs=epochs, test=test, seed=seed, prune=prune)
    dataset = read(data, space=space, target=target)
    result = run(dataset, plan, storage=storage, **how)
    where, file = (None if x is None else str(x) for x in (storage, out))
    found = TuningRecord.of(result, plan, storage=where, model=file)
    return _written(found.of_model(result.predictor), out)


def _model_and_data(
    model: Any,
    data: Source,
    space: str | SearchSpace | None,
    target: str | Target | None,
    *,
    scored: bool,
) -> tuple[Any, Dataset]:
    def dataset() -> Dataset:
        return read(data, space=space, target=target)

    if isinstance(model, str | Path):
        return load_with_data(str(model), dataset, scored=scored)
    return model, dataset()


def _written(found: M, out: str | Path | None) -> M:
    if out is not None:
        found.fitted_model.save(out)
    return found


def _path(out: str | Path | None) -> Path | None:
    """The model file, which must be one by its name.

    Raises:
        ValueError: it does not end in ``.latcast``.
    """
    if out is not None and Path(out).suffix != ".latcast":
        raise ValueError(f"out must end in .latcast; got {out}")
    return None if out is None else Path(out)


def _name(given: object) -> str:
    """Return a record's name of a model or of data."""
    if isinstance(given, str | Path):
        return str(given)
    if isinstance(given, Predictor):
        return str(given.target)
    return str(given.target) if isinstance(given, Dataset) else type(given).__name__
