from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import sys
import warnings

import pytest

from highnoon.cli import __main__, doctor
from highnoon.cli.__main__ import VERBS, main, parse
from highnoon.cli.process import error_line


@pytest.fixture
def failing(monkeypatch):
    """Makes `doctor` raise an exception of the test's choice."""

    def fail_with(error: BaseException) -> None:
        def run(arguments):
            raise error

        monkeypatch.setattr(doctor, "run", run)

    return fail_with


@pytest.mark.parametrize(
    "error", [ValueError("a\nb"), FileNotFoundError("a b"), ImportError("a b"), FloatingPointError("a b")]
)
def test_a_mistake_of_the_user_is_one_line_and_exit_code_1(failing, capsys, error):
    failing(error)
    assert main(["doctor"]) == 1
    assert capsys.readouterr().err == "error: a b\n"


def test_debug_shows_where_the_mistake_was_met(failing):
    failing(ValueError("bad"))
    with pytest.raises(ValueError, match="bad"):
        main(["doctor", "--debug"])


def test_a_defect_of_the_program_is_not_disguised_as_a_mistake_of_the_user(failing):
    failing(AssertionError("defect"))
    with pytest.raises(AssertionError):
        main(["doctor"])


@pytest.mark.parametrize(
    ("stop", "line"), [(KeyboardInterrupt(), "stopped"), (KeyboardInterrupt("saved"), "saved")]
)
def test_ctrl_c_is_exit_code_130(failing, capsys, stop, line):
    failing(stop)
    assert main(["doctor"]) == 130
    assert capsys.readouterr().err == f"{line}\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["trian"], "there is no verb `trian`; did you mean `highnoon train`?"),
        (["fit"], "did you mean `highnoon train`?"),
        (["prepare"], "did you mean `highnoon data prepare`?"),
        (["data", "prepair"], "highnoon data: error: there is no action `prepair`; did you mean `highnoon"),
        (["zqxzqx"], "there is no verb `zqxzqx`; there are: demo, data, train"),
        (["train", "--data", "x", "--learning-ratee", "3"], "did you mean --learning-rate?"),
        (["doctor", "--jsn"], "did you mean --json?"),
        (["doctor", "--js"], "did you mean --json?"),
        (["doctor", "--model.d_model", "4"], "unrecognized arguments"),
        (["generate", "--prompt", "x"], "--model"),
        (["train", "--data", "x", "--model.embedding_dim"], "needs a value"),
        (["train", "--data", "x", "--epochs", "1", "--steps", "2"], "not allowed with"),
    ],
)
def test_wrong_usage_is_exit_code_2_and_says_what_is_wrong(words, message, capsys):
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("words", [[], ["data"], ["help"], ["help", "train"]])
def test_a_command_without_its_verb_shows_the_help(words, capsys):
    with pytest.raises(SystemExit) as stop:
        main(words)
    printed = capsys.readouterr()
    assert stop.value.code == (2 if words in ([], ["data"]) else 0)
    assert printed.out.startswith("usage: highnoon") and not printed.err


def test_python_runs_the_package_as_the_command():
    command = [sys.executable, "-m", "highnoon", "--version"]
    assert subprocess.run(command, capture_output=True, text=True).stdout.startswith("highnoon ")


def test_options_with_hyphens_and_underscores_are_one():
    one = parse(["evaluate", "--model", "m", "--data", "d", "--batch_size", "3", "--held_out"])
    assert one.batch_size == 3 and one.held_out
    command = ["launch", "--base_port=7", "--", "train", "--batch_size", "3"]
    assert parse(command).command[-2:] == ["--batch_size", "3"]


def test_keys_of_a_recipe_are_taken_as_options_of_training():
    words = ["train", "--data", "d", "--learning-rate", "3e-3", "--batch_size=4", "--lr", "1", "--steps", "9"]
    given = parse([*words, "--max-seq-length", "64", "--checkpoint-interval", "5", "--dropout", "0.1"])
    assert given.steps == 9
    assert given.overrides == [
        "training.learning_rate=3e-3",
        "training.batch_size=4",
        "training.learning_rate=1",
        "model.max_seq_length=64",
        "training.max_seq_length=64",
        "checkpoint_interval=5",
        "model.dropout=0.1",
    ]


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(verb, capsys):
    with pytest.raises(SystemExit) as stop:
        main([verb, "--help"])
    assert stop.value.code == 0
    assert VERBS[verb].__doc__.splitlines()[0] in capsys.readouterr().out


def test_the_log_level_comes_from_the_environment(monkeypatch, failing, capsys):
    monkeypatch.setenv("HIGHNOON_LOG_LEVEL", "chatty")
    assert main(["doctor"]) == 1
    assert "HIGHNOON_LOG_LEVEL must be one of" in capsys.readouterr().err


