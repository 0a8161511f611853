"""Models on the Hugging Face Hub by address.

The package ``huggingface_hub`` does the work, so that its settings hold: the cache and its use
offline (``HF_HOME``, ``HF_HUB_OFFLINE``), the token (``HF_TOKEN``, ``hf auth login``) and other
endpoints (``HF_ENDPOINT``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from latcast._imports import require

SUFFIX = ".latcast"
_SCHEME = "hf:/"
# Also as a path that was one: pathlib makes one slash of two.
_ADDRESS = re.compile(
    r"hf:/{1,2}(?P<repo>[\w.-]+/[\w.-]+)(?:/(?P<file>[^@]+))?(?:@(?P<revision>.+))?"
)


def is_file(name: str | Path) -> bool:
    """Whether a model's file is named, here or on the Hub, rather than a shipped model."""
    return str(name).endswith(SUFFIX) or is_address(name)


def is_address(name: str | Path) -> bool:
    """Whether a model on the Hub is named."""
    return str(name).startswith(_SCHEME)


def local_file(name: str | Path) -> Path:
    """The file that is named; one on the Hub is downloaded.

    Raises:
        ValueError, FileNotFoundError, ModuleNotFoundError: as :func:`download`.
    """
    return download(name) if is_address(name) else Path(name)


@dataclass(frozen=True)
class Address:
    """A model on the Hub: ``hf://OWNER/NAME[/FILE][@REVISION]``.

    Attributes:
        repo: owner and name of the repository.
        file: in it; None for the only one that ends in ``.latcast``.
        revision: branch, tag or commit; None for the main branch.
    """

    repo: str
    file: str | None
    revision: str | None

    @classmethod
    def parse(cls, text: str | Path) -> Address:
        """The address that a text is.

        Raises:
            ValueError: it is none.
        """
        match = _ADDRESS.fullmatch(str(text))
        if match is None or not (match["file"] or SUFFIX).endswith(SUFFIX):
            raise ValueError(
                "a model on the Hub must be like hf://owner/name, "
                f"hf://owner/name/model{SUFFIX} or hf://owner/name@revision; got {text}"
            )
        return cls(match["repo"], match["file"], match["revision"])

    def __str__(self) -> str:
        file = f"/{self.file}" if self.file else ""
        return f"hf://{self.repo}{file}" + (f"@{self.revision}" if self.revision else "")


def download(text: str | Path) -> Path:
    """The file of a model on the Hub, from the cache where it is there in this revision.

    Raises:
        ValueError: the address makes no sense, or the repository holds no or several models.
        FileNotFoundError: there is no such repository, file or revision, or no way to it.
        ModuleNotFoundError: ``huggingface_hub`` is not installed.
    """
    address = Address.parse(text)
    hub = require("huggingface_hub", "hub", f"{address}")
    with told(address):
        if address.file is not None:
            found = hub.hf_hub_download(address.repo, address.file, revision=address.revision)
            return Path(found)
        folder = Path(
            hub.snapshot_download(
                address.repo, revision=address.revision, allow_patterns=f"*{SUFFIX}"
            )
        )
    files = sorted(str(path.relative_to(folder)) for path in folder.rglob(f"*{SUFFIX}"))
    if len(files) != 1:
        several = f"name one: hf://{address.repo}/{files[0]}" if files else "it holds none"
        raise ValueError(f"{address} must hold one file that ends in {SUFFIX}; {several}")
    return folder / files[0]


@contextmanager
def told(address: Address) -> Iterator[None]:
    """Raise refusals of the Hub as one sentence."""
    from huggingface_hub import errors

    # Of the package that it sends requests by, which is another one before its version 1.
    unreachable = getattr(errors, "HTTPError", ConnectionError)
    try:
        yield
    except errors.HfHubHTTPError as error:
        status = getattr(error.response, "status_code", None)
        why = {
            401: "is private, or is not there: log in with `hf auth login`, or set HF_TOKEN",
            403: "may not be changed with this token: `hf auth login`, or set HF_TOKEN",
            404: "is not there: no such repository, file or revision",
        }.get(status or 0, f"could not be reached: {_first_line(error)}")
        raise FileNotFoundError(f"{address} {why}") from error
    except errors.HFValidationError as error:
        raise ValueError(
            f"{address} must be an address of the Hub: {_first_line(error)}"
        ) from error
    except (errors.EntryNotFoundError, errors.OfflineModeIsEnabled, unreachable) as error:
        raise FileNotFoundError(
            f"{address} cannot be reached on the Hub, and is not in the cache: {_first_line(error)}"
        ) from error


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
