"""Checking on the device: measure what a search found, adapt the predictor, and search again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from latcast._imports import public_names

if TYPE_CHECKING:
    from ._measuring import Campaigns, Measured, Measuring, MeasuringError
    from ._record import Round, VerificationRecord
    from ._search_and_verify import (
        Check,
        first_model,
        search_and_verify,
        search_and_verify_here,
        verify,
    )
    from ._verification import Verification, VerifiedResult
else:
    __getattr__, __dir__ = public_names(__name__)

__all__ = [
    "Campaigns",
    "Check",
    "Measured",
    "Measuring",
    "MeasuringError",
    "Round",
    "Verification",
    "VerificationRecord",
    "VerifiedResult",
    "first_model",
    "search_and_verify",
    "search_and_verify_here",
    "verify",
]
