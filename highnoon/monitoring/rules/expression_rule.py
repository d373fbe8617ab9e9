"""Alert rules that a user writes as one line."""

from __future__ import annotations

import ast
import math
import operator
import re
import warnings
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from highnoon.files.nearest_name import unknown_name
from highnoon.files.shown import shown
from highnoon.monitoring.alert import ACTIONS, Alert
from highnoon.monitoring.metrics.metric_names import METRICS, canonical_name, metric_of
from highnoon.monitoring.metrics.number import as_number
from highnoon.monitoring.rules.alert_rule import AlertRule
from highnoon.monitoring.run_facts import RunFacts

_LINE = re.compile(r"(?P<when>.+?)(?:\s+for\s+(?P<num_points>\w+))?(?:\s*->\s*(?P<action>\w*))?", re.DOTALL)
_METRIC = re.compile(r"[A-Za-z_]\w*(?:/[A-Za-z_]\w*)+")
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "abs": abs,
    "log": math.log,
    "isfinite": math.isfinite,
    "min": lambda *values: min(values),
    "max": lambda *values: max(values),
}
_OPERATORS: dict[type, Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.USub: operator.neg,
    ast.Not: operator.not_,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
_KEYS = ("when", "for", "action", "severity", "name", "advice")


class ExpressionRule(AlertRule):
    """Fires when a condition on metrics holds at a number of consecutive points; clears when it fails.

    A condition compares numbers, metrics (`train/grad_norm`), `step` and `vocab_size`, combined with `+ - *
    /`, `and`, `or`, `not`, `abs`, `min`, `max`, `log` and `isfinite`; a division needs spaces around its
    slash. It is evaluated at each line with one of its metrics, with the latest value of the others, once all
    have been seen. The condition is parsed with `ast` and interpreted; no code is executed.

    Args:
        when: The condition.
        num_points: Number of consecutive points.
        action: One of `ACTIONS`.
        severity: One of `SEVERITIES`.
        name: The name of the rule; by default the condition.
        advice: What to do.
        metrics: Names of further metrics of the run.

    Raises:
        ValueError: If the condition cannot be parsed, or has an unknown name.
    """

    remembered: ClassVar = ("told", "latest", "streak")

    def __init__(
        self,
        when: str,
        num_points: int = 1,
        action: str = "event",
        severity: str = "warning",
        name: str | None = None,
        advice: str = "this is a rule of your own",
        *,
        metrics: tuple[str, ...] = (),
    ) -> None:
        if not isinstance(when, str) or not when.strip() or len(when) > _MAX_CHARACTERS:
            raise ValueError(
                f"a condition must be a string of at most {_MAX_CHARACTERS:,} characters; {_EXAMPLE}; "
                f"received {shown(when)}"
            )
        for field, text in (("name", "" if name is None else name), ("advice", advice)):
            if not isinstance(text, str):
                raise ValueError(f"`{field}` of a rule must be a string; received {shown(text)}")
        when = " ".join(when.split())
        super().__init__(when if name is None else name, severity, advice, action)
        if isinstance(num_points, bool) or not isinstance(num_points, int) or num_points < 1:
            raise ValueError(
                f"`for` must be an integer number of points, at least 1; received {shown(num_points)}"
            )
        self.when, self.num_points = when, num_points
        self.metrics: list[str] = []
        self._condition = self._read(when, {*METRICS, *metrics})
        self.latest: dict[str, float] = {}
        self.streak = 0

    def observe(self, record: Mapping[str, Any], run: RunFacts) -> Alert | None:
        numbers = {name: as_number(record.get(name)) for name in self.metrics}
        new = {name: value for name, value in numbers.items() if value is not None}
        self.latest |= new
        values = {**self.latest, "step": record["step"], "vocab_size": run.vocab_size}
        if (self.metrics and not new) or any(values.get(name) is None for name in self._names):
            return None
        if not self._holds(values):
            self.streak = 0
            self.clear()
            return None
        self.streak += 1
        if self.streak < self.num_points:
            return None
        value = values[self._names[0]]
        points = f" at {self.num_points} consecutive points" if self.num_points > 1 else ""
        return self.fire(record, value, f"{self.when}{points}: {self._names[0]} is {value:.4g}")

    def _holds(self, values: Mapping[str, float]) -> bool:
        try:
            return bool(_value(self._condition, values))
        except (ArithmeticError, ValueError):  # a division by zero, a logarithm of zero
            return False

    def _read(self, when: str, known: set[str]) -> ast.expr:
        """Returns the syntax tree of the condition, with canonical names."""
        slashed: dict[str, str] = {}

        def hide(match: re.Match[str]) -> str:
            slashed[f"metric_{len(slashed)}_"] = match.group()
            return f"metric_{len(slashed) - 1}_"

        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # warnings of Python about the expression
                tree = ast.parse(_METRIC.sub(hide, when), mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise ValueError(f"the rule {shown(when)} cannot be parsed; {_EXAMPLE}") from error
        _require_shallow(tree, when)
        if not isinstance(tree, (ast.Compare, ast.BoolOp)) and not _is_truth(tree):
            raise ValueError(f"the rule `{when}` is a number, not a condition; {_EXAMPLE}")
        self._names = []
        functions = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Name) and id(node) not in functions:
                node.id = _resolve(slashed.get(node.id, node.id), known)
                self._names.append(node.id)
            else:
                _require_allowed(node, when)
        if not self._names:
            raise ValueError(f"the rule `{when}` names no metric; {_EXAMPLE}")
        self.metrics = [name for name in self._names if name not in ("step", "vocab_size")]
        return tree


_MAX_CHARACTERS = 1000
_MAX_DIGITS = 18
_MAX_DEPTH = 50
_EXAMPLE = "a rule looks like `train/grad_norm > 50 for 3 -> stop`"


def parse_rule(form: str | Mapping[str, Any], metrics: tuple[str, ...] = ()) -> ExpressionRule:
    """Parses a rule: `CONDITION [for N] [-> ACTION]`, or a mapping with `when` and optional other keys.

    Args:
        form: A line such as `"train/grad_norm > 50 for 3 -> stop"`, or a mapping of `when` (a line too),
            `for`, `action`, `severity`, `name`, `advice`.
        metrics: Names of further metrics of the run.

    Raises:
        ValueError: If it cannot be parsed; the error suggests the nearest name.
    """
    if not isinstance(form, (str, Mapping)):
        raise ValueError(f"a rule is a line or a mapping; {_EXAMPLE}; received {shown(form)}")
    values = {"when": form} if isinstance(form, str) else dict(form)
    for key in values:
        if key not in _KEYS:
            raise ValueError(unknown_name("key of a rule", key, _KEYS))
    if not isinstance(values.get("when"), str) or not 0 < len(values["when"].strip()) <= _MAX_CHARACTERS:
        raise ValueError(
            f"a rule needs `when`, a condition of at most {_MAX_CHARACTERS:,} characters; {_EXAMPLE}; "
            f"received {shown(form)}"
        )
    match = _LINE.fullmatch(values.pop("when").strip())
    assert match is not None
    in_line = {"for": match["num_points"], "action": match["action"]}
    for key, value in in_line.items():
        if value is not None and key in values:
            raise ValueError(
                f"a rule has `{key}` in its line and as a key; remove one; received {shown(form)}"
            )
        if value is not None:
            values[key] = value
    if "action" in values and values["action"] not in ACTIONS:
        raise ValueError(unknown_name("action", values["action"], ACTIONS))
    points = values.pop("for", 1)
    if isinstance(points, str) and points.isdecimal() and len(points) <= _MAX_DIGITS:
        points = int(points)
    return ExpressionRule(match["when"], points, metrics=metrics, **values)  # type: ignore[arg-type]


def _require_shallow(tree: ast.expr, when: str) -> None:
    level: list[ast.AST] = [tree]
    for _ in range(_MAX_DEPTH):
        level = [child for node in level for child in ast.iter_child_nodes(node)]
        if not level:
            return
    raise ValueError(f"the rule {shown(when)} is nested more than {_MAX_DEPTH} deep; write several rules")


def _is_truth(node: ast.AST) -> bool:
    is_not = isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not)
    return is_not or (
        isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "isfinite"
    )


