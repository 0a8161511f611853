"""Distil Once-For-All's accuracy predictor into the accuracy model that latcast ships.

    python scripts/distill_accuracy.py --teacher acc_predictor.pth --out MODEL --seed 0

The teacher is a near-random 128-400-400-400-1 ReLU network: fresh small networks of any shape do
little better than a linear fit. Its own hidden units are thinned out instead (each dropped unit
is made up for by least squares on those that stay and on the inputs), and what is left is
trained further on the teacher's answers. The training set has random architectures, CompOFA, and
what a search for accuracy at a cost visits, first one led by the teacher and later one led by the
student itself, so that a search gains nothing from the student's errors.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from scipy.stats import spearmanr
from torch import nn

from latcast.models.accuracy.distilled import FEATURES, DistilledOFA, encode
from latcast.spaces import Archs, CompOFA, space
from latcast.spaces.ofa_mobilenet_v3 import KS, RESOLUTIONS, D, E

Floats = npt.NDArray[np.float64]
Score = Callable[[Archs], Floats]

SPACE = space("ofa-mobilenet-v3")
INPUT = 128
WIDTHS = (400, 340, 200)
STEPS = 5_000
BATCH = 1_024
LEARNING_RATE = 1e-4
CALIBRATION = 40_000


# -- the teacher ------------------------------------------------------------------------------


def load_teacher(path: Path) -> tuple[nn.Sequential, tuple[int, ...]]:
    """The teacher on the inputs of :func:`encode`, and the resolutions it was trained on."""
    state = torch.load(path, weights_only=True, map_location="cpu")
    shapes = [tuple(t.shape) for name, t in state.items() if name.endswith("weight")]
    if shapes != [(400, INPUT), (400, 400), (400, 400), (1, 400)]:
        raise SystemExit(f"{path} must be a 128-400-400-400-1 network; got the shapes {shapes}")
    resolutions = trained_resolutions(state["0.weight"].numpy())
    weight, bias = reduce_inputs(state["0.weight"], state["0.bias"])
    state["0.weight"], state["0.bias"] = weight, bias
    sizes = (FEATURES, 400, 400, 400, 1)
    layers: list[nn.Module] = []
    for n_in, n_out in pairwise(sizes):
        layers += [nn.Linear(n_in, n_out), nn.ReLU()]
    teacher = nn.Sequential(*layers[:-1])
    teacher.load_state_dict(state)
    return teacher.requires_grad_(False), resolutions


def trained_resolutions(first: npt.NDArray[np.float32]) -> tuple[int, ...]:
    """Resolutions whose column of the first layer is not, bit for bit, PyTorch's initialization.

    That draws u from the 2**24 multiples of 2**-24 below 1 and sets the weight to 2 b u - b with
    b = 1 / sqrt(inputs), rounded. No training step leaves a weight on that grid for long, so that
    about half of a trained column is off it; a column without a gradient is on it entirely.
    """
    bound = 1 / np.sqrt(INPUT)
    columns = first[:, 120:]
    nearest = np.round((columns.astype(np.float64) + bound) / (2 * bound) * 2**24)
    on_grid = np.zeros(columns.shape, dtype=np.bool_)
    for shift in (-2, -1, 0, 1, 2):
        u = ((nearest + shift) / 2**24).astype(np.float32)
        on_grid |= u * np.float32(2 * bound) - np.float32(bound) == columns
        fused = u.astype(np.float64) * np.float32(2 * bound) - np.float32(bound)
        on_grid |= fused.astype(np.float32) == columns
    trained = ~on_grid.all(axis=0)
    return tuple(112 + 16 * int(i) for i in np.flatnonzero(trained))


def reduce_inputs(weight: torch.Tensor, bias: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """First layer of the teacher on the 97 inputs of :func:`encode` instead of its own 128.

    Kernel size 3 and expand ratio 3 are what a block in use has by default: their columns move
    to the bias for blocks that always are, to the input "in use" for the others.
    """
    kernels = weight[:, :60].reshape(-1, 20, 3)
    expands = weight[:, 60:120].reshape(-1, 20, 3)
    default = kernels[:, :, 0] + expands[:, :, 0]
    optional = torch.arange(20) % 4 >= 2
    groups = [
        kernels[:, :, 1] - kernels[:, :, 0], kernels[:, :, 2] - kernels[:, :, 0],
        expands[:, :, 1] - expands[:, :, 0], expands[:, :, 2] - expands[:, :, 0],
        default[:, optional], weight[:, 121:],
    ]  # fmt: skip
    return torch.cat(groups, dim=1), bias + default[:, ~optional].sum(dim=1)


def answers(network: nn.Module, features: npt.NDArray[np.bool_]) -> Floats:
    """The network's accuracies for encoded architectures, shape (n,)."""
    parts = [torch.from_numpy(features[i : i + 4_096]) for i in range(0, len(features), 4_096)]
    with torch.no_grad():
        result = torch.cat([network(part.float()).reshape(-1) for part in parts])
    return result.double().numpy()


