"""The words of a command line that name a recipe and set its keys."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence

_OVERRIDE = re.compile(r"[A-Za-z_]\w*(\.[\w -]+)*=.*", re.DOTALL)


def take_recipe_words(
    words: Sequence[str], parser: argparse.ArgumentParser
) -> tuple[list[str], str | None, list[str]]:
    """Returns the words for `argparse`, the recipe, and the `key=value` words.

    The recipe is the first word where that is neither an option nor `key=value`. A `key=value` word is an
    override unless it is the value of an option.

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
        elif _OVERRIDE.fullmatch(word) and not takes_one and not takes_many:
            overrides.append(word)
        elif index == 0:
            recipe = word
        else:
            left.append(word)
            takes_one = False
    return left, recipe, overrides


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
