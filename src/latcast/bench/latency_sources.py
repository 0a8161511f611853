"""Sources of latencies for a search on the Note10.

The truth is the published lookup table, of whose sums the OFANAS paper's Note10 rows consist.
Everything that is learnt from them is learnt from the paper's training rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from latcast.data import Dataset
from latcast.data.help import load_torch_file
from latcast.models import BaseModel, LookupTable, Predictor, Roofline
from latcast.spaces import Archs, space

from . import paper
from .conditioned import EPOCHS, RECIPES, ConditionedMLP, ConditionedPredictor
from .finetuning import Bases
from .help_folder import FOLDERS, HelpFolder, folders_below
from .protocol import Report, base_model, random_rows

SPACE = "ofa-mobilenet-v3"
NOTE10 = "note10_lookuptable_ofa"
RTX = "RTX_2080_Ti_GPU_ofa"
GPUS = (RTX, "Tesla_P40_GPU_ofa")
# Rows of every target of the base model: with more of them it takes minutes to fit.
BASE_SAMPLES = 900


class Material:
    """The data and models that sources need, each read or trained when it is first asked for.

    Args:
        folder: the paper's data, with ``datasets`` and ``lookup_tables``.
        help_data: folder of HELP's files, whose OFA targets then join the paper's two GPUs in
            what is conditioned on devices.
        base_samples: measurements of every target of that.
        epochs: of the conditioned network.
        report: called with what is trained.
    """

    def __init__(
        self,
        folder: Path,
        help_data: Path | None = None,
        *,
        base_samples: int = BASE_SAMPLES,
        epochs: int = EPOCHS,
        report: Report = lambda _: None,
    ) -> None:
        self._folder, self._help_data, self._report = folder, help_data, report
        self._base_samples, self._epochs = base_samples, epochs

    @cached_property
    def rows(self) -> tuple[Dataset, Dataset, Dataset]:
        """The Note10's training, validation and test rows."""
        return paper.split_of(self._folder, NOTE10)

    @cached_property
    def table(self) -> LookupTable:
        """The published table."""
        path = self._folder / "lookup_tables"
        return LookupTable.from_ofa(path, space(SPACE), self.rows[0].target)

    @cached_property
    def gpus(self) -> dict[str, Dataset]:
        """Training rows of the paper's GPUs."""
        return {name: paper.split_of(self._folder, name)[0] for name in GPUS}

    @cached_property
    def rtx(self) -> Bases:
        """Predictors of the RTX 2080 Ti, for fine-tuning."""
        return Bases(RTX, lambda: self.gpus[RTX])

    @cached_property
    def others(self) -> dict[str, Dataset]:
        """All rows of other targets than the Note10, for what is conditioned on devices."""
        data = dict(self.gpus)
        if self._help_data is not None and FOLDERS[SPACE] in folders_below(self._help_data):
            folder = HelpFolder.find(self._help_data, SPACE)
            data |= {name: folder.read(name) for name in folder.names}
        return data

    @cached_property
    def base(self) -> BaseModel:
        """The base model of these."""
        return base_model(self.others, self._base_samples, self._report)[0]

    @cached_property
    def paper_mlp(self) -> Predictor:
        """The paper's network on the Note10; needs PyTorch."""
        dataset = next(d for d in paper.DATASETS if d.name == NOTE10)
        train, validation, _ = self.rows
        return paper.PREDICTORS["mlp-paper"](dataset).fit(train, calibration=validation)

    def conditioned(self, recipe: str) -> Predictor:
        """The paper's network on its two GPUs and their specifications; needs PyTorch."""
        trained_on = list(self.gpus.values())
        mlp = ConditionedMLP(RECIPES[recipe], self._epochs).fit(trained_on)
        return ConditionedPredictor(mlp, trained_on, self.rows[0].target)

    def few(self, samples: int, seed: int) -> Dataset:
        """Draw ``samples`` of the Note10's training rows at random."""
        return random_rows(self.rows[0], samples, seed)


