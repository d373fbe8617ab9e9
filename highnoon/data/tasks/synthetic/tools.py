"""Synthetic tools with a simulated state, and requests that take several calls."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, NamedTuple

from highnoon.data.tasks.synthetic.words import CITIES, FIRST_NAMES, ITEMS, NOUNS, file_name, file_stem

_ROOMS = "attic bathroom bedroom cellar garage garden hall kitchen library office porch studio".split()
_SWITCH = {True: "on", False: "off"}
_DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()


class Tool(NamedTuple):
    """A tool of a scene.

    Args:
        names: Names that it may have.
        parameters: The type of each parameter, in JSON schema.
        effects: What a call does to the state, see `tool_effects`.
        asked: How a request says it, with the parameters in braces.
        draw: Returns arguments.
    """

    names: tuple[str, ...]
    parameters: dict[str, str]
    effects: list[dict[str, Any]]
    asked: tuple[str, ...]
    draw: Callable[[random.Random], dict[str, Any]]


def tool_record(rng: random.Random) -> dict[str, Any]:
    """Returns a record with `instruction`, `tools`, `calls` and `state`: a request of 2 to 4 calls."""
    scene, state = rng.choice(_SCENES)
    tools = [(tool, rng.choice(tool.names)) for tool in scene]
    rng.shuffle(tools)
    said, calls = [], []
    for number in range(rng.randrange(2, 5)):
        tool, name = rng.choice(tools)
        arguments = tool.draw(rng)
        words = {
            key: _SWITCH[value] if isinstance(value, bool) else value for key, value in arguments.items()
        }
        sentence = rng.choice(tool.asked).format(**words)
        said.append(sentence if number == 0 else f"{rng.choice(('then', 'after that', 'next'))} {sentence}")
        calls.append({"name": name, "arguments": arguments})
    asked = ", ".join(said) + "."
    return {
        "instruction": asked[0].upper() + asked[1:],
        "tools": [_schema(tool, name) for tool, name in tools],
        "calls": calls,
        "state": state,
    }


def _schema(tool: Tool, name: str) -> dict[str, Any]:
    parameters = {
        "type": "object",
        "properties": {key: {"type": kind} for key, kind in tool.parameters.items()},
        "required": list(tool.parameters),
    }
    return {
        "name": name,
        "description": "",
        "parameters": parameters,
        "effects": tool.effects,
    }


def _set(*path: str, value: Any) -> dict[str, Any]:
    return {"op": "set", "path": list(path), "value": value}


_HOUSE = (
    Tool(
        ("set_light", "switch_lamp", "light.set"),
        {"room": "string", "on": "boolean"},
        [_set("lights", "$room", value="$on")],
        ("set the light in the {room} to {on}", "switch the {room} lamp to {on}"),
        lambda rng: {"room": rng.choice(_ROOMS), "on": rng.random() < 0.5},
    ),
    Tool(
        ("set_temperature", "heating.set", "heat_room"),
        {"room": "string", "degrees": "integer"},
        [_set("degrees", "$room", value="$degrees")],
        ("heat the {room} to {degrees} degrees", "make the {room} {degrees} degrees warm"),
        lambda rng: {"room": rng.choice(_ROOMS), "degrees": rng.randrange(14, 26)},
    ),
    Tool(
        ("lock_door", "door.lock"),
        {"room": "string"},
        [{"op": "append", "path": ["locked"], "value": "$room"}],
        ("lock the door of the {room}", "lock the {room}"),
        lambda rng: {"room": rng.choice(_ROOMS)},
    ),
)
_STORE = (
    Tool(
        ("add_stock", "stock.add", "receive_items"),
        {"item": "string", "count": "integer"},
        [{"op": "add", "path": ["stock", "$item"], "value": "$count"}],
        ("put {count} {item} into the store", "receive {count} {item}"),
        lambda rng: {"item": rng.choice(ITEMS), "count": rng.randrange(1, 200)},
    ),
    Tool(
        ("ship_order", "order.ship", "send_items"),
        {"item": "string", "city": "string"},
        [{"op": "append", "path": ["shipped", "$city"], "value": "$item"}],
        ("ship the {item} to {city}", "send the {item} to {city}"),
        lambda rng: {"item": rng.choice(ITEMS), "city": rng.choice(CITIES)},
    ),
    Tool(
        ("set_price", "price.set"),
        {"item": "string", "price": "number"},
        [_set("prices", "$item", value="$price")],
        ("sell the {item} for {price}", "set the price of {item} to {price}"),
        lambda rng: {"item": rng.choice(ITEMS), "price": rng.randrange(1, 400) / 10},
    ),
)
_CALENDAR = (
    Tool(
        ("add_event", "calendar.add", "plan_event"),
        {"title": "string", "day": "string"},
        [{"op": "append", "path": ["events", "$day"], "value": "$title"}],
        ("plan the {title} for {day}", "add the event {title} on {day}"),
        lambda rng: {"title": rng.choice(NOUNS), "day": rng.choice(_DAYS)},
    ),
    Tool(
        ("invite", "invite_person", "calendar.invite"),
        {"person": "string", "title": "string"},
        [{"op": "append", "path": ["guests", "$title"], "value": "$person"}],
        ("invite {person} to the {title}", "ask {person} to come to the {title}"),
        lambda rng: {"person": rng.choice(FIRST_NAMES), "title": rng.choice(NOUNS)},
    ),
    Tool(
        ("clear_day", "calendar.clear"),
        {"day": "string"},
        [{"op": "remove", "path": ["events", "$day"]}],
        ("clear {day}", "remove all events of {day}"),
        lambda rng: {"day": rng.choice(_DAYS)},
    ),
)
_FILES = (
    Tool(
        ("create_file", "file.create"),
        {"name": "string"},
        [_set("files", "$name", value="")],
        ("create the file {name}", "make an empty file {name}"),
        lambda rng: {"name": file_name(rng)},
    ),
    Tool(
        ("delete_file", "file.delete", "remove_file"),
        {"name": "string"},
        [{"op": "remove", "path": ["files", "$name"]}],
        ("delete {name}", "remove the file {name}"),
        lambda rng: {"name": file_name(rng)},
    ),
    Tool(
        ("tag_file", "file.tag"),
        {"name": "string", "tag": "string"},
        [{"op": "append", "path": ["tags", "$tag"], "value": "$name"}],
        ("give {name} the tag {tag}", "tag {name} as {tag}"),
        lambda rng: {"name": file_name(rng), "tag": file_stem(rng)},
    ),
)
_SCENES: tuple[tuple[tuple[Tool, ...], dict[str, Any]], ...] = (
    (_HOUSE, {"lights": {}, "degrees": {}, "locked": []}),
    (_STORE, {"stock": {"cups": 12, "lamps": 3}, "shipped": {}, "prices": {}}),
    (_CALENDAR, {"events": {}, "guests": {}}),
    (_FILES, {"files": {"notes.txt": ""}, "tags": {}}),
)
