"""What every benchmark prints: its figures, the environment, and a JSON file of both."""

from __future__ import annotations

import importlib.metadata
import json
import os
import pathlib
import platform
from typing import Any

RESULTS = pathlib.Path(__file__).parents[1] / "results"
_PACKAGES = ("tensorflow", "keras", "keras-hub", "numpy", "torch", "transformers")


def environment() -> dict[str, Any]:
    """Returns processor, cores, Python and the versions of the packages that matter."""
    installed = {distribution.metadata["Name"].lower() for distribution in importlib.metadata.distributions()}
    versions = {name: importlib.metadata.version(name) for name in _PACKAGES if name in installed}
    return {
        "platform": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        **versions,
    }


def write_report(name: str, figures: dict[str, Any]) -> None:
    """Prints the figures and writes them with the environment to `benchmarks/results/<name>.json`."""
    report = {"figures": figures, "environment": environment()}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(report, indent=2), encoding="utf-8")
    for key, value in {**figures, **report["environment"]}.items():
        print(f"{key:28} {value:.4g}" if isinstance(value, float) else f"{key:28} {value}")
