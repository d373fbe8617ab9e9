"""The same initial weights in every run, so that a check that passes once passes always."""

from __future__ import annotations

import keras
import pytest


@pytest.fixture(autouse=True)
def _seeded() -> None:
    keras.utils.set_random_seed(0)
