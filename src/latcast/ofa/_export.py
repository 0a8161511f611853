"""Writing an architecture's network to a file that a runtime loads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latcast._files import write_file
from latcast.graph import Graph
from latcast.graph.write.onnx import to_onnx
from latcast.report.markup import counted
from latcast.report.record import Record
from latcast.report.table import Table

from ._images import ImageFolder
from ._weights import ofa_module

if TYPE_CHECKING:
    from latcast.spaces import Archs

    from ._modules import OFANetwork

EXPORT_FORMATS = {".onnx": "ONNX", ".pt": "PyTorch state dict"}
"""Suffix of a file -> what is written there."""

# Images at once: runtimes count them in 32 bits.
MOST_BATCH = 2**31 - 1


@dataclass(frozen=True, repr=False)
class Export(Record):
    """The files that were written.

    Attributes:
        file: path of the file.
        format: a value of :data:`EXPORT_FORMATS`.
        file_bytes: size of the file.
        space: of the architecture.
        index: place of the architecture in the file that it was chosen from.
        arch: the architecture in the field's own form.
        resolution: side of the square input.
        batch: images that an ONNX file takes at once; None where it takes any number.
        weights: the checkpoint, or None where weights are random.
        seed: of random weights, and of the choice of images.
        calibrated: whether batch norms have statistics of this network, not of the supernet; None
            where that is not known: weights are from a file of the network's own.
        calibration_images: batch norms were calibrated on that many.
        skipped_images: image files that could not be read, each with the reason.
        macs: multiply-accumulates of one sample.
        params: parameters.
    """

    schema = "export"
    no_figure = "what is exported is told in words"

    file: str
    format: str
    file_bytes: int
    space: str
    index: int
    arch: Any
    resolution: int
    batch: int | None
    weights: str | None
    seed: int
    calibrated: bool | None
    calibration_images: int
    skipped_images: list[str]
    macs: int
    params: int

    def answer(self) -> str:
        return f"{self.file} holds one network of {self.space}, as {self.format}."

    def parts(self) -> Iterator[Table | str]:
        yield (
            f"{self.file}: {self.format}, {self.file_bytes / 1e6:.1f} MB; {self.space} at a "
            f"resolution of {self.resolution}, {self.macs / 1e6:.0f} MMACs, "
            f"{self.params / 1e6:.2f} M parameters"
        )

    def doubts(self) -> Iterator[str]:
        if self.weights is None:
            yield "note: weights are random: good for timing, not for images"
        elif self.calibrated is None:
            yield (
                f"note: {self.weights} does not tell whether batch norms have this network's own "
                "statistics or the supernet's; --calibrate FOLDER measures them on images"
            )
        elif not self.calibrated:
            yield (
                "note: batch norms have the statistics of the supernet, which are not this "
                "network's; --calibrate FOLDER measures them on images"
            )
        if self.calibration_images:
            yield f"batch norms were calibrated on {counted(self.calibration_images, 'image')}"
        if self.skipped_images:
            yield (
                f"note: {counted(len(self.skipped_images), 'image file')} could not be read "
                "and were left "
                f"out, the first: {self.skipped_images[0]}"
            )


def export(
    arch: Archs,
    path: str | Path,
    *,
    weights: str | Path | None = None,
    calibration_images: str | Path | None = None,
    most_images: int = 2_000,
    batch: int | None = 1,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> Export:
    """Write one architecture's network as ONNX, or as the state dict of a PyTorch module.

    Args:
        arch: a batch of one.
        path: ``.onnx``, with batch norms folded into convolutions, or ``.pt``: a state dict with
            Once-For-All's names, for :func:`ofa_module` (or Once-For-All's own code) to load with
            ``strict=True``.
        weights: a checkpoint, as in :func:`ofa_module`; without one, weights are random.
        calibration_images: a folder of JPEG and PNG images to calibrate batch norms on.
        most_images: of the folder, chosen by ``seed``.
        batch: of an ONNX file; None lets it take any number of images.
        seed: of random weights, and of the choice of images.
        progress: is called with images used and images wanted.

    Raises:
        ValueError: the suffix is unknown, ``batch`` is no number of images, weights or statistics
            are not finite, or as in :func:`ofa_module`: weights, images and ``.pt`` are for spaces
            of OFA networks.
        FileNotFoundError: there is no such checkpoint or folder.
        ModuleNotFoundError: a package is missing; ONNX with random weights needs no extra.
    """
    path = Path(path)
    if path.suffix not in EXPORT_FORMATS:
        raise ValueError(
            f"a file to export to must end in {' or '.join(EXPORT_FORMATS)}; got {path}"
        )
    _check_batch(batch)
    graph = arch.space.network(arch)
    images = None
    if calibration_images is not None:
        images = ImageFolder(Path(calibration_images), most_images, seed, progress)
    with_module = weights is not None or images is not None or path.suffix == ".pt"
    module = ofa_module(arch, weights, seed=seed, images=images) if with_module else None
    if path.suffix == ".onnx":
        _write_onnx(graph, seed, module, batch, path)
    else:
        assert module is not None
        _write_state(module, path)
    (costs,), (described,) = arch.space.costs(arch).to_dicts(), arch.to_dicts()
    return Export(
        file=str(path),
        format=EXPORT_FORMATS[path.suffix],
        file_bytes=path.stat().st_size,
        space=arch.space.name,
        index=0,
        arch=described,
        resolution=graph.in_shape[-1],
        batch=batch if path.suffix == ".onnx" else None,
        weights=None if weights is None else str(weights),
        seed=seed,
        calibrated=module is None or module.calibrated,
        calibration_images=0 if images is None else images.used,
        skipped_images=[] if images is None else list(images.skipped),
        macs=costs["macs"],
        params=costs["params"],
    )


def _check_batch(batch: int | None) -> None:
    whole = isinstance(batch, int) and not isinstance(batch, bool)
    if batch is not None and not (whole and 1 <= batch <= MOST_BATCH):
        raise ValueError(
            f"batch must be a whole number from 1 to {MOST_BATCH}, or None for any; got {batch!r}"
        )


def _write_onnx(
    graph: Graph, seed: int, module: OFANetwork | None, batch: int | None, path: Path
) -> None:
    import onnx

    if module is None:
        weights = graph.weights(seed)
    else:
        from ._transfer import fold

        weights = fold(module, graph)
    content = to_onnx(graph.with_batch(batch or 1), weights, open_batch=batch is None)
    onnx.checker.check_model(content, full_check=True)
    write_file(path, content)


def _write_state(module: OFANetwork, path: Path) -> None:
    import torch

    state = dict(module.state_dict())
    for name, tensor in state.items():
        # Finite weights can have activations, and so statistics, that are not.
        if not tensor.isfinite().all():
            raise ValueError(f"{name} must be finite to be written; got NaN or infinite values")
    content = BytesIO()
    torch.save(state, content)
    write_file(path, content.getvalue())
