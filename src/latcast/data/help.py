"""The files of HELP (github.com/HayeonLee/HELP): ``SPACE/latency/DEVICE_BATCH.pt``.

Each is a list of milliseconds, one per architecture. The architectures are one folder above, in
a file that is called differently in every space. Beside them is a list of NAS-Bench-201
architectures and their accuracies, ``arch_generated_by_metad2a.txt``.
"""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from latcast._files import check_archive
from latcast._imports import require
from latcast._names import short_repr
from latcast.devices import Target

from ._csv import fractions
from ._dataset import Dataset
from ._quantity import ACCURACY

if TYPE_CHECKING:
    from latcast.spaces import Archs, SearchSpace

    from ._formats import Asked

# Not just "pytorch": its RTX 2080 Ti takes half as long again as the OFANAS paper's.
RUNTIME = "pytorch-help"
# Of phones, a Raspberry Pi and accelerators: the authors do not name what ran there.
OTHER_RUNTIME = "help"

_COMPUTERS = {
    "1080ti": "gtx-1080-ti",
    "2080ti": "rtx-2080-ti",
    "titanx": "titan-x",
    "titanxp": "titan-xp",
    "v100": "tesla-v100",
    "silver_4114": "xeon-silver-4114",
    "silver_4210r": "xeon-silver-4210r",
    "gold_6226": "xeon-gold-6226",
    "gold_6240": "xeon-gold-6240",
}
_OTHERS = {
    "essential_ph_1": "essential-ph-1",
    "pixel2": "pixel-2",
    "pixel3": "pixel-3",
    "raspi4": "raspberry-pi-4",
    "samsung_a50": "samsung-a50",
    "samsung_s7": "samsung-s7",
    "eyeriss": "eyeriss",
    "fpga": "fpga-zc706",
}


