"""What a campaign of graphs measures: members of families, and the user's own ONNX files."""

from __future__ import annotations

import json
from dataclasses import dataclass
from hashlib import file_digest
from pathlib import Path
from typing import Self

from latcast._files import check_file
from latcast._names import short_repr
from latcast.families import Member


@dataclass(frozen=True, slots=True)
class OnnxFile:
    """An ONNX file as it was when a campaign began.

    Attributes:
        path: absolute.
        sha256: of its bytes; data that it keeps in other files is not part of them.
        name: how datasets call it.
    """

    path: Path
    sha256: str
    name: str

    @classmethod
    def of(cls, path: str | Path, name: str | None = None) -> Self:
        """The file as it is now.

        Raises:
            FileNotFoundError: there is no such file.
        """
        path = Path(path).resolve()
        check_file(path)
        return cls(path, _digest(path), path.stem if name is None else name)

    def check(self) -> None:
        """Make sure that it is still the same file.

        Raises:
            FileNotFoundError: it is gone.
            ValueError: it has changed.
        """
        check_file(self.path)
        if (now := _digest(self.path)) != self.sha256:
            raise ValueError(
                f"{self.path} must stay as it was when the campaign began (SHA-256 "
                f"{self.sha256[:12]}…); it is {now[:12]}… now: start another campaign"
            )


OnnxNetwork = Member | OnnxFile


def name_of(network: OnnxNetwork) -> str:
    """How datasets call it: a member's text, or a file's name."""
    return network.text if isinstance(network, Member) else network.name


def family_of(network: OnnxNetwork) -> str:
    """A member's family; empty for a file."""
    return network.family if isinstance(network, Member) else ""


def content(network: OnnxNetwork, batch: int, seed: int) -> bytes | Path:
    """The model: bytes of a member, the path of a file.

    Args:
        network: whose.
        batch: of a member's input; a file has its own.
        seed: of a member's weights.

    Raises:
        FileNotFoundError: the file is gone.
        ValueError: the file has changed.
    """
    if isinstance(network, Member):
        return network.to_onnx(batch, seed)
    network.check()
    return network.path


def model_bytes(model: bytes | Path) -> int:
    """Size of a model: two that differ by more than their weights hardly ever have the same."""
    return len(model) if isinstance(model, bytes) else model.stat().st_size


def to_text(network: OnnxNetwork) -> str:
    """JSON, the inverse of :func:`from_text`."""
    if isinstance(network, Member):
        return json.dumps({"member": network.text})
    return json.dumps({"path": str(network.path), "sha256": network.sha256, "name": network.name})


def from_text(text: str) -> OnnxNetwork:
    """The network that :func:`to_text` wrote.

    Raises:
        ValueError: the text has another form, or names a member that there is not.
    """
    try:
        match json.loads(text):
            case {"member": str(member)}:
                return Member.parse(member)
            case {"path": str(path), "sha256": str(sha256), "name": str(name)}:
                return OnnxFile(Path(path), sha256, name)
    except json.JSONDecodeError:
        pass
    raise ValueError(
        f"a network of a campaign must be a member or a file, as JSON; got {short_repr(text)}"
    )


def is_member(text: str) -> bool:
    """Whether :func:`from_text` makes a member of it, whose nodes are called by their numbers."""
    return isinstance(from_text(text), Member)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()
