"""Reports what is installed, which devices TensorFlow sees, and how to fix what is missing.

  highnoon doctor
  highnoon doctor --json

Exits with 1 if something that HighNoon needs is missing or broken.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.metadata
import json
import os
import pathlib
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from highnoon.files.foreign import parse_json

if TYPE_CHECKING:
    from packaging.requirements import Requirement

SUMMARY = "check the installation: versions, devices, memory, extras"

ENVIRONMENT = (
    "HIGHNOON_DATA",
    "HIGHNOON_CACHE",
    "HIGHNOON_LOG_LEVEL",
    "KERAS_BACKEND",
    "TF_NUM_INTEROP_THREADS",
    "TF_NUM_INTRAOP_THREADS",
    "OMP_NUM_THREADS",
    "CUDA_VISIBLE_DEVICES",
)
SUPPORTED_PYTHON = ((3, 11), (3, 13))

# Runs in its own process: a TensorFlow built for another processor ends it with a signal.
PROBE = """
import json, keras, tensorflow as tf
from highnoon.data.preparation.tokenize import default_cache_dir
from highnoon.models.memory import available_memory
devices = [device.device_type for device in tf.config.list_logical_devices()]
result = float(tf.reduce_sum(tf.matmul(tf.ones((8, 8)), tf.ones((8, 8)))))
print(json.dumps({
    "devices": devices, "backend": keras.config.backend(), "sum": result, "free": available_memory(),
    "cache": str(default_cache_dir()),
}))
"""


@dataclasses.dataclass(frozen=True)
class Finding:
    """One line of the report; `remedy` is a command or a sentence, `is_needed` decides the exit code."""

    group: str
    name: str
    value: str
    is_ok: bool = True
    is_needed: bool = True
    remedy: str | None = None


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")


def run(arguments: argparse.Namespace) -> int:
    findings = list(examine())
    if arguments.json:
        print(json.dumps([dataclasses.asdict(finding) for finding in findings], indent=2))
    else:
        _print(findings)
    return int(any(finding.is_needed and not finding.is_ok for finding in findings))


def examine() -> Iterator[Finding]:
    """Yields every finding, the fast ones first."""
    yield from examine_system()
    yield from examine_requirements(_requirements())
    yield from examine_tensorflow()
    for name in ENVIRONMENT:
        if name in os.environ:
            yield Finding("environment", name, os.environ[name])


def examine_system() -> Iterator[Finding]:
    import psutil

    import highnoon

    low, high = SUPPORTED_PYTHON
    python_fits = low <= sys.version_info[:2] <= high
    yield Finding("system", "highnoon", highnoon.__version__)
    yield Finding(
        "system",
        "Python",
        f"{platform.python_version()} at {sys.executable}",
        python_fits,
        remedy=None if python_fits else "make a virtual environment with Python 3.11, 3.12 or 3.13",
    )
    yield Finding("system", "platform", platform.platform())
    yield Finding("system", "processor cores", str(os.cpu_count()))
    yield Finding("system", "memory", _gib(psutil.virtual_memory().total))


def examine_requirements(lines: list[str]) -> Iterator[Finding]:
    """Yields a finding for each package that HighNoon needs, and one for each extra.

    Args:
        lines: Requirements as package metadata has them, `'zstandard>=0.25; extra == "zstd"'`.
    """
    from packaging.requirements import Requirement

    extras: dict[str, list[Requirement]] = {}
    for requirement in map(Requirement, lines):
        extra = _extra_of(requirement)
        if requirement.marker and not requirement.marker.evaluate({"extra": extra or ""}):
            continue
        if extra:
            extras.setdefault(extra, []).append(requirement)
            continue
        version, fits = _installed(requirement)
        yield Finding(
            "packages",
            requirement.name,
            version if fits else f"{version}, wants {requirement.specifier}",
            is_ok=fits,
            remedy=None if fits else _install_command([requirement]),
        )
    for extra, requirements in extras.items():
        absent = [requirement for requirement in requirements if not _installed(requirement)[1]]
        names = ", ".join(requirement.name for requirement in absent)
        yield Finding(
            "extras",
            extra,
            f"without {names}" if absent else "ready",
            is_ok=not absent,
            is_needed=False,
            remedy=_install_command(absent) if absent else None,
        )


def examine_tensorflow() -> Iterator[Finding]:
    """Yields what a fresh process finds when it multiplies two matrices with TensorFlow."""
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    probe = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, env=environment)
    if probe.returncode != 0:
        reason = (probe.stderr.strip().splitlines() or [f"ended with signal {-probe.returncode}"])[-1]
        yield Finding(
            "running",
            "TensorFlow",
            f"does not run: {reason}",
            is_ok=False,
            remedy=f"{_python()} -m pip install --force-reinstall tensorflow keras",
        )
        return
    seen = parse_json((probe.stdout.strip().splitlines() or [""])[-1], "what the probe of TensorFlow printed")
    yield Finding("running", "TensorFlow sees", ", ".join(seen["devices"]), is_ok=seen["sum"] == 512.0)
    yield Finding("running", "memory a run can take", _gib(seen["free"]))
    yield examine_cache(pathlib.Path(seen["cache"]))
    is_tensorflow = seen["backend"] == "tensorflow"
    yield Finding(
        "running",
        "Keras backend",
        seen["backend"],
        is_tensorflow,
        remedy=None if is_tensorflow else "set KERAS_BACKEND=tensorflow: the Trainer needs it",
    )
    if "GPU" not in seen["devices"] and shutil.which("nvidia-smi"):
        version = importlib.metadata.version("tensorflow")
        yield Finding(
            "running",
            "GPU",
            "there is one, and TensorFlow cannot use it",
            is_ok=False,
            is_needed=False,
            remedy=f'{_python()} -m pip install "tensorflow[and-cuda]=={version}"',
        )


def examine_cache(folder: pathlib.Path) -> Finding:
    """Reports the folder of tokenized data, whether it can be written, and its free space."""
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    is_writable = os.access(existing, os.W_OK)
    room = _gib(shutil.disk_usage(existing).free)
    return Finding(
        "running",
        "cache",
        f"{folder}, {room} free" if is_writable else f"{folder} cannot be written",
        is_ok=is_writable,
        remedy=None if is_writable else "set HIGHNOON_CACHE to a folder of yours",
    )


def _requirements() -> list[str]:
    try:
        return importlib.metadata.requires("highnoon") or []
    except importlib.metadata.PackageNotFoundError:
        raise ValueError(
            f"highnoon runs from a folder and is not installed; in that folder run: "
            f"{_python()} -m pip install -e ."
        ) from None


def _extra_of(requirement: Requirement) -> str | None:
    """Returns the extra named in a requirement's marker (`extra == "hf"`)."""
    _, found, rest = str(requirement.marker or "").partition('extra == "')
    return rest.partition('"')[0] if found else None


