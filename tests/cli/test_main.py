from __future__ import annotations

import pytest

from highnoon.cli import __main__, doctor
from highnoon.cli.__main__ import VERBS, main


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
        ([], "VERB"),
        (["trian"], "invalid choice: 'trian'"),
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
