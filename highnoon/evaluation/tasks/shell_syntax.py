"""The syntax of shell commands: validity, and the utilities and flags of a command.

Commands come from a model. They are parsed and never executed.
"""

from __future__ import annotations

import functools
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

from highnoon.evaluation.tasks.missing_extra import import_extra

MAX_CHARACTERS = 16_384
"""Longer commands are not valid, and have no template."""

BASH_SECONDS = 5.0
"""The longest that `bash -n` may take."""

_OPERATORS = frozenset(
    ("|", "|&", "&&", "||", ";", "&", ">", ">>", "<", "<<", "<<<", ">&", "<&", "&>", "&>>")
)
_KEYWORDS = frozenset(("if", "for", "while", "until", "case", "[", "[["))
_DECLARATIONS = frozenset(("export", "declare", "local", "readonly", "typeset", "unset"))
_RUNS_ANOTHER = {
    "sudo": "ugpCchrt",
    "xargs": "IndPLEsa",
    "env": "uSC",
    "nohup": "",
    "time": "fo",
    "nice": "n",
    "exec": "a",
    "command": "",
    "watch": "n",
    "timeout": "ks",
    "strace": "eopsu",
}
"""Utilities whose first argument is a command, and their short flags with a value."""
_FIND_RUNS = frozenset(("-exec", "-execdir", "-ok", "-okdir"))
_FIND_ENDS = frozenset((";", "\\;", "';'", '";"', "+"))


def is_valid_syntax(command: str) -> bool:
    """Returns whether tree-sitter parses a command as Bash without an error; an empty one is not valid.

    Raises:
        ImportError: `tree-sitter` or `tree-sitter-bash` is not installed.

    Example:

    ```python
    from highnoon.evaluation.tasks.shell_syntax import is_valid_syntax

    assert is_valid_syntax("ls | wc -l") and not is_valid_syntax("ls | | wc")
    ```
    """
    if not _is_readable(command):
        return False
    root = _parser().parse(command.encode()).root_node
    return not root.has_error and any(child.is_named and child.type != "comment" for child in root.children)


def has_bash() -> bool:
    """Returns whether this machine has `bash`, whose verdict is then final."""
    return shutil.which("bash") is not None


def is_valid_for_bash(command: str) -> bool:
    """Returns whether `bash -n`, which reads a command without executing it, accepts it.

    Raises:
        FileNotFoundError: There is no `bash`.
    """
    if not _is_readable(command):
        return False
    try:
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-n"],
            input=command.encode() + b"\n",
            capture_output=True,
            timeout=BASH_SECONDS,
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"},
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def shell_template(command: str) -> list[str]:
    """Returns the utilities, flags, operators and keywords of a command in order; arguments are removed.

    A flag is a word that begins with `-` and no digit, before `--`; what follows `=` is removed. Commands
    that other commands run (`sudo`, `xargs`, `find -exec` and such) and those in substitutions count.

    Raises:
        ImportError: `tree-sitter` or `tree-sitter-bash` is not installed.

    Example:

    ```python
    from highnoon.evaluation.tasks.shell_syntax import shell_template

    assert shell_template("find . -name '*.c' | xargs grep -l foo") == [
        "find", "-name", "|", "xargs", "grep", "-l"
    ]
    ```
    """
    return [word for _, word in _template(command)]


def shell_utilities(command: str) -> list[str]:
    """Returns the utilities of a command in order."""
    return [word for utility, word in _template(command) if utility == word]


def shell_flags(command: str) -> list[tuple[str, str]]:
    """Returns the flags of a command in order, each with its utility."""
    return [(utility, word) for utility, word in _template(command) if utility not in ("", word)]


def _template(command: str) -> list[tuple[str, str]]:
    """Pairs of utility and word: the utility itself, its flags, and operators with an empty utility."""
    if not _is_readable(command):
        return []
    found: list[tuple[str, str]] = []
    # Nodes to visit, the next one last: generated text may nest more deeply than Python calls functions.
    nodes = [_parser().parse(command.encode()).root_node]
    while nodes:
        node = nodes.pop()
        if node.type == "command":
            words = [child for child in node.children if child.type != "variable_assignment"]
            texts = [child.text.decode(errors="replace") for child in words if child.is_named]
            inner = [list(_inner(child)) for child in words if child.is_named]
            found += _command_words(texts)
            nodes += [part for parts in reversed(inner) for part in reversed(parts)]
        else:
            if not node.is_named and node.type in _OPERATORS | _KEYWORDS:
                found.append(("", node.type))
            elif not node.is_named and node.type in _DECLARATIONS:
                found.append((node.type, node.type))
            nodes += reversed(node.children)
    return found


def _inner(node: Any) -> Iterator[Any]:
    """The substitutions within a word, and the redirects of a command."""
    nodes = [node]
    while nodes:
        part = nodes.pop()
        if part.type in ("command_substitution", "process_substitution", "herestring_redirect"):
            yield part
        else:
            nodes += reversed(part.children)


def _command_words(texts: list[str]) -> Iterator[tuple[str, str]]:
    """Pairs of utility and word of a command's words, the first of which is the utility."""
    utility, is_expected, has_flags, skips = "", True, True, 0
    for text in texts:
        if skips:
            skips -= 1
        elif is_expected and not (utility and text.startswith("-")):
            if utility == "env" and "=" in text or utility == "timeout" and text[:1].isdigit():
                continue
            utility = text.rsplit("/", 1)[-1] or text
            is_expected, has_flags = utility in _RUNS_ANOTHER, True
            yield utility, utility
        elif utility and text in _FIND_ENDS:
            utility = "find"
        elif has_flags and text == "--":
            has_flags = False
        elif has_flags and len(text) > 1 and text[0] == "-" and not text[1].isdigit():
            flag = text.split("=", 1)[0]
            yield utility, flag
            if text in _FIND_RUNS:
                is_expected, utility = True, ""
            elif is_expected and len(text) == 2 and text[1] in _RUNS_ANOTHER[utility]:
                skips = 1


def _is_readable(command: str) -> bool:
    return (
        bool(command.strip()) and len(command) <= MAX_CHARACTERS and "\0" not in command and _is_text(command)
    )


def _is_text(command: str) -> bool:
    try:
        command.encode()
    except UnicodeEncodeError:
        return False
    return True


@functools.cache
def _parser() -> Any:
    tree_sitter = import_extra("tree_sitter", "the syntax of shell commands")
    bash = import_extra("tree_sitter_bash", "the syntax of shell commands")
    return tree_sitter.Parser(tree_sitter.Language(bash.language()))
