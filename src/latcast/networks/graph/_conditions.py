"""What rules ask of the kernels that they would join."""

from __future__ import annotations


