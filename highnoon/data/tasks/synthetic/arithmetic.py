"""Synthetic questions of school arithmetic, with steps whose calculations are annotated."""

from __future__ import annotations

import random

from highnoon.data.tasks.synthetic.words import FIRST_NAMES, ITEMS

_MOST_STEPS = 4
_LARGEST = 5000
_WAYS = ("more", "times", "fewer", "parts")


def arithmetic_record(rng: random.Random) -> dict[str, str]:
    """Returns a record with `instruction`, a question of 2 to 4 steps, and `response`, as in GSM8K."""
    name, friend = rng.sample(FIRST_NAMES, 2)
    item = rng.choice(ITEMS)
    amount = rng.randrange(4, 60)
    told = [f"{name} has {amount} {item}."]
    steps: list[str] = []
    for _ in range(rng.randrange(2, _MOST_STEPS + 1)):
        sentence, step, amount = _step(rng, name, friend, item, amount)
        told.append(sentence)
        steps.append(step)
    told.append(
        rng.choice(
            (f"How many {item} does {name} have now?", f"How many {item} does {name} have in the end?")
        )
    )
    return {"instruction": " ".join(told), "response": "\n".join([*steps, f"#### {amount}"])}


def _step(rng: random.Random, name: str, friend: str, item: str, amount: int) -> tuple[str, str, int]:
    """Returns a sentence of the story, the step of the answer, and the new amount."""
    way = rng.choice(_WAYS)
    divisors = [part for part in range(2, 10) if amount % part == 0]
    if way == "times" and amount <= _LARGEST // 5:
        factor = rng.randrange(2, 6)
        result = amount * factor
        times = "twice" if factor == 2 else f"{factor} times"
        sentence = f"Then {name} has {times} as many {item}."
        return sentence, _calculation(f"{name} has", amount, "*", factor, result, item), result
    if way == "fewer" and amount > 3:
        given = rng.randrange(1, amount)
        result = amount - given
        verb = rng.choice((f"gives {friend}", "loses", "sells", "uses"))
        sentence = f"{name} {verb} {given} {item}."
        return sentence, _calculation(f"{name} has", amount, "-", given, result, f"{item} left"), result
    if way == "parts" and divisors:
        parts = rng.choice(divisors)
        result = amount // parts
        sentence = f"{name} packs the {item} into {parts} equal bags and keeps one bag."
        return sentence, _calculation("One bag has", amount, "/", parts, result, item), result
    found = rng.randrange(2, 90)
    result = amount + found
    verb = rng.choice(("finds", "buys", f"gets from {friend}", "makes"))
    sentence = f"{name} {verb} {found} more {item}."
    return sentence, _calculation(f"{name} now has", amount, "+", found, result, item), result


def _calculation(begin: str, first: int, operator: str, second: int, result: int, end: str) -> str:
    sum_ = f"{first}{operator}{second}"
    return f"{begin} {sum_} = <<{sum_}={result}>>{result} {end}."
