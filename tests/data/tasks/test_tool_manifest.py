"""Tools: schemas of functions, checks of calls, and dry runs on a simulated state."""

from __future__ import annotations

import sys
from typing import Any, Literal

import pytest

from highnoon.data import DataError
from highnoon.data.tasks import ToolExecutionError, ToolManifest, ToolRegistration
from highnoon.data.tasks.tool_effects import ToolEffectError, apply_effects
from highnoon.data.tasks.tool_schema import function_schema

STOCK = [{"op": "add", "path": ["stock", "$item"], "value": "$count"}]


def _of_bytes(data: bytes) -> None: ...


@pytest.fixture
def manifest() -> ToolManifest:
    manifest = ToolManifest({"stock": {"cups": 1}})

    @manifest.register(effects=STOCK)
    def receive(item: str, count: int = 1) -> None:
        """Puts items into the store."""
        raise AssertionError("a dry run executes nothing")

    manifest.register(ToolRegistration("door.lock", parameters={"type": "dict", "properties": {}}))
    return manifest


def test_hints_become_a_schema():
    def search(
        words: list[str], limit: int = 5, kind: Literal["a", "b"] = "a", near: float | None = None, **_: Any
    ) -> None: ...

    with pytest.raises(DataError, match=r"`\*\*_: .*` of `search` has no name in a call"):
        function_schema(search)

    def find(
        words: list[str],
        kind: Literal["a", "b"],
        near: float | None = None,
        by: dict[str, int] | None = None,
    ) -> None:
        """Finds words.

        More.
        """

    schema = function_schema(find)
    assert schema["description"] == "Finds words."
    assert schema["parameters"] == {
        "type": "object",
        "properties": {
            "words": {"type": "array", "items": {"type": "string"}},
            "kind": {"enum": ["a", "b"]},
            "near": {"type": "number"},
            "by": {"type": "object", "additionalProperties": {"type": "integer"}},
        },
        "required": ["words", "kind"],
        "additionalProperties": False,
    }


@pytest.mark.parametrize(
    ("function", "words"),
    [(lambda x: x, "has no type hint"), (bytes.decode, "has no name in a call"), (_of_bytes, "no type for")],
)
def test_functions_without_usable_hints_are_one_line(function, words):
    with pytest.raises(DataError, match=words) as error:
        function_schema(function)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "effect",
    [
        {"op": "add", "path": ["stock", "$itm"], "value": "$count"},
        {"op": "add", "path": ["stock", "$item"], "value": "$itm"},
    ],
)
def test_an_effect_of_an_argument_that_the_tool_does_not_have_is_refused_when_registered(effect):
    def receive(item: str, count: int) -> None:
        "Puts items into the store."

    manifest = ToolManifest()
    with pytest.raises(DataError, match=r"tool `receive`: .* `\$itm`.* did you mean `item`") as error:
        manifest.register(effects=[effect])(receive)
    assert "\n" not in str(error.value) and manifest.names == []
    ToolManifest.from_schemas([{"name": "any", "effects": [effect]}])  # a schema that lists no arguments


def test_a_dry_run_changes_the_simulated_state_and_executes_nothing(manifest):
    result = manifest.dry_run("receive", {"item": "cups", "count": 3}, invocation_id="a")
    assert result == {
        "status": "dry_run",
        "name": "receive",
        "invocation_id": "a",
        "state": {"stock": {"cups": 4}},
    }
    # An argument that is left out has no effect: defaults belong to the function, which is not called.
    manifest.dry_run("receive", {"item": "cups"})
    manifest.dry_run("door.lock", {})
    assert manifest.state == {"stock": {"cups": 4}}
    assert [call["invocation_id"] for call in manifest.calls] == ["a", "1", "2"]
    manifest.state["stock"]["cups"] = 9
    manifest.reset()
    assert manifest.state == {"stock": {"cups": 1}} and manifest.calls == []


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("recieve", {}, "there is no tool `recieve`; did you mean `receive`?"),
        ("receive", {}, "'item' is a required property"),
        ("receive", {"item": 3}, r"arguments\['item'\]: 3 is not of type 'string'"),
        ("receive", {"item": "a", "size": 1}, "'size' was unexpected"),
        ("receive", [], "must be an object"),
    ],
)
def test_a_wrong_call_is_one_line_and_is_not_recorded(manifest, name, arguments, words):
    with pytest.raises(ToolExecutionError, match=words) as error:
        manifest.dry_run(name, arguments)
    assert "\n" not in str(error.value) and manifest.calls == []
    assert manifest.state == {"stock": {"cups": 1}}


