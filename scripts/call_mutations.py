"""Mutations of right answers to rows of function calls, for the verdicts of `bfcl_verdicts.py`.

An answer is a function of the row, the name of the mutation and a seed, so that a test can make it again.
"""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable
from typing import Any

Row = dict[str, Any]
Calls = list[dict[str, Any]]
Mutation = Callable[[Calls, Row, random.Random], "Calls | str | None"]

MUTATIONS: dict[str, Mutation] = {}


def mutation(function: Mutation) -> Mutation:
    """Registers a mutation under its function's name: calls to calls, to a text, or to None if unfit."""
    MUTATIONS[function.__name__] = function
    return function


def answer_of(row: Row, name: str, seed: int) -> str | None:
    """Returns the mutated answer to a row, or None where the mutation does not apply."""
    rng = random.Random(f"{row['id']} {name} {seed}")
    found = MUTATIONS[name](gold_calls(row), row, rng)
    return found if found is None or isinstance(found, str) else json.dumps(found, ensure_ascii=False)


def gold_calls(row: Row) -> Calls:
    """Returns the first accepted value of each argument; optional arguments without one are left out."""
    calls = []
    for accepted in row["expected"]:
        ((name, answers),) = accepted.items()
        values = {key: copy.deepcopy(options[0]) for key, options in answers.items() if options[0] != ""}
        calls.append({"name": name, "arguments": {key: _plain(value) for key, value in values.items()}})
    return calls


def _plain(value: Any) -> Any:
    """An accepted object holds lists of accepted values: takes the first of each."""
    if isinstance(value, dict):
        return {
            key: options[0] if isinstance(options, list) and options else options
            for key, options in value.items()
            if not (isinstance(options, list) and options and options[0] == "")
        }
    if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        return [_plain(item) for item in value]
    return value


def _pick(
    calls: Calls, rng: random.Random, is_fit: Callable[[Any], bool], change: Callable[[Any], Any]
) -> Calls | None:
    """Changes the value of one fit argument."""
    fit = [(c["arguments"], key) for c in calls for key, value in c["arguments"].items() if is_fit(value)]
    if not fit:
        return None
    arguments, key = rng.choice(fit)
    arguments[key] = change(arguments[key])
    return calls


def _all_texts(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list):
        return [_all_texts(item, change) for item in value]
    if isinstance(value, dict):
        return {key: _all_texts(item, change) for key, item in value.items()}
    return value


def _every_text(calls: Calls, change: Callable[[str], str]) -> Calls | None:
    before = json.dumps(calls)
    for call in calls:
        call["arguments"] = {key: _all_texts(value, change) for key, value in call["arguments"].items()}
    return None if json.dumps(calls) == before else calls


def _kind_of(row: Row, key: str) -> str:
    return row["functions"][0]["parameters"]["properties"].get(key, {}).get("type", "")


def _is_int(value: Any) -> bool:
    return type(value) is int


def _python(calls: Calls, between: str = ", ") -> str:
    written = [
        f"{c['name']}({', '.join(f'{key}={value!r}' for key, value in c['arguments'].items())})"
        for c in calls
    ]
    return f"[{between.join(written)}]"


@mutation
def first_accepted(calls, row, rng):
    return calls


@mutation
def any_accepted(calls, row, rng):
    for call, accepted in zip(calls, row["expected"], strict=True):
        for key, options in accepted[call["name"]].items():
            value = rng.choice(options)
            call["arguments"].pop(key, None)
            if value != "":
                call["arguments"][key] = _plain(value)
    return calls


@mutation
def without_optional(calls, row, rng):
    fit = [
        (call, key)
        for call, accepted in zip(calls, row["expected"], strict=True)
        for key, options in accepted[call["name"]].items()
        if "" in options and key in call["arguments"]
    ]
    for call, key in fit:
        del call["arguments"][key]
    return calls if fit else None


@mutation
def empty_text_for_optional(calls, row, rng):
    fit = [
        (call, key)
        for call, accepted in zip(calls, row["expected"], strict=True)
        for key, options in accepted[call["name"]].items()
        if "" in options
    ]
    if not fit:
        return None
    call, key = rng.choice(fit)
    call["arguments"][key] = ""
    return calls


@mutation
def upper_case(calls, row, rng):
    return _every_text(calls, str.upper)


@mutation
def punctuation_added(calls, row, rng):
    return _every_text(calls, lambda text: rng.choice([" ", ".", "_", "*", "-"]).join([text[:2], text[2:]]))


@mutation
def double_quotes(calls, row, rng):
    return _every_text(calls, lambda text: text.replace("'", '"'))


@mutation
def exclamation_mark_added(calls, row, rng):
    return _every_text(calls, lambda text: text + "!")


@mutation
def integer_for_float(calls, row, rng):
    return _pick(calls, rng, lambda v: type(v) is float and v == int(v), int)


@mutation
def float_for_integer(calls, row, rng):
    return _pick(calls, rng, _is_int, float)


