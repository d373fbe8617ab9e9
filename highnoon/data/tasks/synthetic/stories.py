"""Synthetic short stories in simple words."""

from __future__ import annotations

import random

from highnoon.data.tasks.synthetic.words import ADJECTIVES, FIRST_NAMES, ITEMS

_ANIMALS = (
    "bear bird cat dog duck fish fox frog goat horse mouse owl pony rabbit sheep squirrel turtle".split()
)
_SCENES = "forest garden lake park beach farm hill river meadow village school market old house".split()
_WANTS = (
    "find {2}",
    "help {1}",
    "play with {1}",
    "learn a song",
    "build a house",
    "cook a soup",
    "see the sea",
)
_TROUBLES = (
    "But it began to rain.",
    "But the way was long and {0} got tired.",
    "But {0} could not find the way.",
    "But a strong wind took the hat of {1}.",
    "But {1} was too shy to ask.",
    "But the bridge was broken.",
)
_HELPS = (
    '"Do not worry," said {1}. "We can do it together."',
    '"I have an idea," said {0}.',
    'They sat down and thought. "Let us ask the {3}," said {1}.',
    "{0} took a deep breath and tried again.",
    "A {4} {3} came by and showed them what to do.",
)
_ENDS = (
    "In the end they were very happy and went home.",
    "From that day on, {0} and {1} were good friends.",
    "{0} smiled. It was the best day of all.",
    "They ate {5} and laughed until it was dark.",
    "And {0} had learned to be patient.",
)


def story_record(rng: random.Random) -> dict[str, str]:
    """Returns a record with `text`, a story of about six sentences."""
    name, friend = rng.sample(FIRST_NAMES, 2)
    animal, item = rng.choice(_ANIMALS), rng.choice(ITEMS)
    first, second = rng.sample(ADJECTIVES, 2)
    scene = rng.choice(_SCENES)
    words = (name, friend, f"the {first} {item}", animal, second, item)
    kind = rng.choice(("girl", "boy", animal))
    pieces = [
        rng.choice(("Once upon a time", "One day", "Long ago", "One morning"))
        + f" there was a {second} {kind} named {name}.",
        f"{name} lived near a {first} {scene} with a friend, {friend}.",
        f"{name} wanted to {rng.choice(_WANTS)}.",
        rng.choice(_TROUBLES),
        *rng.sample(_HELPS, rng.randrange(1, 4)),
        rng.choice(_ENDS),
    ]
    return {"text": " ".join(pieces).format(*words)}