# -- architectures ----------------------------------------------------------------------------


def random_archs(rng: np.random.Generator, n: int, resolutions: tuple[int, ...]) -> Archs:
    """Every gene uniform, resolutions from those given."""
    return SPACE.sample(n, rng, restrict={"r": resolutions})


def skewed_archs(rng: np.random.Generator, n: int, resolutions: tuple[int, ...]) -> Archs:
    """Every architecture with a taste of its own for kernel sizes, expand ratios and depths."""
    genes = random_archs(rng, n, resolutions).genes.copy()
    for group in (KS, E, D):
        choices = np.array(SPACE.genes[group.start].choices, dtype=np.uint8)
        limits = rng.dirichlet(np.full(3, 0.5), n).cumsum(axis=1)[:, None, :2]
        draws = rng.random((n, group.stop - group.start, 1))
        genes[:, group] = choices[(draws > limits).sum(axis=2)]
    return Archs(SPACE, genes)


def compofa_archs(rng: np.random.Generator, n: int, resolutions: tuple[int, ...]) -> Archs:
    """Half CompOFA with fixed kernel sizes, half with elastic ones."""
    halves = []
    for name in ("compofa-fixed-kernel", "compofa-elastic-kernel"):
        subspace = space(name)
        assert isinstance(subspace, CompOFA)
        halves.append(subspace.expand(subspace.sample(n // 2, rng, restrict={"r": resolutions})))
    return halves[0].concatenate(halves[1])


def random_costs(rng: np.random.Generator) -> Floats:
    """Cost of every block on a made-up device, shape (rows of the block table,)."""
    facts = SPACE.block_table.facts
    moved = facts["read_bytes"] + facts["write_bytes"] + facts["param_bytes"]
    terms = [np.asarray(t, dtype=np.float64) for t in (facts["macs"], moved, facts["launches"])]
    cost = sum(w * t / t.mean() for w, t in zip(rng.dirichlet(np.ones(3)), terms, strict=True))
    # A device likes or dislikes a block at every resolution alike.
    quirks = np.exp(rng.normal(0, 0.3, len(cost) // len(RESOLUTIONS)))
    return np.asarray(cost * np.tile(quirks, len(RESOLUTIONS)))


@dataclass
class Climb:
    """Hill climbing of n architectures, each for accuracy - weight * log(cost) of its own."""

    score: Score
    resolutions: tuple[int, ...]
    n: int = 4_096
    steps: int = 120
    devices: int = 16

    def run(self, rng: np.random.Generator) -> tuple[Archs, Archs]:
        """Architectures tried after the first quarter, and those reached."""
        costs = [random_costs(rng) for _ in range(self.devices)]
        groups = np.array_split(np.arange(self.n), self.devices)
        weights = np.exp(rng.uniform(np.log(0.005), np.log(0.15), self.n))

        def penalty(archs: Archs) -> Floats:
            parts = zip(groups, costs, strict=True)
            sums = [SPACE.block_sums(archs[rows], cost) for rows, cost in parts]
            return weights * np.log(np.concatenate(sums))

        current = random_archs(rng, self.n, self.resolutions)
        best = self.score(current) - penalty(current)
        tried = []
        for step in range(self.steps):
            new = SPACE.mutate(current, 0.05, rng, restrict={"r": self.resolutions})
            objective = self.score(new) - penalty(new)
            better = objective > best
            best[better] = objective[better]
            current = Archs(SPACE, np.where(better[:, None], new.genes, current.genes))
            if step >= self.steps // 4:
                tried.append(new)
        return tried[0].concatenate(*tried[1:]), current


# -- the student ------------------------------------------------------------------------------


class Student(nn.Module):
    """The network that :class:`latcast.models.accuracy.DistilledOFA` describes, in float32."""

    def __init__(self) -> None:
        super().__init__()
        a, b, c = WIDTHS
        self.first = nn.Linear(FEATURES, a)
        self.second = nn.Linear(a, b)
        self.third = nn.Linear(b, c)
        self.skip = nn.Linear(FEATURES, c, bias=False)
        self.last = nn.Linear(c, 1)
        self.linear = nn.Linear(FEATURES, 1, bias=False)

    def hidden(self, x: torch.Tensor) -> torch.Tensor:
        """Activations that the last layer reads, shape (n, c)."""
        h = torch.relu(self.second(torch.relu(self.first(x))))
        result: torch.Tensor = self.third(h) + self.skip(x)
        return result.relu()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Accuracies, shape (n,)."""
        result: torch.Tensor = self.last(self.hidden(x)) + self.linear(x)
        return result[:, 0]


def thin_out(
    units: torch.Tensor, inputs: torch.Tensor, targets: torch.Tensor, keep: int
) -> tuple[list[int], torch.Tensor]:
    """Drop units one by one, always the one that least squares misses least (Brain Surgeon).

    Args:
        units: activations, shape (n, units).
        inputs: what stays in any case, shape (n, inputs).
        targets: what is to be reproduced, shape (n, outputs).
        keep: how many units to keep.

    Returns:
        The units kept, and the coefficients of those and of the inputs, (keep + inputs, outputs).
    """
    x = torch.cat([units, inputs], dim=1)
    gram = x.T @ x
    gram += 1e-6 * gram.trace() / len(gram) * torch.eye(len(gram), dtype=gram.dtype)
    inverse = torch.linalg.inv(gram)
    weights = inverse @ (x.T @ targets)
    alive = list(range(units.shape[1]))
    while len(alive) > keep:
        index = torch.tensor(alive)
        loss = weights[index].square().sum(dim=1) / inverse[index, index]
        drop = alive.pop(int(loss.argmin()))
        column = inverse[:, drop] / inverse[drop, drop]
        weights = weights - torch.outer(column, weights[drop])
        inverse = inverse - torch.outer(column, inverse[drop].clone())
    rows = [*alive, *range(units.shape[1], x.shape[1])]
    return alive, weights[rows]


def thinned_student(teacher: nn.Sequential, x: torch.Tensor) -> Student:
    """A student made of the teacher's most useful units on the inputs ``x``."""
    student = Student().requires_grad_(False)
    h2, h3 = teacher[:4](x).double(), teacher[:6](x).double()
    inputs = torch.cat([x.double(), torch.ones(len(x), 1, dtype=torch.float64)], dim=1)
    units, weights = thin_out(h3, inputs, teacher(x).double(), WIDTHS[2])
    _fill(student.last, student.linear, weights)
    # A unit of the third layer matters as much as the last layer makes of it.
    use = student.last.weight[0].abs() * (h3[:, units] > 0).double().mean(dim=0).sqrt()
    before = teacher[:5](x).double()[:, units]
    units, weights = thin_out(h2, inputs, before * use, WIDTHS[1])
    _fill(student.third, student.skip, weights / use)
    second = teacher.get_submodule("2").state_dict()
    student.second.load_state_dict({name: value[units] for name, value in second.items()})
    student.first.load_state_dict(teacher.get_submodule("0").state_dict())
    return student.requires_grad_(True)


def _fill(layer: nn.Linear, skip: nn.Linear, weights: torch.Tensor) -> None:
    """Coefficients of kept units, inputs and the constant, to the layers that hold them."""
    units, inputs, constant = torch.split(weights, [layer.in_features, FEATURES, 1])
    layer.weight[:], skip.weight[:], layer.bias[:] = units.T, inputs.T, constant[0]


Pool = tuple[torch.Tensor, torch.Tensor]


def labelled(teacher: nn.Module, *batches: Archs) -> Pool:
    """Encoded architectures and the teacher's answers."""
    features = np.concatenate([encode(batch) for batch in batches])
    return torch.from_numpy(features), torch.from_numpy(answers(teacher, features)).float()


def train(student: Student, pool: Pool, steps: range, rate: Callable[[int], float]) -> None:
    """Adam on the squared error; ``rate`` gives the learning rate of a step."""
    features, labels = pool
    scale = labels.std()
    optimizer = torch.optim.Adam(student.parameters(), fused=True)
    order, at = torch.randperm(len(labels)), 0
    for step in steps:
        if at + BATCH > len(order):
            order, at = torch.randperm(len(labels)), 0
        rows = order[at : at + BATCH]
        at += BATCH
        optimizer.param_groups[0]["lr"] = rate(step)
        # The error in units of the spread, as Adam's epsilon expects gradients near 1.
        error = (student(features[rows].float()) - labels[rows]) / scale
        optimizer.zero_grad()
        error.square().mean().backward()
        optimizer.step()
        if step % 1_000 == 0:
            print(f"  step {step:6}: {error.abs().mean() * scale:.6f} mean error", flush=True)


def distil(
    teacher: nn.Sequential, resolutions: tuple[int, ...], rng: np.random.Generator
) -> tuple[Student, Pool]:
    """Thin out, train, search with the student, train on what that found too."""
    climbed = Climb(_scorer(teacher), resolutions, n=8_192).run(rng)[0]
    pool = labelled(
        teacher,
        random_archs(rng, 900_000, resolutions),
        random_archs(rng, 100_000, tuple(set(RESOLUTIONS) - set(resolutions))),
        skewed_archs(rng, 400_000, resolutions),
        compofa_archs(rng, 150_000, resolutions),
        climbed,
    )
    rows = torch.from_numpy(rng.choice(len(pool[1]), CALIBRATION, replace=False))
    student = thinned_student(teacher, pool[0][rows].float())

    def rate(step: int) -> float:
        warm = min(1.0, (step % (STEPS // 2) + 1) / 200)
        return LEARNING_RATE * warm * 0.5 * (1 + math.cos(math.pi * step / STEPS))

    train(student, pool, range(STEPS // 2), rate)
    own = labelled(teacher, Climb(_scorer(student), resolutions, n=8_192).run(rng)[0])
    pool = (torch.cat([pool[0], own[0]]), torch.cat([pool[1], own[1]]))
    train(student, pool, range(STEPS // 2, STEPS), rate)
    return student, pool


def _scorer(network: nn.Module) -> Score:
    return lambda archs: answers(network, encode(archs))


# -- export and evaluation --------------------------------------------------------------------


def quantized(weight: torch.Tensor) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]:
    """A layer's matrix (inputs, outputs) as int8, and the scale of each output."""
    matrix = weight.detach().T
    scale = matrix.abs().amax(dim=0) / 127
    return (matrix / scale).round().to(torch.int8).contiguous().numpy(), scale.numpy()


def export(student: Student, pool: Pool) -> dict[str, npt.NDArray[np.generic]]:
    """The tensors of the model file; the last layer is fitted anew to the rounded ones."""
    tensors: dict[str, npt.NDArray[np.generic]] = {}
    with torch.no_grad():
        for name in ("first", "second", "third", "skip"):
            layer = getattr(student, name)
            whole, scale = quantized(layer.weight)
            tensors |= {name: whole, f"{name}_scale": scale}
            layer.weight[:] = (torch.from_numpy(whole).float() * torch.from_numpy(scale)).T
            if layer.bias is not None:
                tensors[f"{name}_bias"] = layer.bias.detach().numpy()
        refit_last(student, pool)
        tensors["last"] = student.last.weight[0].numpy()
        tensors["linear"] = student.linear.weight[0].numpy()
        tensors["last_bias"] = student.last.bias.numpy()
    return tensors


def refit_last(student: Student, pool: Pool, n: int = 200_000) -> None:
    """Fit the last layer to what the rounded ones give, by least squares."""
    rows = torch.randperm(len(pool[1]))[:n]
    x = pool[0][rows].float()
    a = torch.cat([student.hidden(x), x], dim=1).double()
    a = torch.cat([a, torch.ones(len(a), 1, dtype=torch.float64)], dim=1)
    error = pool[1][rows].double() - student(x).double()
    gram = a.T @ a
    gram += 1e-7 * gram.trace() / len(gram) * torch.eye(len(gram), dtype=gram.dtype)
    change = torch.linalg.solve(gram, a.T @ error)
    units, inputs, constant = torch.split(change.float(), [WIDTHS[2], FEATURES, 1])
    student.last.weight.add_(units)
    student.linear.weight.add_(inputs)
    student.last.bias.add_(constant)


def compare(got: Floats, expected: Floats) -> dict[str, float]:
    """Errors of ``got``."""
    error = got - expected
    return {
        "n": float(len(got)),
        "mae": round(float(np.abs(error).mean()), 7),
        "bias": round(float(error.mean()), 7),
        "max_error": round(float(np.abs(error).max()), 7),
        "spearman": round(float(spearmanr(got, expected)[0]), 7),
    }


def evaluate(
    model: DistilledOFA, teacher: nn.Module, rng: np.random.Generator
) -> dict[str, dict[str, float]]:
    """The model against the teacher on architectures that training has not seen on purpose."""
    valid = model.resolutions or ()
    score = _scorer(teacher)
    sets = {
        "random": random_archs(rng, 20_000, valid),
        "random_128_to_224": random_archs(rng, 20_000, tuple(range(128, 225, 4))),
        "skewed": skewed_archs(rng, 20_000, valid),
        "compofa": compofa_archs(rng, 20_000, valid),
        "search_led_by_teacher": Climb(score, valid).run(rng)[1],
        "search_led_by_model": Climb(model.predict, valid).run(rng)[1],
    }
    return {name: compare(model.predict(archs), score(archs)) for name, archs in sets.items()}


def architectures_per_second(model: DistilledOFA, n: int = 50_000) -> float:
    """Best of five runs."""
    archs = SPACE.sample(n, 0)
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        model.predict(archs)
        seconds.append(time.perf_counter() - start)
    return n / min(seconds)


def main() -> None:
    """Read the arguments, distil, write the model, print how good it is."""
    parser = argparse.ArgumentParser(description="Distil OFA's accuracy predictor.")
    parser.add_argument("--teacher", type=Path, required=True, help="acc_predictor.pth")
    parser.add_argument("--out", type=Path, required=True, help="the model file to write")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    torch.manual_seed(arguments.seed)
    rng, test_rng = np.random.default_rng(arguments.seed).spawn(2)

    teacher, resolutions = load_teacher(arguments.teacher)
    print("the teacher was trained on the resolutions", *resolutions)
    student, pool = distil(teacher, resolutions, rng)
    tensors = export(student, pool)
    model = DistilledOFA(tensors, resolutions=resolutions, metrics={})
    metrics = evaluate(model, teacher, test_rng)
    DistilledOFA(tensors, resolutions=resolutions, metrics=metrics).save(arguments.out)
    for name, row in metrics.items():
        print(f"{name:24}", *(f"{key} {value:.7g}" for key, value in row.items()))
    print(f"{arguments.out}: {arguments.out.stat().st_size:,} bytes")
    print(f"{architectures_per_second(model):,.0f} architectures/s")


if __name__ == "__main__":
    main()
