"""Synthetic functions, questions about them, and the accepted calls, in the form of BFCL."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, NamedTuple

from highnoon.data.tasks.synthetic.words import CITIES, FIRST_NAMES, ITEMS, NOUNS, made_up_word

_VERBS = (
    "book calculate check compare convert count create delete estimate find get list measure open order plan "
    "play print rate read record rent report reserve search sell send set show sort start stop store track"
).split()
_UNITS = (("km", "mi"), ("celsius", "fahrenheit"), ("kg", "lb"), ("euro", "dollar"), ("day", "week", "month"))
_NAMES = (
    "{0}_{1}",
    "{1}.{0}",
    "{0}_{1}_data",
    "{1}_{0}",
    "{2}.{0}_{1}",
    "{0}{3}",
    "{0}_{1}_{2}",
    "{2}.{1}.{0}",
)
"""Forms of names, with a verb, a noun, another noun, and the noun with a capital letter."""
_MADE_UP = 0.5
"""Fraction of the words of names and of texts that are made up, so that they have to be copied."""


class Argument(NamedTuple):
    """An argument of a function.

    Args:
        name: Its name.
        schema: Its schema, with the types of BFCL.
        value: A value.
        said: How a question says the value.
    """

    name: str
    schema: dict[str, Any]
    value: Any
    said: str


def function_record(rng: random.Random) -> dict[str, Any]:
    """Returns a record with `instruction`, `functions` and `expected`, of one call or of two."""
    own, arguments = _function(rng)
    functions = [own]
    names = {own["name"]}
    for _ in range(rng.choice((0, 0, 0, 0, 1, 2))):
        other, _ = _function(rng)
        if other["name"] not in names:
            functions.append(other)
            names.add(other["name"])
    rng.shuffle(functions)
    asked, expected = _question(rng, own, arguments), [_accepted(own, arguments)]
    if rng.random() < 0.2:
        again = [_like(rng, argument) for argument in arguments]
        asked += f" Then do it {' and '.join(argument.said for argument in again)}."
        expected.append(_accepted(own, again))
    return {"instruction": asked, "functions": functions, "expected": expected}


def _function(rng: random.Random) -> tuple[dict[str, Any], list[Argument]]:
    """Returns a function, and values for those of its arguments that the question gives."""
    verb, noun = _word(rng, _VERBS), _word(rng, NOUNS)
    kinds = rng.sample(_KINDS, rng.randrange(1, 4))
    arguments = [kind(rng) for kind in kinds]
    arguments = list({argument.name: argument for argument in arguments}.values())
    optional = [] if len(arguments) == 1 or rng.random() < 0.6 else [arguments[-1]]
    required = [argument for argument in arguments if argument not in optional]
    given = required + [argument for argument in optional if rng.random() < 0.5]
    name = rng.choice(_NAMES).format(verb, noun, _word(rng, NOUNS), noun.capitalize())
    properties = {argument.name: argument.schema for argument in arguments}
    parameters = {
        "type": "dict",
        "properties": properties,
        "required": [argument.name for argument in required],
    }
    description = f"{verb.capitalize()} the {noun} by {' and '.join(properties)}."
    return {"name": name, "description": description, "parameters": parameters}, given


def _word(rng: random.Random, words: Sequence[str]) -> str:
    """Returns one of the words, or one that is made up."""
    return made_up_word(rng) if rng.random() < _MADE_UP else rng.choice(words)


def _text(rng: random.Random, words: Sequence[str]) -> str:
    """Returns one of the words with a capital letter, or one or two that are made up."""
    texts = [_word(rng, words).capitalize()]
    if rng.random() < 0.3:
        texts.append(made_up_word(rng).capitalize())
    return " ".join(texts)


def _question(rng: random.Random, function: dict[str, Any], arguments: list[Argument]) -> str:
    verb, _, rest = str(function["description"]).partition(" ")
    noun = rest.partition(" by ")[0]
    opening = rng.choice(
        (f"{verb} {noun}", f"Please {verb.lower()} {noun}", f"Can you {verb.lower()} {noun}")
    )
    end = "?" if opening.startswith("Can") else "."
    return f"{opening} {' and '.join(argument.said for argument in arguments)}{end}"


def _accepted(function: dict[str, Any], arguments: list[Argument]) -> dict[str, Any]:
    """Returns the accepted call: what the question does not give may be left out."""
    given = {argument.name: [argument.value] for argument in arguments}
    parameters = function["parameters"]
    values = {
        name: given.get(name, [_default(schema), ""]) for name, schema in parameters["properties"].items()
    }
    return {function["name"]: values}


def _default(schema: dict[str, Any]) -> Any:
    if "enum" in schema:
        return schema["enum"][0]
    return {"integer": 1, "float": 1.0, "array": [], "string": "none"}[schema["type"]]


def _like(rng: random.Random, argument: Argument) -> Argument:
    """Returns the argument with another value."""
    for kind in _KINDS:
        other = kind(random.Random(rng.random()))
        if other.schema["type"] == argument.schema["type"] and "enum" not in argument.schema:
            name = argument.name
            return Argument(name, argument.schema, other.value, other.said.replace(other.name, name))
    return argument


def _city(rng: random.Random) -> Argument:
    city = _text(rng, CITIES)
    name = _word(rng, ("city", "location", "town", "destination"))
    return Argument(name, {"type": "string", "description": "A city."}, city, f"with {name} {city}")


def _person(rng: random.Random) -> Argument:
    person = _text(rng, FIRST_NAMES)
    name = _word(rng, ("person", "user", "owner", "customer_name"))
    return Argument(name, {"type": "string", "description": "A first name."}, person, f"with {name} {person}")


def _item(rng: random.Random) -> Argument:
    item = _word(rng, ITEMS)
    name = _word(rng, ("item", "product", "query"))
    return Argument(name, {"type": "string", "description": "A thing."}, item, f"with {name} {item}")


def _count(rng: random.Random) -> Argument:
    count = rng.randrange(1, 1000)
    name = _word(rng, ("count", "limit", "number", "year", "amount"))
    return Argument(name, {"type": "integer", "description": "A number."}, count, f"with {name} {count}")


def _measure(rng: random.Random) -> Argument:
    measure = rng.randrange(1, 1000) / 10
    name = _word(rng, ("price", "weight", "distance", "length", "rate"))
    return Argument(name, {"type": "float", "description": "A measure."}, measure, f"with {name} {measure}")


def _unit(rng: random.Random) -> Argument:
    units = list(rng.choice(_UNITS))
    unit = rng.choice(units)
    name = _word(rng, ("unit", "format", "mode"))
    schema = {"type": "string", "enum": units, "description": "One of them."}
    return Argument(name, schema, unit, f"with {name} {unit}")


def _values(rng: random.Random) -> Argument:
    values = [rng.randrange(1, 100) for _ in range(rng.randrange(2, 5))]
    name = _word(rng, ("values", "numbers", "scores"))
    schema = {"type": "array", "items": {"type": "integer"}, "description": "Numbers."}
    return Argument(name, schema, values, f"with {name} {', '.join(map(str, values))}")


_KINDS = (_city, _person, _item, _count, _measure, _unit, _values)
