"""Campaigns on the command line that keep to themselves, or are over before their first run."""

from __future__ import annotations

import pytest

from latcast import measure


@pytest.fixture
def lock_of_its_own(tmp_path, monkeypatch):
    """No other campaign of this machine keeps the test's out."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


@pytest.fixture
def interrupted_measuring(monkeypatch):
    """Campaigns are begun, and interrupted before their first run."""

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(measure, "run", interrupt)
