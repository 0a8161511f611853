"""Interrupts that a library takes for something else."""

from __future__ import annotations

import signal
from types import FrameType


class Interrupts:
    """A handler of ctrl-C that remembers it, and otherwise does what Python's does.

    Modules in C that are interrupted while they are imported raise an ImportError in place of
    KeyboardInterrupt: numpy's was seen to name a missing ``datetime``.

    Attributes:
        happened: whether there was one.
    """

    def __init__(self) -> None:
        self.happened = False

    def install(self) -> None:
        """Handle interrupts, unless they are ignored or somebody else's."""
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, self)

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self.happened = True
        signal.default_int_handler(number, frame)


interrupts = Interrupts()
"""Those of this process."""
