"""How the records of each task become examples and documents."""

from __future__ import annotations

import json
import pathlib

import pytest

from highnoon.data import DataError, open_source, open_task
from highnoon.data.tasks.function_text import function_lines, json_schema
from highnoon.data.tasks.glaive_chat import glaive_chat

AREA = {
    "name": "area",
    "description": "The area of a triangle. It is half of the product.",
    "parameters": {
        "type": "dict",
        "properties": {
            "base": {"type": "integer"},
            "height": {"type": "float"},
            "unit": {"type": "string", "enum": ["cm", "m"]},
        },
        "required": ["base", "height"],
    },
}
GLAIVE = {
    "system": 'SYSTEM: You have the functions\n{"name": "rate", "parameters": {"type": "object", '
    '"properties": {"to": {"type": "string"}}, "required": ["to"]}}\n{"name": "news"}',
    "chat": "USER: Hello\n\n\nASSISTANT: Hi. <|endoftext|>\n\n\nUSER: The rate to EUR?\n\n\nASSISTANT: "
    '<functioncall> {"name": "rate", "arguments": \'{"to": "EUR, l\\\'euro"}\'} <|endoftext|>\n\n\n'
    'FUNCTION RESPONSE: {"rate": 1}\n\n\nASSISTANT: It is 1. <|endoftext|>',
}


def task_of(tmp_path: pathlib.Path, name: str, *records: object):
    folder = tmp_path / "tasks" / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "own.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    return open_task(name, tmp_path)


def only(tmp_path, name, record):
    (example,) = task_of(tmp_path, name, record).examples("all")
    return example


def supervised(source) -> list[str]:
    return ["".join(d.text[start:stop] for start, stop in d.supervised) for d in source.documents()]


def test_a_command_is_answered_in_a_fenced_block(tmp_path):
    record = {"instruction": "List the files.", "response": "ls", "id": 0}
    example = only(tmp_path, "bash_command", record)
    assert (example.answer, example.expected, example.id) == ("```bash\nls\n```", ["ls"], "own.jsonl/0")
    source = open_source("task:bash_command", data_dir=tmp_path)
    assert supervised(source) == ["```bash\nls\n```<|im_end|>\n"]
    assert [document.domain for document in source.documents()] == ["bash_command"]


def test_all_commands_of_one_sentence_are_accepted(tmp_path):
    records = [
        {"instruction": asked, "response": command}
        for asked, command in (("List files", "ls"), ("Wait", "sleep 1"), ("list  FILES", "find ."))
    ]
    examples = list(task_of(tmp_path, "bash_command", *records).examples("all"))
    assert [example.expected for example in examples] == [["ls", "find ."], ["sleep 1"], ["ls", "find ."]]


def test_calls_are_json_and_functions_are_signatures(tmp_path):
    expected = [{"area": {"base": [10], "height": [5.0, 5], "unit": ["cm", ""]}}]
    record = {"instruction": "Base 10, height 5?", "functions": [AREA], "expected": expected}
    example = only(tmp_path, "function_call", record)
    assert example.answer == '[{"name": "area", "arguments": {"base": 10, "height": 5.0}}]'
    assert example.expected == expected
    line = 'area(base: integer, height: number, unit?: "cm"|"m") - The area of a triangle.'
    assert example.messages[0] == {"role": "system", "content": f"Functions:\n{line}"}
    assert example.tools[0]["parameters"]["properties"]["height"] == {"type": "number"}


def test_an_optional_argument_is_answered_if_the_question_gives_it(tmp_path):
    expected = [{"area": {"base": [10], "height": [5], "unit": ["cm", ""]}}]
    record = {"instruction": "Base 10, height 5 in cm?", "functions": [AREA], "expected": expected}
    assert '"unit": "cm"' in only(tmp_path, "function_call", record).answer


def test_objects_of_accepted_values_are_answered_with_the_first_of_each(tmp_path):
    function = {"name": "find", "parameters": {"type": "dict", "properties": {}, "required": ["where"]}}
    expected = [{"find": {"where": [{"job": ["cook", "chef"], "age": [5, ""]}], "sort": [[{"by": ["x"]}]]}}]
    record = {"instruction": "Cooks", "functions": [function], "expected": expected}
    (call,) = json.loads(only(tmp_path, "function_call", record).answer)
    assert call["arguments"] == {"where": {"job": "cook"}, "sort": [{"by": "x"}]}


def test_the_first_call_of_a_conversation_of_glaive_is_the_answer(tmp_path):
    quiet = {"system": GLAIVE["system"], "chat": "USER: Hi ASSISTANT: Hello. <|endoftext|>"}
    task = task_of(tmp_path, "function_call", quiet, GLAIVE)
    (example,) = task.examples("all")
    assert example.answer == '[{"name": "rate", "arguments": {"to": "EUR, l\'euro"}}]'
    assert [turn["role"] for turn in example.messages] == ["system", "user", "assistant", "user"]
    assert example.messages[0]["content"] == "Functions:\nrate(to: string)\nnews()"
    assert example.expected == [{"rate": {"to": ["EUR, l'euro"]}}]
    assert list(task.source().bad_records.report()["reasons"]) == ["no example of function_call"]
    # The earlier answer is context, and the call alone is supervised.
    assert supervised(task.source()) == [f"{example.answer}<|im_end|>\n"]


@pytest.mark.parametrize("call", ['{"name": "rate"', '{"name": "rate", "arguments": "x"}', "[1]", "rate()"])
def test_a_call_of_glaive_that_is_not_json_is_one_line(call):
    record = {**GLAIVE, "chat": f"USER: x\nASSISTANT: <functioncall> {call}"}
    with pytest.raises(DataError, match=r"a.jsonl:3: `chat` must be a call") as error:
        glaive_chat(record, "a.jsonl:3")
    assert "\n" not in str(error.value)


