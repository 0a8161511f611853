"""Differences from the records that are meant, each with the reason.

Add a :class:`Change` here in the commit that changes an output on purpose, or make the record anew
(``record.py``): then nothing of it stands here any more, and all of it is compared again.
"""

from __future__ import annotations

from compare import Change

_JOINT = "answers of the joint model change with each fit; its own tests hold them"

CHANGES: tuple[Change, ...] = (
    Change("predict-onnx", "*output.devices.[01]", "value", _JOINT),
    Change("predict-onnx-odd", "*output.devices.[01]", "value", _JOINT),
    Change("predict-onnx*", "*.notes*", "value", _JOINT),
    Change("page", "words", "value", _JOINT),
    Change("page", "notes*", "value", _JOINT),
    Change("exported-program", "1.output.devices.[01]", "value", _JOINT),
    Change("exported-program", "1.notes*", "value", _JOINT),
    Change("refusals", "2.*", "value", _JOINT),
    Change("predict-archs", "[123].*", "value", _JOINT),
    Change("predict-target", "[13].*", "value", _JOINT),
    Change("search-devices", "*", "value", _JOINT),
    Change("models", "0.output*", "value", _JOINT),
    Change("models", "1.output.any_network*", "value", _JOINT),
    Change("adapt-networks", "*", "value", _JOINT),
    Change("bench-paper", "output.rows.0.*", "value", "errors of 2e-7 ms are of rounding alone"),
)
