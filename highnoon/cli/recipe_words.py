"""The words of a command line that name a recipe and set its keys."""

from __future__ import annotations

import argparse
import dataclasses
import os
import re
from collections.abc import Sequence

from highnoon.config import ALIASES
from highnoon.training.recipes.recipe import Recipe
from highnoon.training.recipes.recipe_sections import SECTIONS, section_keys

_OVERRIDE = re.compile(r"[A-Za-z_]\w*(\.[\w -]+)*=.*", re.DOTALL)


def take_recipe_words(
    words: Sequence[str], parser: argparse.ArgumentParser
) -> tuple[list[str], str | None, list[str]]:
    """Returns the words for `argparse`, the recipe, and the `key=value` words.

    The recipe is the first word where that is neither an option nor `key=value`. A `key=value` word is an
    override unless it is the value of an option, or a file among those of an option that takes several.

    Args:
        words: Of a command line, after the verb.
        parser: That of the verb; its options say how many values they take.
    """
    options = {name: action for action in parser._actions for name in action.option_strings}
    left: list[str] = []
    overrides: list[str] = []
    recipe: str | None = None
    takes_one = takes_many = False
    for index, word in enumerate(words):
        if word.startswith("-"):
            action = options.get(word)
            is_dotted = action is None and "." in word and "=" not in word
            takes_one = is_dotted or (action is not None and action.nargs is None)
            takes_many = action is not None and action.nargs == "+"
            left.append(word)
        elif _OVERRIDE.fullmatch(word) and not takes_one and not (takes_many and os.path.exists(word)):
            overrides.append(word)
        elif index == 0:
            recipe = word
        else:
            left.append(word)
            takes_one = False
    return left, recipe, overrides


def take_field_options(words: Sequence[str], parser: argparse.ArgumentParser) -> tuple[list[str], list[str]]:
    """Returns the other words, and options that are keys of a recipe as `key=value` words.

    `--learning-rate 3e-3` becomes `training.learning_rate=3e-3`. A key of both sections, such as
    `--max-seq-length`, sets both.

    Args:
        words: Of a command line, after the verb.
        parser: That of the verb, whose own options stay.

    Raises:
        argparse.ArgumentError: an option without a value.
    """
    known = {option for action in parser._actions for option in action.option_strings}
    keys = keys_by_name()
    left: list[str] = []
    overrides: list[str] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        option, equals, value = word.partition("=")
        homes = keys.get(option[2:].replace("-", "_"), ()) if option.startswith("--") else ()
        if not homes or option in known:
            left.append(word)
            continue
        if not equals and (not rest or rest[0].startswith("--")):
            raise argparse.ArgumentError(None, f"{option} needs a value; write {homes[0]}=VALUE")
        value = value if equals else rest.pop(0)
        overrides += [f"{home}={value}" for home in homes]
    return left, overrides


def keys_by_name() -> dict[str, list[str]]:
    """Returns the complete keys of a recipe by the last part of their name, and by its aliases."""
    keys = {field.name: [field.name] for field in dataclasses.fields(Recipe)}
    for section in SECTIONS:
        for name in section_keys(section):
            keys.setdefault(name, []).append(f"{section}.{name}")
    aliases = {alias: keys[name] for alias, name in ALIASES.items() if name in keys and alias not in keys}
    return keys | aliases


def dotted_words(leftover: Sequence[str]) -> list[str]:
    """Returns `--model.embedding_dim 256` and `--training.learning_rate=3e-4` as `key=value` words.

    Raises:
        argparse.ArgumentError: an option without a value, or a word that belongs to none.
    """
    found: list[str] = []
    words = list(leftover)
    while words:
        option, has_value, value = words.pop(0).partition("=")
        if not option.startswith("--"):
            raise argparse.ArgumentError(None, f"unrecognized arguments: {option}")
        if not has_value:
            if not words:
                raise argparse.ArgumentError(None, f"{option} needs a value")
            value = words.pop(0)
        found.append(f"{option[2:]}={value}")
    return found