def _installed(requirement: Requirement) -> tuple[str, bool]:
    """Returns the installed version, or "missing", and whether it is one that is wanted."""
    try:
        version = importlib.metadata.version(requirement.name)
    except importlib.metadata.PackageNotFoundError:
        return "missing", False
    return version, requirement.specifier.contains(version, prereleases=True)


def _install_command(requirements: list[Requirement]) -> str:
    wanted = " ".join(f'"{_without_marker(requirement)}"' for requirement in requirements)
    return f"{_python()} -m pip install {wanted}"


def _without_marker(requirement: Requirement) -> str:
    return str(requirement).partition(";")[0].strip()


def _python() -> str:
    return f'"{sys.executable}"' if " " in sys.executable else sys.executable


def _gib(count: int) -> str:
    return f"{count / 2**30:.1f} GiB"


def _print(findings: list[Finding]) -> None:
    group = None
    for finding in findings:
        if finding.group != group:
            group = finding.group
            print(f"\n{group}" if finding is not findings[0] else group)
        mark = "ok" if finding.is_ok else ("MISSING" if finding.is_needed else "-")
        print(f"  {mark:8}{finding.name:22}{finding.value}")
        if finding.remedy:
            print(f"  {'':8}{'':22}fix: {finding.remedy}")
    broken = [finding.name for finding in findings if finding.is_needed and not finding.is_ok]
    print()
    print(f"Not ready: fix {', '.join(broken)}." if broken else "Ready. Try: highnoon demo")