def test_bfcl_is_held_out_where_glaive_is_there(tmp_path):
    expected = [{"area": {"base": [1], "height": [2]}}]
    functions = {"functions": [AREA], "expected": expected}
    records = [{"instruction": f"question {number}", **functions} for number in range(30)]
    folder = tmp_path / "tasks" / "function_call"
    folder.mkdir(parents=True)
    (folder / "bfcl_simple.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    assert 0 < len(list(open_task("function_call", tmp_path).examples())) < 15
    (folder / "glaive-v2.json").write_text(json.dumps([GLAIVE]))
    task = open_task("function_call", tmp_path)
    held_out = [example.id for example in task.examples(validation_split=1e-6)]
    assert held_out == [f"bfcl_simple.jsonl/{number}" for number in range(1, 31)]
    assert [example.id for example in task.examples("train", 1e-6)] == ["glaive-v2.json/1"]


def test_the_final_answer_is_what_follows_the_marks(tmp_path):
    answer = "Half is 48/2 = <<48/2=24>>24.\n#### 1,024"
    example = only(tmp_path, "chain_of_thought", {"question": "How many?", "answer": answer})
    assert (example.answer, example.expected) == (answer, "1024")


def test_calls_of_tools_come_with_the_state_that_they_lead_to(tmp_path):
    effect = {"op": "add", "path": ["stock", "$item"], "value": "$count"}
    tool = {"name": "receive", "parameters": {"type": "object", "properties": {}}, "effects": [effect]}
    calls = [{"name": "receive", "arguments": {"item": "cups", "count": count}} for count in (2, 3)]
    record = {"instruction": "Twice.", "tools": [tool], "calls": calls, "state": {"stock": {}}}
    example = only(tmp_path, "tool_use", record)
    assert json.loads(example.answer) == example.expected["calls"] == calls
    assert example.expected["state"] == {"stock": {}}
    assert example.expected["final_state"] == {"stock": {"cups": 5}}


def test_the_actions_of_toolbench_before_the_end_are_the_calls(tmp_path):
    apis = "[{'name': 'rate', 'parameters': {'type': 'object'}}, {'name': 'Finish', 'parameters': {}}]"
    said = [
        ("system", f"You have access to the following APIs: {apis}"),
        ("user", "\nThe rate?\nBegin!\n"),
        ("assistant", '\nThought: \nAction: rate\nAction Input: {"to": "EUR"}'),
        ("function", "1"),
        ("assistant", '\nThought: \nAction: Finish\nAction Input: {"final_answer": "1"}'),
    ]
    record = {"conversations": [{"from": role, "value": words} for role, words in said]}
    example = only(tmp_path, "tool_use", record)
    assert example.answer == '[{"name": "rate", "arguments": {"to": "EUR"}}]'
    assert example.messages[1]["content"] == "The rate?"
    assert example.expected["final_state"] is None


def test_a_text_is_continued_from_its_first_words(tmp_path):
    folder = tmp_path / "domains" / "sea"
    folder.mkdir(parents=True)
    text = "The sea is wide. " * 20
    (folder / "a.jsonl").write_text(json.dumps({"text": text}) + "\n" + json.dumps({"text": ""}) + "\n")
    (folder / "b.txt").write_text("Another text, which is short.")
    task = open_task("text_completion", tmp_path)
    first, second = task.examples("all")
    assert first.prompt + first.answer == text and 40 < len(first.prompt) <= 64
    assert second.prompt == "Another text," and not second.messages
    assert [document.supervised for document in task.source().documents()] == [None, None]


@pytest.mark.parametrize(
    ("name", "record", "words"),
    [
        ("bash_command", {"instruction": "x"}, "needs the field `response` or `bash`"),
        ("bash_command", {"instruction": None, "response": "ls"}, "needs the field `instruction`"),
        (
            "chain_of_thought",
            {"instruction": "x", "response": "42"},
            "steps that end with a line `#### ANSWER`",
        ),
        ("function_call", {"instruction": "x", "functions": [AREA]}, "needs the field `expected`"),
        (
            "function_call",
            {"instruction": "x", "functions": "no", "expected": []},
            "`functions` must be a list",
        ),
        (
            "function_call",
            {"instruction": "x", "functions": [AREA], "expected": [{"volume": {}}]},
            "each function one of `functions`",
        ),
        (
            "function_call",
            {"instruction": "x", "functions": [{}], "expected": [{}]},
            "`name` and `parameters`",
        ),
        (
            "tool_use",
            {"instruction": "x", "tools": [AREA], "calls": [{"name": "y"}]},
            "`calls` must be a list",
        ),
        ("tool_use", {"conversations": [{"from": "user"}]}, "`conversations` must be a list of turns"),
    ],
)
def test_a_record_without_its_fields_is_one_line_with_file_and_line(tmp_path, name, record, words):
    task = task_of(tmp_path, name, record)
    with pytest.raises(DataError, match=r"own\.jsonl:1: ") as error:
        list(task.examples("all"))
    assert words in str(error.value) and "\n" not in str(error.value)
    with pytest.raises(DataError, match=r"own\.jsonl:1: "):
        list(task.source().documents())


def test_types_of_python_become_those_of_json_schema():
    schema = {"type": "dict", "properties": {"x": {"type": "array", "items": {"type": "any"}}}}
    assert json_schema(schema) == {"type": "object", "properties": {"x": {"type": "array", "items": {}}}}
    nested = {"name": "f", "parameters": {"properties": {"p": {"type": "object", "properties": {"q": {}}}}}}
    assert function_lines([nested, {"name": "g"}]) == "f(p?: {q?: any})\ng()"