def _resolve(name: str, known: set[str]) -> str:
    name = name if name in known else canonical_name(name)
    if name not in known and metric_of(name) is None and name not in ("step", "vocab_size"):
        raise ValueError(unknown_name("metric", name, sorted(known)))
    return name


def _require_allowed(node: ast.AST, when: str) -> None:
    allowed = (
        ast.Compare,
        ast.BoolOp,
        ast.And,
        ast.Or,
        ast.BinOp,
        ast.UnaryOp,
        ast.Load,
        ast.Name,
        *_OPERATORS,
    )
    number = as_number(node.value) if isinstance(node, ast.Constant) else None
    is_number = number is not None and math.isfinite(number)
    if isinstance(node, ast.Call):
        if not isinstance(node.func, ast.Name) or node.keywords or not node.args:
            raise ValueError(
                f"the rule `{when}` calls something that is not a function of numbers; {_EXAMPLE}"
            )
        if node.func.id not in _FUNCTIONS:
            raise ValueError(unknown_name("function", node.func.id, _FUNCTIONS))
        if node.func.id in ("abs", "log", "isfinite") and len(node.args) != 1:
            raise ValueError(f"`{node.func.id}` in the rule `{when}` takes one number")
    elif not is_number and not isinstance(node, allowed):
        what = ast.unparse(node) or type(node).__name__
        raise ValueError(f"the rule `{when}` must not contain `{what}`; {_EXAMPLE}")


def _value(node: ast.expr, values: Mapping[str, float]) -> Any:
    """Returns the value of a tree that `_require_allowed` accepted."""
    match node:
        case ast.Constant():
            return node.value
        case ast.Name():
            return values[node.id]
        case ast.Call(func=ast.Name(id=function)):
            arguments = [_value(argument, values) for argument in node.args]
            return _FUNCTIONS[function](*arguments)
        case ast.UnaryOp():
            return _OPERATORS[type(node.op)](_value(node.operand, values))
        case ast.BinOp():
            return _OPERATORS[type(node.op)](_value(node.left, values), _value(node.right, values))
        case ast.BoolOp(op=ast.And()):
            return all(_value(part, values) for part in node.values)
        case ast.BoolOp():
            return any(_value(part, values) for part in node.values)
        case ast.Compare():
            terms = [_value(term, values) for term in (node.left, *node.comparators)]
            pairs = zip(node.ops, terms, terms[1:], strict=False)
            return all(_OPERATORS[type(op)](left, right) for op, left, right in pairs)
    raise AssertionError(ast.dump(node))