def test_help_of_the_program_names_every_verb(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    printed = capsys.readouterr().out
    assert all(verb in printed for verb in VERBS)
    assert __main__.EPILOG in printed


def test_an_error_cannot_steer_the_terminal(failing, capsys):
    failing(ValueError("no stage \x1b]0;x\x07 \x9b2J\r\ud800"))
    assert main(["doctor"]) == 1
    assert capsys.readouterr().err == "error: no stage \\x1b]0;x\\x07 \\x9b2J \\ud800\n"


def test_usage_errors_and_warnings_cannot_steer_the_terminal(monkeypatch, capsys):
    with pytest.raises(SystemExit):
        main(["doctor", "--\x1b]0;x\x07"])
    monkeypatch.setattr(doctor, "run", lambda arguments: None)
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)
    assert main(["doctor"]) == 0
    assert warnings.formatwarning("\x1b[2J", UserWarning, "file", 1) == "warning: \\x1b[2J\n"
    printed = capsys.readouterr().err
    assert "\x1b" not in printed and "\\x1b]0;x\\x07" in printed


@pytest.mark.parametrize(
    ("number", "what_to_do"),
    [
        (errno.ENOSPC, "bytes are free); free disk space"),
        (errno.EDQUOT, "quota"),
        (errno.EACCES, "check its permissions"),
        (errno.EROFS, "can be written"),
        (errno.EISDIR, "expected a file"),
        (errno.EEXIST, "is in the way; choose another path"),
        (errno.ENOTDIR, "expected a folder"),
        (errno.ENAMETOOLONG, "shorter path"),
    ],
)
def test_an_error_of_the_disk_names_the_path_and_what_to_do(failing, capsys, number, what_to_do):
    error = OSError(number, os.strerror(number), "/logs/run/metrics.jsonl")
    error.add_note("the run is saved in c/step_00000007")
    failing(error)
    assert main(["doctor"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: /logs/run/metrics.jsonl: {os.strerror(number)}")
    assert what_to_do in line and line.endswith("; the run is saved in c/step_00000007")


def test_a_full_disk_that_no_error_names_is_looked_for(failing, capsys, monkeypatch, tmp_path):
    full = tmp_path / "cache"
    monkeypatch.setenv("HIGHNOON_CACHE", str(full))
    monkeypatch.setattr(error_line, "free_bytes", lambda path: 0 if path == str(full) else 2**40)
    failing(OSError(errno.ENOSPC, "No space left on device"))
    assert main(["doctor"]) == 1
    assert capsys.readouterr().err.startswith(f"error: {full}: No space left on device; free disk space")


@pytest.mark.parametrize(
    "error", [MemoryError(), MemoryError("std::bad_alloc"), RuntimeError("can't start new thread")]
)
def test_a_memory_limit_is_one_line_with_what_to_do(failing, capsys, error):
    failing(error)
    assert main(["doctor"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: out of memory") and "ulimit -v" in line


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="the system has no /dev/full")
def test_an_output_that_cannot_be_written_is_one_line(monkeypatch, capsys):
    monkeypatch.setattr(doctor, "run", lambda arguments: print("figures"))
    full = open("/dev/full", "w")
    monkeypatch.setattr(sys, "stdout", full)
    assert main(["doctor"]) == 1
    monkeypatch.undo()
    with contextlib.suppress(OSError):
        full.close()
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error:") and "No space left on device" in line


def test_whatever_fails_at_a_memory_limit_is_put_down_to_it_and_nothing_else_is(failing, capsys, monkeypatch):
    failing(AttributeError("partially initialized module 'jax'"))
    monkeypatch.setattr(error_line, "memory_limit", lambda: 2**30)
    monkeypatch.setattr(error_line, "peak_memory", lambda: 0.9 * 2**30)
    assert main(["doctor"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: out of memory under a limit of 1.0 GiB of address space: partially init")
    monkeypatch.setattr(error_line, "peak_memory", lambda: 2**20)
    with pytest.raises(AttributeError):
        main(["doctor"])


@pytest.mark.parametrize(
    "words",
    [
        ["train", "--config", ""],
        ["inspect", ""],
        ["inspect", "checkpoints", ""],
        ["data", "inspect", ""],
        ["data", "replay", "", "--step", "1"],
        ["launch", "--hosts", "", "--", "true"],
        ["export", "--model", "model", "--output", ""],
    ],
)
def test_an_empty_path_is_refused_and_not_taken_for_the_current_folder(tmp_path, monkeypatch, capsys, words):
    monkeypatch.chdir(tmp_path)
    assert main(words) == 1
    assert "must be a path; received ''" in capsys.readouterr().err