@mutation
def arguments_in_another_order(calls, row, rng):
    for call in calls:
        call["arguments"] = dict(reversed(call["arguments"].items()))
    return calls


@mutation
def calls_in_another_order(calls, row, rng):
    rng.shuffle(calls)
    return calls if len(calls) > 1 else None


@mutation
def python_syntax(calls, row, rng):
    return _python(calls)


@mutation
def python_syntax_on_lines(calls, row, rng):
    return _python(calls, ",\n  ")


@mutation
def tuple_for_list(calls, row, rng):
    found = _pick(calls, rng, lambda v: isinstance(v, list), tuple)
    return found and _python(found)


@mutation
def variable_for_text(calls, row, rng):
    class Name(str):
        __repr__ = str.__str__

    found = _pick(calls, rng, lambda v: isinstance(v, str) and v.isidentifier(), Name)
    return found and _python(found)


@mutation
def other_name(calls, row, rng):
    call = rng.choice(calls)
    call["name"] = rng.choice(
        [call["name"] + "s", call["name"].replace(".", "_") + "_", call["name"].upper()]
    )
    return calls


@mutation
def required_removed(calls, row, rng):
    call = rng.choice(calls)
    names = [n for n in row["functions"][0]["parameters"]["required"] if n in call["arguments"]]
    if not names:
        return None
    del call["arguments"][rng.choice(names)]
    return calls


@mutation
def unknown_argument(calls, row, rng):
    rng.choice(calls)["arguments"]["note"] = "none"
    return calls


@mutation
def argument_renamed(calls, row, rng):
    arguments = rng.choice(calls)["arguments"]
    if not arguments:
        return None
    key = rng.choice(list(arguments))
    arguments[f"{key}_value"] = arguments.pop(key)
    return calls


@mutation
def text_changed(calls, row, rng):
    return _pick(calls, rng, lambda v: isinstance(v, str) and v, lambda v: v[::-1] + "x")


@mutation
def number_changed(calls, row, rng):
    return _pick(calls, rng, lambda v: type(v) in (int, float), lambda v: v + rng.choice([-1, 1]))


@mutation
def number_as_text(calls, row, rng):
    return _pick(calls, rng, lambda v: type(v) in (int, float), str)


@mutation
def boolean_as_integer(calls, row, rng):
    return _pick(calls, rng, lambda v: type(v) is bool, int)


@mutation
def boolean_for_number(calls, row, rng):
    return _pick(calls, rng, _is_int, bool)


@mutation
def boolean_flipped(calls, row, rng):
    return _pick(calls, rng, lambda v: type(v) is bool, lambda v: not v)


@mutation
def list_reversed(calls, row, rng):
    return _pick(calls, rng, lambda v: isinstance(v, list) and len(v) > 1, lambda v: v[::-1])


@mutation
def list_shortened(calls, row, rng):
    return _pick(calls, rng, lambda v: isinstance(v, list) and v, lambda v: v[:-1])


@mutation
def list_items_of_another_type(calls, row, rng):
    def change(items):
        return [float(i) if _is_int(i) else int(i) if type(i) is float else str(i).lower() for i in items]

    return _pick(calls, rng, lambda v: isinstance(v, list) and v, change)


@mutation
def value_in_a_list(calls, row, rng):
    return _pick(calls, rng, lambda v: not isinstance(v, list), lambda v: [v])


@mutation
def null_value(calls, row, rng):
    return _pick(calls, rng, lambda v: v is not None, lambda v: None)


@mutation
def object_key_added(calls, row, rng):
    return _pick(calls, rng, lambda v: isinstance(v, dict), lambda v: {**v, "extra": 1})


@mutation
def object_key_removed(calls, row, rng):
    return _pick(calls, rng, lambda v: isinstance(v, dict) and v, lambda v: dict(list(v.items())[1:]))


@mutation
def call_twice(calls, row, rng):
    return [*calls, copy.deepcopy(rng.choice(calls))]


@mutation
def call_replaced_by_another(calls, row, rng):
    return [*calls[:-1], copy.deepcopy(calls[0])] if len(calls) > 1 else None


@mutation
def call_removed(calls, row, rng):
    return calls[:-1]


@mutation
def values_exchanged(calls, row, rng):
    arguments = rng.choice(calls)["arguments"]
    if len(arguments) < 2:
        return None
    one, two = rng.sample(list(arguments), 2)
    arguments[one], arguments[two] = arguments[two], arguments[one]
    return calls


@mutation
def text_cut(calls, row, rng):
    text = json.dumps(calls, ensure_ascii=False)
    return text[: rng.randrange(1, len(text) - 1)]


KEEPING = frozenset(
    "first_accepted any_accepted without_optional empty_text_for_optional upper_case punctuation_added "
    "double_quotes integer_for_float arguments_in_another_order calls_in_another_order python_syntax "
    "python_syntax_on_lines".split()
)
"""Mutations that mostly keep an answer right; they are drawn more often, so that both verdicts are common."""
