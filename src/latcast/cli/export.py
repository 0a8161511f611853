"""``latcast export``: an architecture's network as a file to run."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from ._console import OUTPUT, REQUIRED, Console, Tell, UsageError, argument, command, option, usage
from ._options import INPUT, Seed, check_usable, find_space, read_architectures

if TYPE_CHECKING:
    from latcast.spaces import Archs, SearchSpace

ANY_BATCH = "dynamic"
MAX_IMAGES = 2_000


@dataclass(frozen=True, kw_only=True)
class Weights:
    """Options that say where the network's weights come from."""

    panel: ClassVar[str] = "Weights"

    weights: Path | None = option("Checkpoint of the OFA supernet; random by default.")
    calibrate: Path | None = option("Folder of images to calibrate batch norms on.")
    images: int | None = option(f"At most so many of the folder. [default: {MAX_IMAGES}]", min=1)


@command
def export(
    console: Console,
    *,
    arch: Path = argument("JSON: one architecture, or a list of them."),
    out: Path = option(
        "File to write: .onnx, or .pt (a PyTorch state dict).", REQUIRED, panel=OUTPUT
    ),
    origin: Weights,
    space: str = option("Search space of the architecture.", "ofa-mobilenet-v3", panel=INPUT),
    index: int | None = option("Which of a list, from 0.", panel=INPUT, min=0),
    batch: str | None = option(f"Of an ONNX file: a number (1), or {ANY_BATCH}."),
    seed: Seed = 0,
) -> None:
    """Write a network as ONNX or as PyTorch weights, from a supernet's checkpoint or at random.

    Example: latcast export best.json --index 0 --weights ofa_mbv3_d234_e346_k357_w1.2
    --calibrate photos --out best.onnx
    """
    from latcast.ofa import export as write
    from latcast.ofa import in_supernet

    _check_options(out, space, origin, batch)
    archs, chosen = _architecture(arch, index, find_space(space))
    if origin.weights is not None or origin.calibrate is not None or out.suffix == ".pt":
        with usage():
            in_supernet(archs)
    with _bar(console, origin) as progress:
        written = write(
            archs, out, weights=origin.weights, calibration_images=origin.calibrate,
            most_images=origin.images or MAX_IMAGES, batch=_batch(batch), seed=seed,
            progress=progress,
        )  # fmt: skip
    console.show(replace(written, index=chosen))


def _bar(console: Console, origin: Weights) -> AbstractContextManager[Tell]:
    """A bar where something takes its time."""
    quiet = replace(console, quiet=console.quiet or origin.calibrate is None)
    return quiet.progress("calibrating batch norms")


def _check_options(out: Path, space: str, origin: Weights, batch: str | None) -> None:
    """Check the options as far as possible before any work is done."""
    from latcast.ofa._export import EXPORT_FORMATS

    if out.suffix not in EXPORT_FORMATS:
        raise UsageError(f"--out must end in {' or '.join(EXPORT_FORMATS)}; got {out}")
    if batch is not None and out.suffix != ".onnx":
        raise UsageError(f"--batch is of ONNX files; PyTorch's take any: leave it out with {out}")
    _batch(batch)
    if origin.weights is not None:
        check_usable(origin.weights)
    folder = origin.calibrate
    if folder is not None and not folder.is_dir():
        raise UsageError(f"--calibrate must be a folder of images; got {folder}")
    if origin.images is not None and folder is None:
        raise UsageError("--images is of the folder of --calibrate: give that, too")
    find_space(space)


def _batch(text: str | None) -> int | None:
    if text is None:
        return 1
    if text == ANY_BATCH:
        return None
    from latcast.ofa._export import MOST_BATCH

    digits = len(str(MOST_BATCH))
    number = int(text) if text.isdecimal() and len(text) <= digits else 0
    if not 1 <= number <= MOST_BATCH:
        raise UsageError(
            f"--batch must be a number from 1 to {MOST_BATCH}, or {ANY_BATCH}; got {text!r}"
        )
    return number


def _architecture(path: Path, index: int | None, space: SearchSpace) -> tuple[Archs, int]:
    """The architecture that was asked for, and its place in the file."""
    items = read_architectures(path)
    if index is None and len(items) > 1:
        raise UsageError(
            f"{path} holds {len(items)} architectures: choose one by --index 0 to {len(items) - 1}"
        )
    chosen = index or 0
    if chosen >= len(items):
        raise UsageError(f"--index must be below {len(items)}: {path} holds no more; got {index}")
    from latcast.spaces.reading import parse_archs

    return parse_archs([items[chosen]], space), chosen
