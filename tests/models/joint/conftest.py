"""What the tests of the joint model share."""

from __future__ import annotations

import pytest
from law import GRAPHS

from latcast.networks import Networks


@pytest.fixture(scope="module")
def networks() -> Networks:
    return Networks.of_graphs(GRAPHS)
