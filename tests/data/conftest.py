"""Fixtures of the loaders' tests."""

from pathlib import Path

import pytest

from tests.data.web import closed_port, serve

__all__ = ["closed_port", "serve"]


@pytest.fixture
def archives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that DATA_ARCHIVES names, still missing."""
    monkeypatch.setenv("DATA_ARCHIVES", str(tmp_path / "archives"))
    return tmp_path / "archives"
