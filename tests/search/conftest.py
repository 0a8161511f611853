"""Shipped models that searches ask."""

from __future__ import annotations

import pytest

import latcast
from latcast.models import Predictor


@pytest.fixture(scope="session")
def note10() -> Predictor:
    """A phone: sums of a lookup table."""
    return latcast.load("samsung-note10")


@pytest.fixture(scope="session")
def rtx() -> Predictor:
    """A GPU."""
    return latcast.load("rtx-2080-ti")


@pytest.fixture(scope="session")
def p40() -> Predictor:
    """Another GPU."""
    return latcast.load("tesla-p40")
