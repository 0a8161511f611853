"""Checking on the device: measure what a search found, adapt the predictor, and search again."""

from ._measuring import Campaigns, Measured, Measuring, MeasuringError
from ._record import Round, VerificationRecord
from ._search_and_verify import search_and_verify, verify
from ._verification import Verification, VerifiedResult

__all__ = [
    "Campaigns",
    "Measured",
    "Measuring",
    "MeasuringError",
    "Round",
    "Verification",
    "VerificationRecord",
    "VerifiedResult",
    "search_and_verify",
    "verify",
]