def read(path: Path, asked: Asked) -> Dataset:
    """Read one target's latencies; the architectures are looked up beside them.

    The space defaults to the one whose architectures there are, the target to the one in the
    file's name.

    Raises:
        ValueError: a file is damaged, holds anything but lists and numbers, or the lengths
            differ.
        FileNotFoundError: there are no architectures in the folder above.
        ModuleNotFoundError: PyTorch is not installed.
    """
    folder = path.absolute().parent.parent
    archs_path = next((folder / name for name in _ARCHS if (folder / name).exists()), None)
    if archs_path is None:
        raise FileNotFoundError(
            f"no such file: {folder}/{' or '.join(_ARCHS)} "
            "(HELP keeps the architectures one folder above)"
        )
    archs = _archs(archs_path, asked.space)
    latencies = load_torch_file(path)
    if not isinstance(latencies, list):
        raise ValueError(f"{path} must hold a list, as HELP's files do")
    if len(archs) != len(latencies):
        raise ValueError(
            f"{path} must hold one latency per architecture of {archs_path.name} ({len(archs)}); "
            f"got {len(latencies)}"
        )
    try:
        latency_ms = np.array([float(x) for x in latencies], dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{path} must hold numbers: {error}") from None
    return Dataset(
        archs,
        latency_ms,
        asked.target or target_from_name(path.stem),
        provenance={"source": f"HELP, data/{folder.name}/latency/{path.name}", "licence": "MIT"},
    )


def _archs(path: Path, the_space: SearchSpace | None) -> Archs:
    status = path.stat()
    return _parsed(path, the_space, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=4)
def _parsed(path: Path, the_space: SearchSpace | None, _mtime_ns: int, _size: int) -> Archs:
    """The architectures of a file, which are the same for all targets of a folder."""
    from latcast.spaces import space

    name, items = _ARCHS[path.name](path, load_torch_file(path))
    return (the_space or space(name)).parse(items)


def target_from_name(stem: str) -> Target:
    """The target that HELP's file name stands for.

    ``titan_rtx_64`` is a batch of 64, ``gold_6226`` and ``essential_ph_1`` are devices with a
    batch of 1. Devices go by their names in latcast's catalogue, where they are in it.
    """
    device, _, batch = stem.rpartition("_")
    if stem in _COMPUTERS or stem in _OTHERS or not device or not batch.isdecimal():
        device, batch = stem, "1"
    if device in _OTHERS:
        return Target(_OTHERS[device], OTHER_RUNTIME, batch=int(batch))
    name = _COMPUTERS.get(device, device.lower().replace("_", "-"))
    return Target(name, RUNTIME, batch=int(batch))


def _ofa_archs(path: Path, content: Any) -> tuple[str, list[Any]]:
    return "ofa-mobilenet-v3", _arch_list(path, content)


def _fbnet_archs(path: Path, content: Any) -> tuple[str, list[Any]]:
    items = _arch_list(path, content)
    dataset = content.get("dataset")
    if not isinstance(dataset, str) or dataset not in _FBNET_SPACES:
        raise ValueError(
            f"{path} must be of the dataset {' or '.join(_FBNET_SPACES)}; got {short_repr(dataset)}"
        )
    return _FBNET_SPACES[dataset], items


_FBNET_SPACES = {"cifar100": "fbnet", "ImageNet": "fbnet-imagenet"}


def _arch_list(path: Path, content: Any) -> list[Any]:
    items = content.get("arch") if isinstance(content, Mapping) else None
    if not isinstance(items, list):
        raise ValueError(f"{path} must hold a dict with a list of architectures as 'arch'")
    return items


def _nasbench201_archs(path: Path, content: Any) -> tuple[str, list[Any]]:
    """Architectures in the order of their numbers, which must count from 0."""
    valid = isinstance(content, Mapping) and all(type(n) is int for n in content.values())
    if not valid or sorted(content.values()) != list(range(len(content))):
        raise ValueError(
            f"{path} must map every architecture to its row: a dict with the values 0, 1, 2 …"
        )
    return "nasbench201", sorted(content, key=content.__getitem__)


# File with the architectures -> what reads the space's name and the architectures from it.
_ARCHS = {
    "str_arch2idx.pt": _nasbench201_archs,
    "metainfo.pt": _fbnet_archs,
    "ofa_archs.pt": _ofa_archs,
}


def load_torch_file(path: Path) -> Any:
    """Read a file that ``torch.save`` wrote, admitting tensors, numpy scalars and containers.

    Raises:
        ValueError: the file is damaged or holds anything else; nothing of it is executed.
        ModuleNotFoundError: PyTorch is not installed.
    """
    torch = require("torch", "torch", f"reading {path.name}")
    check_archive(path)
    # Old files name numpy's scalar constructor by its old module.
    scalar = np.int64(0).__reduce__()[0]
    dtypes = [type(np.dtype(t)) for t in (np.int32, np.int64, np.float32, np.float64)]
    allowed = [(scalar, "numpy.core.multiarray.scalar"), scalar, np.dtype, *dtypes]
    try:
        with torch.serialization.safe_globals(allowed), warnings.catch_warnings():
            # It warns of pickle protocols it did not write itself; the file is read or refused.
            warnings.simplefilter("ignore", UserWarning)
            return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise
    except (
        pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, TypeError, LookupError,
        AttributeError, OverflowError, AssertionError,
    ) as error:  # fmt: skip
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(
            f"{path} must be a whole PyTorch file of numbers and containers only; got: {reason}"
        ) from None


# -- the list of accuracies -------------------------------------------------------------------


def is_accuracies(path: Path) -> bool:
    """Whether a file is a number and then lines of NAS-Bench-201 strings."""
    with path.open("rb") as file:
        lines = file.read(400).splitlines()
    try:
        float(lines[0])
    except (IndexError, ValueError):
        return False
    return len(lines) > 1 and lines[1].startswith(b"|")


def read_accuracies(path: Path, asked: Asked) -> Dataset:
    """Read the list: lines of ``arch, accuracy in percent, score`` after one with a number.

    Raises:
        ValueError: a line is malformed, or another space or unit is asked for.
    """
    from latcast.spaces import space

    the_space = space("nasbench201")
    if asked.space is not None and asked.space.name != the_space.name:
        raise ValueError(
            f"{path.name} holds architectures of {the_space.name}; asked for {asked.space.name}"
        )
    if asked.unit == "fraction":
        raise ValueError(f"{path.name} is in percent, as HELP's lists are; asked for fractions")
    try:
        lines = path.read_text(encoding="utf-8").splitlines()[1:]
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} must be text in UTF-8; got: {error}") from None
    rows = [_accuracy_line(f"{path.name}, row {n}", line) for n, line in enumerate(lines) if line]
    unit, values = fractions(path, np.array([value for _, value in rows]), "percent")
    source = f"HELP (HayeonLee/HELP), data/{the_space.name}/{path.name}"
    return Dataset(
        the_space.parse([arch for arch, _ in rows]),
        values,
        quantity=ACCURACY,
        provenance={"source": source, "licence": "MIT", "unit": unit},
    )


def _accuracy_line(where: str, line: str) -> tuple[str, float]:
    parts = [p.strip() for p in line.split(",")]
    try:
        arch, accuracy, _ = parts
        return arch, float(accuracy)
    except ValueError:
        raise ValueError(
            f"{where}: a line must be an architecture, its accuracy in percent and a score; "
            f"got {short_repr(line)}"
        ) from None
