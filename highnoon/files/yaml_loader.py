"""A YAML loader for untrusted text: only JSON types, limited depth and size, unique keys."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NoReturn

import yaml

from highnoon.files.shown import shown

MAX_NODES = 100_000
_PREFIX = "tag:yaml.org,2002:"
_INTEGER = re.compile(r"^[-+]?[0-9]+(_[0-9]+)*$|^[-+]?0x[0-9a-fA-F]+$|^[-+]?0o[0-7]+$")
_FLOAT = re.compile(r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$|^[-+]?\.(inf|Inf)$|^\.(nan|NaN)$")
_KINDS = ("null", "bool", "int", "float", "str", "seq", "map")


class RefusedYamlError(yaml.MarkedYAMLError):
    """Valid YAML with content that is not accepted."""


class BoundedLoader(yaml.SafeLoader):
    """Loads YAML with JSON types only.

    Numbers follow YAML 1.2: `1e-3` is a number, `010` is ten, and `1:30` is a string. As in YAML 1.1, `1_000`
    is a thousand, and `yes`, `no`, `on` and `off` are booleans. A date is a string. Keys are unique strings.
    An anchor may be used several times, also in a merge (`<<`), but not inside itself, and each use counts
    toward the number of nodes.

    Args:
        text: The text.
        max_depth: Maximum nesting depth of sequences and mappings.

    Raises:
        yaml.YAMLError: From `get_single_data`, for anything else.
    """

    def __init__(self, text: str, max_depth: int) -> None:
        super().__init__(text)
        self._max_depth, self._depth, self._num_nodes = max_depth, 0, 0
        self._sizes: dict[int, tuple[int, int]] = {}  # nodes and depth of each node with an anchor

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event()
        is_alias = isinstance(event, yaml.AliasEvent)
        if not is_alias and getattr(event, "anchor", None) in self.anchors:
            _refuse(event.start_mark, f"the anchor {shown(event.anchor)} is given twice")
        before, depth = self._num_nodes, self._depth
        if isinstance(event, yaml.CollectionStartEvent):
            self._depth += 1
        self._count(1, 0, event.start_mark)
        deepest_before, self._deepest = getattr(self, "_deepest", 0), self._depth
        node = super().compose_node(parent, index)
        if is_alias:
            if id(node) not in self._sizes:
                _refuse(event.start_mark, f"the anchor {shown(event.anchor)} holds itself")
            self._count(*self._sizes[id(node)], event.start_mark)
        elif event.anchor is not None:
            self._sizes[id(node)] = (self._num_nodes - before, self._deepest - depth)
        self._deepest, self._depth = max(self._deepest, deepest_before), depth
        return node

    def _count(self, num_nodes: int, depth: int, mark: yaml.Mark) -> None:
        self._num_nodes += num_nodes
        if self._num_nodes > MAX_NODES:
            _refuse(mark, f"more than {MAX_NODES:,} values")
        if self._depth + depth > self._max_depth:
            _refuse(mark, f"lists or mappings nested more than {self._max_depth} deep")
        self._deepest = max(getattr(self, "_deepest", 0), self._depth + depth)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        if not isinstance(node, yaml.MappingNode):
            _refuse(node.start_mark, "expected a mapping here")
        seen: set[str] = set()
        for key_node, _ in node.value:
            if key_node.tag == f"{_PREFIX}merge":
                continue
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                _refuse(key_node.start_mark, f"the key {shown(key)} is not a string; put it in quotes")
            if key in seen:
                _refuse(key_node.start_mark, f"`{shown(key)[1:-1]}` is given twice")
            seen.add(key)
        return super().construct_mapping(node, deep)

    def construct_scalar(self, node: Any) -> str:
        text: str = super().construct_scalar(node)
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:
            _refuse(node.start_mark, f"{shown(text)} has a lone surrogate, which is not a character")
        return text

    def construct_integer(self, node: yaml.Node) -> int:
        text = self._scalar(node, _INTEGER, "an integer").replace("_", "")
        sign, digits = (-1 if text[0] == "-" else 1), text.lstrip("+-")
        base = {"0x": 16, "0o": 8}.get(digits[:2], 10)
        try:
            return sign * int(digits[2:] if base != 10 else digits, base)
        except ValueError:
            _refuse(node.start_mark, f"an integer of {len(digits):,} digits is too long")

    def construct_number(self, node: yaml.Node) -> float:
        text = self._scalar(node, _FLOAT, "a number").lower()
        return float(text.replace(".inf", "inf").replace(".nan", "nan"))

    def construct_boolean(self, node: yaml.Node) -> bool:
        return self.bool_values[self._scalar(node, _BOOLEAN, "a boolean").lower()]

    def _scalar(self, node: yaml.Node, pattern: re.Pattern[str], kind: str) -> str:
        text = self.construct_scalar(node)
        if not pattern.match(text):
            _refuse(node.start_mark, f"expected {kind}; received {shown(text)}")
        return text


class LocatedMapping(dict[str, Any]):
    """A mapping read from a file, with the line on which each key is written.

    Attributes:
        lines: Line of each key, from 1.
    """

    lines: dict[str, int]


class LocatingLoader(BoundedLoader):
    """A `BoundedLoader` whose mappings are `LocatedMapping`, so that an error can name a line."""

    def construct_located_mapping(self, node: yaml.MappingNode) -> Iterator[LocatedMapping]:
        mapping = LocatedMapping()
        scalars = [key for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        mapping.lines = {key.value: key.start_mark.line + 1 for key in scalars}
        yield mapping
        mapping.update(self.construct_mapping(node))


def _refuse(mark: yaml.Mark, problem: str) -> NoReturn:
    raise RefusedYamlError(problem=problem, problem_mark=mark)


_BOOLEAN = re.compile(r"^(?:yes|no|true|false|on|off)$", re.IGNORECASE)
_REPLACED = {f"{_PREFIX}{name}" for name in ("int", "float", "timestamp")}
BoundedLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in _REPLACED]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
BoundedLoader.add_implicit_resolver(f"{_PREFIX}int", _INTEGER, list("-+0123456789"))
BoundedLoader.add_implicit_resolver(f"{_PREFIX}float", _FLOAT, list("-+0123456789."))
BoundedLoader.yaml_constructors = {
    tag: constructor
    for tag, constructor in yaml.SafeLoader.yaml_constructors.items()
    if tag is None or tag.removeprefix(_PREFIX) in _KINDS
}
BoundedLoader.add_constructor(f"{_PREFIX}int", BoundedLoader.construct_integer)
BoundedLoader.add_constructor(f"{_PREFIX}float", BoundedLoader.construct_number)
BoundedLoader.add_constructor(f"{_PREFIX}bool", BoundedLoader.construct_boolean)
LocatingLoader.add_constructor(f"{_PREFIX}map", LocatingLoader.construct_located_mapping)
