"""Files of strangers may hold code."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def no_code_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fail the test if anything in a file was executed: it would have made a file ``canary``."""
    monkeypatch.chdir(tmp_path)
    yield
    assert not (tmp_path / "canary").exists()
