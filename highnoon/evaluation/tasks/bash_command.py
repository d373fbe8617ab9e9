"""Verdicts on shell commands."""

from __future__ import annotations

import collections
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from highnoon.evaluation.tasks.shell_syntax import (
    is_valid_syntax,
    shell_flags,
    shell_template,
    shell_utilities,
)

if TYPE_CHECKING:
    from highnoon.data.tasks.task_example import TaskExample
    from highnoon.evaluation.tasks.run_commands import CommandSandbox

_FENCE = re.compile(r"```(?:bash|sh|shell)[ \t]*\n(.*?)\n?```", re.DOTALL)


def score_bash_command(
    example: TaskExample,
    text: str,
    is_valid: Callable[[str], bool] = is_valid_syntax,
    sandbox: CommandSandbox | None = None,
) -> dict[str, float]:
    r"""Returns the verdicts on an answer, each in [0, 1].

    - `format`: the entire answer is one block, "\`\`\`bash", the command, "\`\`\`", which is not empty.
    - `syntax_validity`: the command of the first block is valid Bash. Without a block there is no command,
      since most English sentences are valid Bash.
    - `template_accuracy`: utilities, flags and operators equal, in order, those of an accepted command, see
      `shell_template`. Arguments are ignored.
    - `utility_f1`: `2 |G & A| / (|G| + |A|)` over the multisets of utilities.
    - `flag_accuracy`: `|G & A| / max(|G|, |A|)` over the multisets of pairs of utility and flag. It does not
      apply, and is left out, where neither the answer nor an accepted command has a flag.
    - `exact_match`: the command equals an accepted one, apart from white space around and between words.

    - `execution_accuracy`: only with a sandbox. The command leaves the same files and prints the same as an
      accepted command, each executed in a tree of sample files. It applies where an accepted command succeeds
      and gives the same outcome twice.

    With several accepted commands, each verdict is the best over them.

    Args:
        example: With `expected` as a list of accepted commands.
        text: The answer.
        is_valid: Decides `syntax_validity`.
        sandbox: Executes commands; None executes nothing.
    """
    command = fenced_command(text)
    has_format = command is not None and _FENCE.fullmatch(text.strip()) is not None and bool(command.strip())
    command = command or ""
    utilities, flags, template = shell_utilities(command), shell_flags(command), shell_template(command)
    accepted: Sequence[str] = example.expected
    verdicts = {
        "format": float(has_format),
        "syntax_validity": float(is_valid(command)),
        "template_accuracy": float(
            bool(template) and any(shell_template(one) == template for one in accepted)
        ),
        "utility_f1": max(_f1(shell_utilities(one), utilities) for one in accepted),
        "exact_match": float(any(one.split() == command.split() for one in accepted)),
    }
    wanted = [shell_flags(one) for one in accepted]
    if flags or all(wanted):
        verdicts["flag_accuracy"] = max(_overlap(one, flags) for one in wanted)
    if sandbox is not None and (outcomes := [one for one in map(sandbox.repeatable, accepted) if one]):
        verdicts["execution_accuracy"] = float(bool(command.strip()) and sandbox.run(command) in outcomes)
    return verdicts


def fenced_command(text: str) -> str | None:
    """Returns the content of the first block of shell in a text, or None where it has none."""
    match = _FENCE.search(text)
    return match.group(1) if match else None


def _f1(wanted: Sequence[Any], given: Sequence[Any]) -> float:
    both = (collections.Counter(wanted) & collections.Counter(given)).total()
    return 2 * both / (len(wanted) + len(given)) if wanted or given else 0.0


def _overlap(wanted: Sequence[Any], given: Sequence[Any]) -> float:
    both = (collections.Counter(wanted) & collections.Counter(given)).total()
    return both / max(len(wanted), len(given)) if wanted or given else 1.0
