"""``latcast export``: an architecture's network as a file to run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ._common import (
    Debug,
    Json,
    Quiet,
    Seed,
    UsageError,
    check_usable,
    fails_cleanly,
    find_space,
    note,
    print_json,
    progress_bar,
    read_architectures,
    usage,
)

if TYPE_CHECKING:
    from latcast.ofa._export import Export
    from latcast.spaces import Archs, SearchSpace

ANY_BATCH = "dynamic"
MOST_IMAGES = 2_000


@fails_cleanly
def command(
    arch: Annotated[Path, typer.Argument(help="JSON: one architecture, or a list of them.")],
    out: Annotated[
        Path, typer.Option("--out", help="File to write: .onnx, or .pt (a PyTorch state dict).")
    ],
    space: Annotated[
        str, typer.Option("--space", help="Search space of the architecture.")
    ] = "ofa-mobilenet-v3",
    index: Annotated[
        int | None, typer.Option("--index", min=0, help="Which of a list, from 0.")
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option("--weights", help="Checkpoint of the OFA supernet; random by default."),
    ] = None,
    calibrate: Annotated[
        Path | None,
        typer.Option("--calibrate", help="Folder of images to calibrate batch norms on."),
    ] = None,
    images: Annotated[
        int | None,
        typer.Option(
            "--images", min=1, help=f"At most so many of the folder. [default: {MOST_IMAGES}]"
        ),
    ] = None,
    batch: Annotated[
        str | None,
        typer.Option("--batch", help=f"Of an ONNX file: a number (1), or {ANY_BATCH}."),
    ] = None,
    seed: Seed = 0,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Write a network as ONNX or as PyTorch weights, from a supernet's checkpoint or at random.

    Example: latcast export best.json --index 0 --weights ofa_mbv3_d234_e346_k357_w1.2
    --calibrate photos --out best.onnx
    """
    from latcast.ofa import in_supernet
    from latcast.ofa._export import export

    _check_options(out, space, weights, calibrate, batch)
    if images is not None and calibrate is None:
        raise UsageError("--images is of the folder of --calibrate: give that, too")
    archs, chosen = _architecture(arch, index, find_space(space))
    if weights is not None or calibrate is not None or out.suffix == ".pt":
        with usage():
            in_supernet(archs)
    with progress_bar("calibrating batch norms", quiet=quiet or calibrate is None) as progress:
        written = export(
            archs,
            out,
            weights=weights,
            calibration_images=calibrate,
            most_images=images or MOST_IMAGES,
            batch=_batch(batch),
            seed=seed,
            progress=progress,
        )
    _note_doubts(written, quiet=quiet)
    record = _record(archs, chosen, written, seed)
    if json:
        print_json(record)
    else:
        _print(record)


def _check_options(
    out: Path, space: str, weights: Path | None, calibrate: Path | None, batch: str | None
) -> None:
    """What can be known to be wrong before any work is done."""
    from latcast.ofa._export import EXPORT_FORMATS

    if out.suffix not in EXPORT_FORMATS:
        raise UsageError(f"--out must end in {' or '.join(EXPORT_FORMATS)}; got {out}")
    if batch is not None and out.suffix != ".onnx":
        raise UsageError(f"--batch is of ONNX files; PyTorch's take any: leave it out with {out}")
    _batch(batch)
    if weights is not None:
        check_usable(weights)
    if calibrate is not None and not calibrate.is_dir():
        raise UsageError(f"--calibrate must be a folder of images; got {calibrate}")
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
    try:
        return space.parse([items[chosen]]), chosen
    except ValueError as error:
        raise ValueError(f"{error} (read as {space.name}; --space names another)") from error


def _record(arch: Archs, index: int, written: Export, seed: int) -> dict[str, Any]:
    costs = arch.space.costs(arch).to_dicts()[0]
    return {
        "file": str(written.path),
        "format": written.format,
        "file_bytes": written.file_bytes,
        "space": arch.space.name,
        "index": index,
        "arch": arch.to_dicts()[0],
        "resolution": written.resolution,
        "batch": written.batch,
        "weights": None if written.weights is None else str(written.weights),
        "seed": seed,
        "calibrated": written.calibrated,
        "calibration_images": written.images,
        "skipped_images": list(written.skipped),
        "macs": costs["macs"],
        "params": costs["params"],
    }


def _print(record: dict[str, Any]) -> None:
    side = record["resolution"]
    typer.echo(
        f"{record['file']}: {record['format']}, {record['file_bytes'] / 1e6:.1f} MB; "
        f"{record['space']} at {side} x {side} pixels, {record['macs'] / 1e6:.0f} MMACs, "
        f"{record['params'] / 1e6:.2f} M parameters"
    )


def _note_doubts(written: Export, *, quiet: bool) -> None:
    if written.weights is None:
        note("note: weights are random: good for timing, not for images", quiet=quiet)
    elif written.calibrated is None:
        note(
            f"note: {written.weights} does not tell whether batch norms have this network's own "
            "statistics or the supernet's; --calibrate FOLDER measures them on images",
            quiet=quiet,
        )
    elif not written.calibrated:
        note(
            "note: batch norms have the statistics of the supernet, which are not this network's; "
            "--calibrate FOLDER measures them on images",
            quiet=quiet,
        )
    if written.images:
        note(f"batch norms were calibrated on {written.images:,} images", quiet=quiet)
    if written.skipped:
        note(
            f"note: {len(written.skipped)} image files could not be read and were left out, the "
            f"first: {written.skipped[0]}",
            quiet=quiet,
        )
