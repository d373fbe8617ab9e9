"""Verdicts on worked answers to questions of arithmetic, in the form of GSM8K.

Cobbe et al. 2021, Training Verifiers to Solve Math Word Problems, https://arxiv.org/abs/2110.14168: an answer
ends with `#### 72`, and its steps have calculator annotations, `<<48/2=24>>`.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import TYPE_CHECKING

from highnoon.evaluation.tasks.arithmetic import ArithmeticRefusal, evaluate_expression, parse_number

if TYPE_CHECKING:
    from highnoon.data.tasks.task_example import TaskExample

MAX_CHARACTERS = 65_536
"""Of a longer text, only this many characters are read."""

_FINAL = re.compile(r"####[ \t]*([^\n]{1,60})")
_STEP = re.compile(r"<<([^<>=\n]{1,200})=([^<>=\n]{1,60})>>")
_OPENED = "<<"


def score_chain_of_thought(example: TaskExample, text: str) -> dict[str, float]:
    """Returns the verdicts on an answer, each in [0, 1].

    - `format`: the last line is `####` and a number, and no other line has `####`.
    - `final_answer`: the number after the last `####` equals the expected one.
    - `step_accuracy`: right annotations / all annotations, see `checked_steps`; 0 without one. It does not
      apply, and is left out, where the reference answer has none.
    - `multi_step_accuracy`: the final answer is right, and the answer has at least two annotations and all
      are right. It applies where the reference answer has at least two.

    Args:
        example: With `expected` as the text of the final number.
        text: The answer.

    Example:

    ```python
    from highnoon.data.tasks.task_example import TaskExample
    from highnoon.evaluation.tasks.chain_of_thought import score_chain_of_thought

    example = TaskExample("chain_of_thought", "0", [], "<<48/2=24>> #### 24", "24")
    found = score_chain_of_thought(example, "48 / 2 = <<48/2=25>>25\\n#### 24")
    assert (found["final_answer"], found["step_accuracy"]) == (1.0, 0.0)
    ```
    """
    is_right = _is_number(final_answer(text), example.expected)
    steps, wanted = checked_steps(text), checked_steps(example.answer)
    verdicts = {"format": float(_has_format(text)), "final_answer": float(is_right)}
    if wanted:
        verdicts["step_accuracy"] = sum(steps) / len(steps) if steps else 0.0
    if len(wanted) > 1:
        verdicts["multi_step_accuracy"] = float(is_right and len(steps) > 1 and all(steps))
    return verdicts


def final_answer(text: str) -> str | None:
    """Returns what follows the last `####` of a text on its line, or None where there is none."""
    found = _FINAL.findall(text[-MAX_CHARACTERS:])
    return found[-1].strip() if found else None


def checked_steps(text: str) -> list[bool]:
    """Returns for each calculator annotation of a text whether it is right.

    `<<expression=result>>` is right if the expression has that value. A result with decimals may be rounded
    or cut: it must be less than one unit of its last decimal away, so 10/3 is 3.33 and never 3. An annotation
    that is not arithmetic is wrong.
    """
    read = text[:MAX_CHARACTERS]
    found = [_is_right_step(left, right) for left, right in _STEP.findall(read)]
    return found + [False] * max(0, read.count(_OPENED) - len(found))


def _is_right_step(expression: str, result: str) -> bool:
    try:
        value, shown = evaluate_expression(expression), parse_number(result)
    except ArithmeticRefusal:
        return False
    decimals = re.search(r"\.(\d+)", result)
    if decimals is None:
        return value == shown
    return abs(value - shown) < Fraction(1, 10 ** len(decimals.group(1)))


def _is_number(text: str | None, expected: str) -> bool:
    try:
        return text is not None and parse_number(text) == parse_number(str(expected))
    except ArithmeticRefusal:
        return False


def _has_format(text: str) -> bool:
    lines = text[-MAX_CHARACTERS:].strip().split("\n")
    match = _FINAL.fullmatch(lines[-1].strip())
    if match is None or text.count("####") != 1:
        return False
    try:
        parse_number(match.group(1))
    except ArithmeticRefusal:
        return False
    return True
