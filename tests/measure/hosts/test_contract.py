"""Every host keeps the contract of :mod:`latcast.testing`."""

from __future__ import annotations

import pytest

from latcast.devices import Target
from latcast.measure.hosts import host
from latcast.testing import HOST_CHECKS

pytestmark = [pytest.mark.worker, pytest.mark.slow]


@pytest.mark.parametrize("check", HOST_CHECKS, ids=lambda x: x.__name__)
def test_this_machine(check):
    with host() as here:
        check(here, Target("board", "onnxruntime", threads=1))


@pytest.mark.parametrize("check", HOST_CHECKS, ids=lambda x: x.__name__)
def test_ssh(check, server):
    with host("board") as board:
        check(board, Target("board", "my-own", threads=1))
