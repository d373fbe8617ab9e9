"""Settings for every test: quiet libraries, and a cache that is the run's own."""

from __future__ import annotations

import collections
import gc
import os
import shutil
import tempfile

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Tests compile much and run little: no optimizing by LLVM, unless `XLA_FLAGS` says otherwise.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")
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


@pytest.fixture(scope="module", autouse=True)
def _what_earlier_modules_left_is_not_searched_again() -> None:
    """TensorFlow keeps the graphs of custom gradients for good; collections need not walk them."""
    gc.collect()
    gc.freeze()
