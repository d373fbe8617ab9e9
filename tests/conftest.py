"""Settings for every test: quiet libraries, and a cache that is the run's own."""

from __future__ import annotations

import collections
import os
import shutil
import tempfile

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
_CACHE = pytest.StashKey[str]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_CACHE] = os.environ["HIGHNOON_CACHE"] = tempfile.mkdtemp(prefix="highnoon-cache-")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts files of mostly slow tests first, so that at the end no process waits for another's last file."""
    num_tests, num_slow = collections.Counter[object](), collections.Counter[object]()
    for item in items:
        num_tests[item.path] += 1
        num_slow[item.path] += item.get_closest_marker("slow") is not None
    items.sort(key=lambda item: -num_slow[item.path] / num_tests[item.path])


def pytest_unconfigure(config: pytest.Config) -> None:
    shutil.rmtree(config.stash[_CACHE], ignore_errors=True)
