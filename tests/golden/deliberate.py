"""Differences from the records that are meant, each with the move that made it.

Add a :class:`Change` here in the commit that changes an output on purpose. An empty table says
that everything is as it was recorded.
"""

from __future__ import annotations

from compare import Change

CHANGES: tuple[Change, ...] = ()
