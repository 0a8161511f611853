"""The latency files of HELP (github.com/HayeonLee/HELP): ``SPACE/latency/DEVICE_BATCH.pt``.

Each is a list of milliseconds, one per architecture of ``SPACE/ofa_archs.pt``.
"""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from latcast._optional import require
from latcast.devices import Target
from latcast.spaces import SearchSpace, space

from ._dataset import LatencyDataset

ARCHS_FILE = "ofa_archs.pt"
# Not just "pytorch": its RTX 2080 Ti takes half as long again as the OFANAS paper's.
RUNTIME = "pytorch-help"

_DEVICES = {"2080ti": "rtx-2080-ti", "v100": "tesla-v100"}


def read(path: Path, the_space: SearchSpace | None, target: Target | None) -> LatencyDataset:
    """Read one target's latencies; the architectures are looked up beside them.

    The space defaults to ``ofa-mobilenet-v3``, the target to the one in the file's name.

    Raises:
        ValueError: a file is damaged, holds anything but lists and numbers, or the lengths
            differ.
        FileNotFoundError: there is no ``ofa_archs.pt`` in the folder above.
        ModuleNotFoundError: PyTorch is not installed.
    """
    archs_path = path.parent.parent / ARCHS_FILE
    if not archs_path.exists():
        raise FileNotFoundError(
            f"no such file: {archs_path} (HELP keeps the architectures one folder above)"
        )
    content = load_torch_file(archs_path)
    items = content.get("arch") if isinstance(content, dict) else None
    latencies = load_torch_file(path)
    if not isinstance(items, list) or not isinstance(latencies, list):
        raise ValueError(f"{path} and {archs_path} must hold lists, as HELP's OFA files do")
    if len(items) != len(latencies):
        raise ValueError(
            f"{path} must hold one latency per architecture of {archs_path.name} ({len(items)}); "
            f"got {len(latencies)}"
        )
    try:
        latency_ms = np.array([float(x) for x in latencies], dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path} must hold numbers: {error}") from None
    return LatencyDataset(
        (the_space or space("ofa-mobilenet-v3")).parse(items),
        latency_ms,
        target or target_from_name(path.stem),
        provenance={"source": f"HELP, data/ofa/latency/{path.name}", "licence": "MIT"},
    )


def target_from_name(stem: str) -> Target:
    """The target that HELP's file name stands for: ``titan_rtx_64`` is a batch of 64."""
    device, _, batch = stem.rpartition("_")
    if not device or not batch.isdecimal():
        raise ValueError(f"a HELP latency file must be called DEVICE_BATCH.pt; got {stem!r}")
    name = _DEVICES.get(device, device.lower().replace("_", "-"))
    return Target(name, RUNTIME, batch=int(batch))


def load_torch_file(path: Path) -> Any:
    """Read a file that ``torch.save`` wrote, admitting tensors, numpy scalars and containers.

    Raises:
        ValueError: the file is damaged or holds anything else; nothing of it is executed.
        ModuleNotFoundError: PyTorch is not installed.
    """
    torch = require("torch", "torch", f"reading {path.name}")
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
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError,
            TypeError, IndexError, AttributeError, OverflowError) as error:  # fmt: skip
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(
            f"{path} must be a whole PyTorch file of numbers and containers only; got: {reason}"
        ) from None
