"""The verdicts on shell commands."""

from __future__ import annotations

import sys
import time

import pytest

from highnoon.data.tasks.task_example import TaskExample
from highnoon.evaluation.tasks import shell_syntax
from highnoon.evaluation.tasks.bash_command import score_bash_command
from highnoon.evaluation.tasks.shell_syntax import (
    has_bash,
    is_valid_for_bash,
    is_valid_syntax,
    shell_flags,
    shell_template,
    shell_utilities,
)


def fenced(command: str) -> str:
    return f"```bash\n{command}\n```"


def score(command: str, text: str) -> dict[str, float]:
    return score_bash_command(TaskExample("bash_command", "0", [], fenced(command), [command]), text)


def test_the_reference_answer_has_all_verdicts():
    command = "find . -name '*.c' -exec grep -l main {} \\; | xargs wc -l > out.txt"
    assert set(score(command, fenced(command)).values()) == {1.0}


def test_arguments_do_not_count_in_the_template():
    found = score("grep -r foo src | sort -u", fenced("grep -r 'bar baz' . | sort -u"))
    assert (found["template_accuracy"], found["flag_accuracy"], found["exact_match"]) == (1.0, 1.0, 0.0)


def test_utilities_flags_operators_and_their_order_count():
    found = score("grep -r foo src | sort -u", fenced("grep -i foo src && sort -u -r"))
    assert found["template_accuracy"] == 0.0 and found["utility_f1"] == 1.0
    assert found["flag_accuracy"] == pytest.approx(1 / 3)
    assert score("ls | wc -l", fenced("ls"))["utility_f1"] == pytest.approx(2 / 3)


def test_the_best_of_several_accepted_commands_counts():
    example = TaskExample("bash_command", "0", [], "", ["ls -a", "find . -maxdepth 1"])
    assert score_bash_command(example, fenced("find . -maxdepth 1"))["exact_match"] == 1.0


@pytest.mark.parametrize(
    "text", ["ls -l", "", "```bash\n```", "Use:\n```bash\nls\n```", "```bash\nls\n```\nDone.", "```\nls\n```"]
)
def test_format_is_one_fenced_command_and_nothing_else(text):
    assert score("ls", text)["format"] == 0.0


def test_words_without_a_block_are_no_command():
    assert is_valid_syntax("List the files")
    assert score("ls", "List the files")["syntax_validity"] == 0.0


@pytest.mark.parametrize(
    ("command", "utilities", "flags"),
    [
        ("sudo -u me rm -rf x", ["sudo", "rm"], [("sudo", "-u"), ("rm", "-rf")]),
        (
            "find . -exec rm -f {} + -print",
            ["find", "rm"],
            [("find", "-exec"), ("rm", "-f"), ("find", "-print")],
        ),
        ("ls | xargs -I {} cp {} /tmp", ["ls", "xargs", "cp"], [("xargs", "-I")]),
        ("tar xf $(ls -t | head -1)", ["tar", "ls", "head"], [("ls", "-t")]),
        ("for i in a; do echo -n $i; done", ["echo"], [("echo", "-n")]),
        ("A=1 env B=2 /usr/bin/make -j4 -- -x", ["env", "make"], [("make", "-j4")]),
        ("ls --color=auto -5", ["ls"], [("ls", "--color")]),
    ],
)
def test_utilities_and_flags(command, utilities, flags):
    assert (shell_utilities(command), shell_flags(command)) == (utilities, flags)


def test_a_template_keeps_operators_and_keywords():
    assert shell_template("if [ -f a ]; then ls >> b; fi")[:2] == ["if", "["]
    assert shell_template("a && b || c; d &") == ["a", "&&", "b", "||", "c", ";", "d", "&"]


@pytest.mark.parametrize(
    "command", ["ls | | wc", "echo 'a", "for i in; do", "ls (", "", "\0", "a" * 20_000, "\ud800"]
)
def test_syntax_that_is_not_valid(command):
    assert not is_valid_syntax(command)


@pytest.mark.skipif(not has_bash(), reason="there is no bash on this machine")
def test_bash_reads_and_does_not_execute(tmp_path):
    assert is_valid_for_bash(f"touch {tmp_path}/a; exit 1") and not list(tmp_path.iterdir())
    assert not is_valid_for_bash("if true; ls") and not is_valid_for_bash("")


@pytest.mark.parametrize(
    "text", ["$(" * 8_000, "`" * 16_001, "(" * 16_000, "a;" * 8_000, "<<E " * 4_000, "x" * 10**7]
)
def test_hostile_commands_take_less_than_a_second(text):
    began = time.process_time()
    score("ls", fenced(text))
    assert time.process_time() - began < 1.0


def test_a_missing_package_is_named_with_its_extra(monkeypatch):
    shell_syntax._parser.cache_clear()
    monkeypatch.setitem(sys.modules, "tree_sitter_bash", None)
    with pytest.raises(ImportError, match=r"tree_sitter_bash.*highnoon\[tasks\]"):
        is_valid_syntax("ls")
    shell_syntax._parser.cache_clear()
