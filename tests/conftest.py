"""Settings for every test: quiet libraries, and a cache that is the run's own."""

from __future__ import annotations

import os
import shutil
import tempfile

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
_CACHE = pytest.StashKey[str]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_CACHE] = os.environ["HIGHNOON_CACHE"] = tempfile.mkdtemp(prefix="highnoon-cache-")


def pytest_unconfigure(config: pytest.Config) -> None:
    shutil.rmtree(config.stash[_CACHE], ignore_errors=True)
