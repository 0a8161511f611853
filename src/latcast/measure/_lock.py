"""What only one campaign on a machine can hold."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from latcast._files import atomic_path


class CampaignRunningError(RuntimeError):
    """Another campaign is measuring on this machine."""


@contextmanager
def machine_lock(path: Path) -> Iterator[None]:
    """Keep other campaigns from measuring on this machine; let go when the process ends.

    Args:
        path: the campaign's file, which others are told.

    Raises:
        CampaignRunningError: another process holds the lock.
    """
    from filelock import FileLock, Timeout

    folder = _folder()
    holder = folder / "holder"
    lock = FileLock(folder / "lock", timeout=0, mode=0o666)
    try:
        held = lock.acquire()
    except Timeout:
        who = holder.read_text(encoding="utf-8") if holder.exists() else "something"
        raise CampaignRunningError(
            f"only one campaign may measure on a machine at a time; {who} is being measured: "
            "wait until it ends"
        ) from None
    with held:
        with atomic_path(holder) as file:
            file.write_text(str(path.absolute()), encoding="utf-8")
        yield


def _folder() -> Path:
    """A folder that every user of the machine can write to.

    A lock file in the temporary folder itself could be used by none but its owner: others'
    files cannot be opened for writing in a folder with the sticky bit.
    """
    folder = Path(tempfile.gettempdir()) / "latcast-measuring"
    folder.mkdir(exist_ok=True)
    with suppress(PermissionError):  # another user has made it, and has done this
        folder.chmod(0o777)
    return folder
