"""Folders of images, prepared as ImageNet's are for validation."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from latcast._imports import require

Floats = npt.NDArray[np.float32]

SUFFIXES = (".jpg", ".jpeg", ".png")
MEAN = np.array([0.485, 0.456, 0.406], dtype=np.float32)
# Mean and deviation of ImageNet's red, green and blue values from 0 to 1.
STD = np.array([0.229, 0.224, 0.225], dtype=np.float32)

# Share of an image's shorter side that a network sees.
_CROPPED = 224 / 256


@dataclass
class ImageFolder:
    """JPEG and PNG files of a folder and its subfolders, in an order that chance decides.

    A folder of classes in alphabetical order would make batches of one class each.

    Args:
        folder: of the files.
        most: images that are used, if there are as many; at least 1.
        seed: of their choice and order.
        progress: is called with images used and images wanted.

    Attributes:
        used: images that the latest :meth:`batches` has read so far.
        skipped: files that it could not read so far, with the reason.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: there is no image in it, or ``most`` is less than 1.
        ModuleNotFoundError: Pillow is not installed.
    """

    folder: Path
    most: int
    seed: int = 0
    progress: Callable[[int, int], None] = lambda *_: None
    used: int = field(default=0, init=False)
    skipped: list[str] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        if not isinstance(self.most, int) or self.most < 1:
            raise ValueError(f"at least one image must be used; got {self.most!r}")
        self._pillow = require("PIL.Image", "export", "reading images")
        if not self.folder.is_dir():
            raise FileNotFoundError(f"{self.folder} must be a folder of images; it is none")
        files = sorted(p for p in self.folder.rglob("*") if p.suffix.lower() in SUFFIXES)
        if not files:
            raise ValueError(f"{self.folder} must hold images ({', '.join(SUFFIXES)}); got none")
        order = np.random.default_rng(self.seed).permutation(len(files))
        self._files = [files[n] for n in order.tolist()]

    def batches(self, side: int, batch: int) -> Iterator[Floats]:
        """Batches of images of ``side`` pixels, shape (≤ batch, 3, side, side).

        Raises:
            ValueError: none of the files can be read.
        """
        images: list[Floats] = []
        self.used, self.skipped = 0, []
        for path in self._files:
            if self.used == self.most:
                break
            try:
                with self._pillow.open(path) as image:
                    images.append(prepare(image, side))
            # What Pillow raises for broken files of one kind or another.
            except (OSError, SyntaxError, ValueError, self._pillow.DecompressionBombError) as error:
                self.skipped.append(f"{path}: {error}")
                continue
            self.used += 1
            self.progress(self.used, min(self.most, len(self._files)))
            if len(images) == batch:
                yield np.stack(images)
                images = []
        if images:
            yield np.stack(images)
        if not self.used:
            raise ValueError(
                f"{self.folder} must hold images that can be read; got {len(self.skipped)} that "
                f"cannot, the first: {self.skipped[0]}"
            )


def prepare(image: Any, side: int) -> Floats:
    """Resize the shorter side to ``side`` * 256 / 224, cut out the centre, normalize.

    Args:
        image: a Pillow image.
        side: of the result in pixels.

    Returns:
        Shape (3, side, side).
    """
    short = math.ceil(side / _CROPPED)
    sizes = [short * length // min(image.size) for length in image.size]
    # Where the cut begins and ends in the image itself: what lies outside is never resized, which
    # of a long and narrow image would be far too much.
    starts = [round((size - side) / 2) for size in sizes]
    scales = [length / size for length, size in zip(image.size, sizes, strict=True)]
    begins = [start * scale for start, scale in zip(starts, scales, strict=True)]
    ends = [(start + side) * scale for start, scale in zip(starts, scales, strict=True)]
    bilinear = 2  # Pillow's number of it, in all versions
    seen = image.convert("RGB").resize((side, side), bilinear, box=(*begins, *ends))
    pixels = np.asarray(seen, dtype=np.float32)
    normalized: Floats = ((pixels / np.float32(255) - MEAN) / STD).transpose(2, 0, 1)
    return normalized
