from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from highnoon.cli import doctor
from highnoon.cli.__main__ import main


def findings(*requirements: str) -> dict[str, doctor.Finding]:
    return {finding.name: finding for finding in doctor.examine_requirements(list(requirements))}


def test_an_installed_requirement_of_a_wanted_version_is_fine():
    found = findings("numpy>=1")["numpy"]
    assert found.is_ok and found.is_needed and found.remedy is None


@pytest.mark.parametrize("requirement", ["numpy<1", "no-such-package>=2"])
def test_a_requirement_that_is_missing_or_of_another_version_comes_with_its_command(requirement):
    (found,) = findings(requirement).values()
    assert not found.is_ok and found.is_needed
    assert found.remedy == f'{sys.executable} -m pip install "{requirement}"'


def test_an_extra_is_one_finding_whose_command_names_all_that_it_lacks():
    found = findings('numpy; extra == "x"', 'no-such-a[c]>=2; extra == "x"', 'no-such-b; extra == "x"')["x"]
    assert not found.is_ok and not found.is_needed
    assert found.remedy == f'{sys.executable} -m pip install "no-such-a[c]>=2" "no-such-b"'


def test_a_requirement_for_another_system_is_skipped():
    assert findings('no-such-package; sys_platform == "neverland"') == {}


def test_exit_code_is_1_only_where_something_needed_is_broken(monkeypatch, capsys):
    wanting = doctor.Finding("extras", "plots", "wanting", is_ok=False, is_needed=False, remedy="pip ...")
    monkeypatch.setattr(doctor, "examine", lambda: iter([wanting]))
    assert main(["doctor"]) == 0
    assert "fix: pip ..." in capsys.readouterr().out
    broken = doctor.Finding("packages", "keras", "missing", is_ok=False)
    monkeypatch.setattr(doctor, "examine", lambda: iter([wanting, broken]))
    assert main(["doctor"]) == 1
    assert "Not ready: fix keras." in capsys.readouterr().out


def test_a_tensorflow_that_does_not_run_is_reported_with_its_reason(monkeypatch):
    monkeypatch.setattr(doctor, "PROBE", "raise ImportError('no such symbol')")
    (found,) = doctor.examine_tensorflow()
    assert not found.is_ok and "no such symbol" in found.value


def test_a_tensorflow_that_ends_by_a_signal_is_reported_with_it(monkeypatch):
    monkeypatch.setattr(doctor, "PROBE", "import os; os.abort()")
    (found,) = doctor.examine_tensorflow()
    assert not found.is_ok and "signal 6" in found.value


@pytest.mark.slow
def test_a_backend_that_cannot_train_is_not_ready():
    command = [sys.executable, "-m", "highnoon.cli", "doctor", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"KERAS_BACKEND": "jax"})
    found = {finding["name"]: finding for finding in json.loads(done.stdout)}
    assert done.returncode == 1
    assert found["Keras backend"]["value"] == "jax" and not found["Keras backend"]["is_ok"]
    assert "CPU" in found["TensorFlow sees"]["value"]
