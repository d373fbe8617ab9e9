"""Commands are executed in a sandbox alone; without one execution is refused."""

from __future__ import annotations

import shutil
import time

import pytest

from highnoon.config import ConfigError
from highnoon.data.tasks.task_example import TaskExample
from highnoon.evaluation.tasks.bash_command import score_bash_command
from highnoon.evaluation.tasks.run_commands import CommandSandbox

needs_bwrap = pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is not installed")


def test_without_a_sandbox_execution_is_refused(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ConfigError, match="bubblewrap") as error:
        CommandSandbox()
    assert "\n" not in str(error.value)


def test_a_sandbox_that_does_not_work_is_refused(tmp_path, monkeypatch):
    (tmp_path / "bwrap").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "bwrap").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(ConfigError, match="cannot make a sandbox"):
        CommandSandbox()


@needs_bwrap
def test_outcomes_are_what_is_printed_and_what_is_left():
    sandbox = CommandSandbox(2.0)
    assert sandbox.run("sort notes.txt") == sandbox.run("cat notes.txt | sort")
    assert sandbox.run("sort notes.txt") != sandbox.run("sort -r notes.txt")
    assert sandbox.run("rm src/old.c") == sandbox.run("find . -name 'old.c' -delete")
    assert sandbox.run("rm src/old.c") != sandbox.run("true")
    assert sandbox.repeatable("date +%N") is None and sandbox.repeatable("false") is None


@needs_bwrap
def test_commands_reach_no_file_network_or_variable_of_the_user(tmp_path, monkeypatch):
    monkeypatch.setenv("SECRET_OF_USER", "1")
    sandbox = CommandSandbox(2.0)
    for command in (
        f"ls {tmp_path}",
        f"touch {tmp_path}/a",
        'test -n "$SECRET_OF_USER"',
        "exec 3<>/dev/tcp/127.0.0.1/22",
        "touch /usr/a",
        "cat /etc/passwd",
    ):
        assert not sandbox.run(command).has_succeeded, command


@needs_bwrap
def test_time_and_output_are_limited():
    sandbox = CommandSandbox(0.5)
    began = time.perf_counter()
    for command in ("sleep 30", "yes", "cat /dev/zero >/proc/1/fd/1", "yes >big"):
        assert not sandbox.run(command).has_succeeded
    assert time.perf_counter() - began < 10.0


@needs_bwrap
def test_execution_accuracy_accepts_another_command_with_the_same_outcome():
    example = TaskExample("bash_command", "0", [], "", ["sort notes.txt"])
    sandbox = CommandSandbox(2.0)
    right = score_bash_command(example, "```bash\ncat notes.txt | sort\n```", sandbox=sandbox)
    wrong = score_bash_command(example, "```bash\ncat notes.txt\n```", sandbox=sandbox)
    assert (right["execution_accuracy"], wrong["execution_accuracy"]) == (1.0, 0.0)
    unusable = TaskExample("bash_command", "0", [], "", ["date +%N"])
    assert "execution_accuracy" not in score_bash_command(unusable, "```bash\nls\n```", sandbox=sandbox)
