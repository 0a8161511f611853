"""Print how good and how fast trained accuracy models are, beside simpler ones.

    python benchmarks/accuracy.py --help-list nasbench201/arch_generated_by_metad2a.txt

Two tables of labels: HELP's 500 NAS-Bench-201 cells, in five folds; and answers of the shipped
model of OFA-MobileNetV3, tested on 5,000 other networks. Every seed draws folds, or networks, anew.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from latcast.bench.tables import machine
from latcast.data import ACCURACY, Dataset, read_accuracies
from latcast.math.metrics import rank_correlations
from latcast.models.accuracy import GaussianProcess, accuracy_model
from latcast.spaces import Archs, space

Floats = npt.NDArray[np.float64]
Trained = Callable[[Archs], Floats]

ROWS = (200, 1_000, 5_000)
TESTED = 5_000
FOLDS = 5
PENALTIES = 10.0 ** np.arange(-3, 4)
NEIGHBOURS = (3, 5, 10, 20)
TIMED = 50_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--help-list", type=Path, required=True, help="HELP's list of cells")
    parser.add_argument("--seeds", type=int, default=10)
    arguments = parser.parse_args()
    print(machine())
    print(f"\n{arguments.seeds} seeds, mean ± std; errors in % points")
    cells = read_accuracies(arguments.help_list)
    show(f"{len(cells)} cells of NAS-Bench-201, {FOLDS} folds",
         [folds(cells, seed) for seed in range(arguments.seeds)])  # fmt: skip
    for rows in ROWS:
        show(f"OFA-MobileNetV3, {rows} networks labelled by the shipped model",
             [labelled(rows, seed) for seed in range(arguments.seeds)])  # fmt: skip
    speed()


# -- what is compared -------------------------------------------------------------------------


def gaussian_process(archs: Archs, accuracy: Floats, seed: int) -> Trained:
    model = GaussianProcess().fit(Dataset(archs, accuracy, quantity=ACCURACY), seed=seed)
    models.append(model)
    return model.predict


def ridge(archs: Archs, accuracy: Floats, seed: int) -> Trained:
    """Ridge regression on one-hot genes, its penalty chosen in five folds."""
    x = archs.space.one_hot(archs).astype(np.float64)
    fold = np.random.default_rng(seed).permutation(len(x)) % FOLDS

    def fit(rows: npt.NDArray[np.bool_], penalty: float) -> Callable[[Floats], Floats]:
        centre, level = x[rows].mean(axis=0), accuracy[rows].mean()
        z = x[rows] - centre
        gram = z.T @ z + penalty * np.eye(z.shape[1])
        slope = np.linalg.solve(gram, z.T @ (accuracy[rows] - level))
        return lambda new: np.asarray(level + (new - centre) @ slope)

    def error(penalty: float) -> float:
        parts = [accuracy[fold == k] - fit(fold != k, penalty)(x[fold == k]) for k in range(FOLDS)]
        return float((np.concatenate(parts) ** 2).mean())

    best = fit(np.ones(len(x), dtype=np.bool_), min(PENALTIES, key=error))
    return lambda new: best(new.space.one_hot(new).astype(np.float64))


def neighbours(archs: Archs, accuracy: Floats, seed: int) -> Trained:
    """Mean of the nearest by one-hot genes; how many is chosen by leaving one out."""
    x = archs.space.one_hot(archs)

    def mean_of(new: npt.NDArray[np.float32], k: int, skip: int) -> Floats:
        result = np.empty(len(new))
        for start in range(0, len(new), 500):
            part = new[start : start + 500]
            order = np.argsort((x**2).sum(axis=1) - 2 * part @ x.T, axis=1, kind="stable")
            result[start : start + 500] = accuracy[order[:, skip : k + skip]].mean(axis=1)
        return result

    part = np.random.default_rng(seed).permutation(len(x))[:500]
    k = min(NEIGHBOURS, key=lambda k: np.abs(mean_of(x[part], k, 1) - accuracy[part]).mean())
    return lambda new: mean_of(new.space.one_hot(new), k, 0)


METHODS = {"trained model": gaussian_process, "ridge": ridge, "k-NN": neighbours}
models: list[GaussianProcess] = []
"""The trained models of one seed: only they have intervals."""


# -- scores -----------------------------------------------------------------------------------

Scores = dict[str, dict[str, float]]


def folds(data: Dataset, seed: int) -> Scores:
    fold = np.random.default_rng(seed).permutation(len(data)) % FOLDS
    models.clear()
    predicted = {name: np.empty(len(data)) for name in METHODS}
    inside = np.empty(len(data), dtype=np.bool_)
    for k in range(FOLDS):
        rows, rest = fold != k, fold == k
        for name, method in METHODS.items():
            trained = method(data.archs[rows], data.accuracy[rows], seed)
            predicted[name][rest] = trained(data.archs[rest])
        inside[rest] = covered(models[-1], data.archs[rest], data.accuracy[rest])
    return scores(data.accuracy, predicted, inside)


def labelled(rows: int, seed: int) -> Scores:
    shipped = accuracy_model()
    restrict = {"r": shipped.resolutions or ()}
    archs = space("ofa-mobilenet-v3").sample(rows + TESTED, 1_000 + seed, restrict=restrict)
    accuracy = shipped.predict(archs)
    predicted = {
        name: method(archs[:rows], accuracy[:rows], seed)(archs[rows:])
        for name, method in METHODS.items()
    }
    inside = covered(models[-1], archs[rows:], accuracy[rows:])
    return scores(accuracy[rows:], predicted, inside)


def covered(model: GaussianProcess, archs: Archs, accuracy: Floats) -> npt.NDArray[np.bool_]:
    lower, upper = model.predict_interval(archs, 0.9)
    return (lower <= accuracy) & (accuracy <= upper)


def scores(accuracy: Floats, predicted: dict[str, Floats], inside: npt.NDArray[np.bool_]) -> Scores:
    result = {
        name: {
            "MAE": float(100 * np.abs(p - accuracy).mean()),
            **{n.capitalize(): r for n, r in rank_correlations(accuracy, p).items()},
        }
        for name, p in predicted.items()
    }
    result["trained model"]["90 % interval covers"] = float(100 * inside.mean())
    return result


def show(title: str, of_seeds: list[Scores]) -> None:
    print(f"\n{title}")
    for name in METHODS:
        cells = []
        for measure in of_seeds[0][name]:
            values = [s[name][measure] for s in of_seeds]
            cells.append(f"{measure} {np.mean(values):.4g} ± {np.std(values):.2g}")
        print(f"  {name:14s} {'   '.join(cells)}", flush=True)


def speed() -> None:
    """CPU seconds, so that other processes do not count; the best of three, side by side."""
    shipped = accuracy_model()
    archs = space("ofa-mobilenet-v3").sample(TIMED, 0, restrict={"r": shipped.resolutions or ()})
    labels = shipped.predict(archs)
    asked = {"shipped model": shipped.predict}
    for rows in (200, 1_000, 10_000):
        start = time.process_time()
        model = GaussianProcess().fit(Dataset(archs[:rows], labels[:rows], quantity=ACCURACY))
        print(f"\ntraining on {rows} rows: {time.process_time() - start:.1f} s", end="")
        asked[f"trained on {rows} rows"] = model.predict
    print("\narchitectures per second of one core")
    best = dict.fromkeys(asked, np.inf)
    for _ in range(3):
        for name, predict in asked.items():
            start = time.process_time()
            predict(archs)
            best[name] = min(best[name], time.process_time() - start)
    for name, seconds in best.items():
        print(f"  {name:22s} {TIMED / seconds:,.0f}")


if __name__ == "__main__":
    main()
