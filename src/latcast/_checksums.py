"""Checksums of files: damage is found, not read.

Formats of latcast's own carry a checksum of all their bytes: it stands where their header is, and
is computed with :data:`UNSEALED` in its place.
"""

from __future__ import annotations

import re
import warnings
import zlib
from pathlib import Path
from typing import Any

# CRC-32 finds every burst of damage of up to 32 bits, and all but one in four billion of others. A
# SHA-256 of the joint model, read by every forecast, took 14 ms here, and its CRC-32 1 ms.
SEAL, UNSEALED = "checksum", "crc32:--------"
_SEAL = re.compile(r"crc32:[0-9a-f]{8}")


class UncheckedFileWarning(UserWarning):
    """A file of before checksums were written was read: its damage could not be found."""


def sealed(content: bytes) -> bytes:
    """The bytes of a file with their checksum in the place of :data:`UNSEALED`.

    Raises:
        ValueError: that is not in it just once.
    """
    place = UNSEALED.encode()
    if (count := content.count(place)) != 1:
        raise ValueError(f"a file must have one place for its checksum; it has {count}: {UNSEALED}")
    return content.replace(place, f"crc32:{zlib.crc32(content):08x}".encode())


def check_seal(path: Path, content: bytes, header: dict[str, Any]) -> None:
    """Make sure that a file is as it was written; warn where it has no checksum that would tell.

    Args:
        path: of the file, for messages.
        content: all of its bytes.
        header: what stands there beside its data; the checksum is taken out of it.

    Raises:
        ValueError: the file was damaged since.
    """
    # Known by its value: the name may be what was damaged.
    named = [k for k, v in header.items() if str(v).startswith(UNSEALED[:6])]
    seal = header.pop(named[0] if named else SEAL, None)
    if seal is None:
        warn_unchecked(path)
        return
    text = seal.encode() if isinstance(seal, str) and _SEAL.fullmatch(seal) else b""
    start = content.find(text)
    found = zlib.crc32(memoryview(content)[:start]) if text and start >= 0 else 0
    found = zlib.crc32(UNSEALED.encode(), found)
    found = zlib.crc32(memoryview(content)[start + len(text) :], found)
    if f"crc32:{found:08x}".encode() != text:
        raise ValueError(
            f"{path} was damaged after it was written (its checksum is {str(seal)[:20]!r}, that of "
            f"its content is 'crc32:{found:08x}'): get or make it anew"
        )


def warn_unchecked(path: Path) -> None:
    """Warn that a file was written before files had checksums."""
    warnings.warn(
        f"{path} has no checksum, as files of earlier versions: damage to it would not be found; "
        "save it anew with this version",
        UncheckedFileWarning,
        stacklevel=2,
    )