def test_a_call_that_does_not_fit_the_state_is_not_recorded():
    manifest = ToolManifest({"stock": []})
    manifest.register(ToolRegistration("receive", parameters={}, effects=STOCK))
    with pytest.raises(ToolExecutionError, match="`stock` in the state must be an object"):
        manifest.dry_run("receive", {"item": "a", "count": 1})
    assert manifest.calls == [] and manifest.state == {"stock": []}


def test_a_manifest_is_made_again_from_its_description(manifest):
    again = ToolManifest.from_schemas(manifest.list_tools(), manifest.state)
    assert again.list_tools() == manifest.list_tools() and again.names == ["receive", "door.lock"]
    assert again.dry_run("receive", {"item": "b", "count": 2})["state"] == {"stock": {"cups": 1, "b": 2}}


def test_a_schema_from_data_reads_nothing_and_takes_no_time():
    schema = {"properties": {"a": {"$ref": "http://example.org/x"}, "b": {"pattern": "(a+)+$"}}}
    manifest = ToolManifest.from_schemas(
        [{"name": "x", "parameters": schema}, {"name": "y", "parameters": {"type": 5}}]
    )
    manifest.check("x", {"a": 1, "b": "a" * 60 + "b"})
    with pytest.raises(DataError, match="`parameters` of the tool `y` is no JSON schema: 5 is not") as error:
        manifest.check("y", {})
    assert "\n" not in str(error.value)


def test_registration_is_checked(manifest):
    with pytest.raises(DataError, match="a tool `receive` is registered already"):
        manifest.register(ToolRegistration("receive", parameters={}))
    with pytest.raises(DataError, match="needs a `handler` or the schema `parameters`"):
        ToolRegistration("x")
    with pytest.raises(DataError, match="`safety_class` must be one of trusted"):
        ToolRegistration("x", parameters={}, safety_class="none")
    with pytest.raises(DataError, match="an effect must be"):
        ToolRegistration("x", parameters={}, effects=[{"op": "run", "path": ["a"], "value": 1}])
    with pytest.raises(DataError, match="with parentheses"):
        manifest.register(lambda x: x)


def test_every_operation_of_effects():
    def after(state: dict[str, Any], **effect: Any) -> dict[str, Any]:
        return apply_effects(state, [effect], {"x": "k", "v": 2})

    assert after({}, op="set", path=["a", "$x"], value="$v") == {"a": {"k": 2}}
    assert after({"a": 1.5}, op="add", path=["a"], value="$v") == {"a": 3.5}
    assert after({}, op="append", path=["a"], value="$x") == {"a": ["k"]}
    assert after({"a": ["k", "k", 1]}, op="remove", path=["a"], value="$x") == {"a": ["k", 1]}
    assert after({"a": 1, "b": 2}, op="remove", path=["a"]) == {"b": 2}
    assert after({"a": 1}, op="set", path=["a"], value="$missing") == {"a": 1}
    for state, effect in (({"a": "x"}, "add"), ({"a": 1}, "append"), ({"a": 1}, "remove")):
        with pytest.raises(ToolEffectError, match="`a` in the state must be"):
            after(state, op=effect, path=["a"], value=1)


def test_a_missing_library_is_named(manifest, monkeypatch):
    from highnoon.data.tasks import tool_manifest

    tool_manifest._validator.cache_clear()
    monkeypatch.setitem(sys.modules, "jsonschema", None)
    with pytest.raises(ImportError, match=r"pip install 'highnoon\[tasks\]'"):
        manifest.check("receive", {"item": "a"})
    tool_manifest._validator.cache_clear()