@dataclass(frozen=True)
class Source:
    """A predictor, table or measurement from which a search takes its latencies.

    Attributes:
        learn: from the material and a seed.
        trained_on: targets whose rows it has seen, but for those ``samples`` of the Note10.
        base: what it builds on, made before the clock starts.
        samples: measurements of the Note10 that it uses; None for all training rows.
        is_seeded: whether a seed changes it; otherwise it is made once.
        is_quick: whether it is among those that are run by default.
    """

    learn: Callable[[Material, int], Predictor]
    trained_on: Callable[[Material], Iterable[str]] = lambda _: ()
    base: Callable[[Material], object] = lambda material: material.rows
    samples: int | None = 0
    is_seeded: bool = True
    is_quick: bool = True


def _fine_tuned(samples: int) -> Source:
    return Source(
        lambda m, seed: m.rtx.roofline.adapt(m.few(samples, seed), seed=seed),
        lambda _: [RTX],
        lambda m: m.rtx.roofline,
        samples,
    )


def _conditioned_mlp(recipe: str) -> Source:
    return Source(
        lambda m, _: m.conditioned(recipe),
        lambda _: GPUS,
        lambda m: m.gpus,
        is_seeded=False,
        is_quick=False,
    )


# The truth; what is learnt from the Note10's 7,000 training rows, by us and by the paper's recipe;
# an RTX 2080 Ti's predictor fine-tuned on a few of them, by us and as in the paper; what is known
# from other devices' measurements and the Note10's specification, by us, without and with ten rows,
# and by the paper's conditioned network, by two recipes.
SOURCES: Mapping[str, Source] = {
    "table": Source(lambda m, _: m.table, base=lambda m: m.table, is_seeded=False),
    "predictor": Source(lambda m, seed: Roofline().fit(m.rows[0], seed=seed), samples=None),
    "mlp-paper": Source(lambda m, _: m.paper_mlp, samples=None, is_seeded=False, is_quick=False),
    "fine-tuned-10": _fine_tuned(10),
    "fine-tuned-100": _fine_tuned(100),
    "last-layer-100": Source(
        lambda m, seed: m.rtx.mlp.adapt(m.few(100, seed), method="last-layer", seed=seed),
        lambda _: [RTX],
        lambda m: m.rtx.mlp,
        100,
        is_quick=False,
    ),
    "conditioned": Source(
        lambda m, _: m.base.predictor(m.rows[0].target),
        lambda m: m.others,
        lambda m: m.base,
        is_seeded=False,
    ),
    "conditioned-10": Source(
        lambda m, seed: m.base.adapt(m.few(10, seed)), lambda m: m.others, lambda m: m.base, 10
    ),
    "mlp-conditioned": _conditioned_mlp("mlp-paper"),
    "mlp-conditioned-standardized": _conditioned_mlp("mlp-paper-standardized"),
}

TRUTH = "table"
QUICK = tuple(name for name, source in SOURCES.items() if source.is_quick)


LAYERS = (0, 2, 4, 6)
# One-hot inputs before those of the resolution.
KERNELS_AND_EXPANDS = 120


class Teacher:
    """128-400-400-400-1 with ReLU on the one-hot genes of OFA-MobileNetV3.

    Args:
        path: ``acc_predictor.pth`` of the OFANAS paper's repository, a state dict.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged, or holds other layers.
        ModuleNotFoundError: PyTorch is not installed.
    """

    def __init__(self, path: Path) -> None:
        state = load_torch_file(path)
        try:
            self._layers = [
                (state[f"{n}.weight"].numpy().T, state[f"{n}.bias"].numpy()) for n in LAYERS
            ]
        except (KeyError, TypeError) as error:
            raise ValueError(
                f"{path} must hold Once-For-All's accuracy predictor, four linear layers; "
                f"got no {error}"
            ) from error

    def predict(self, archs: Archs) -> npt.NDArray[np.float64]:
        """Top-1 accuracy from 0 to 1, shape (n,), at resolutions 128, 144, … 224."""
        archs = archs.space.expand(archs)
        x = archs.space.one_hot(archs)
        # Its resolution bins start at 112, ours at 128.
        head, bins = x[:, :KERNELS_AND_EXPANDS], x[:, KERNELS_AND_EXPANDS:-1]
        x = np.hstack([head, np.zeros((len(x), 1), np.float32), bins])
        for weights, biases in self._layers[:-1]:
            x = np.maximum(x @ weights + biases, 0)
        weights, biases = self._layers[-1]
        return np.asarray((x @ weights + biases)[:, 0], dtype=np.float64)
