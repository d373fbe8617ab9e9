"""What the generators write: varied, equal each time, valid, and small."""

from __future__ import annotations

import json
import re

import pytest

from highnoon.cli.__main__ import main
from highnoon.data import DataError, open_source, open_task
from highnoon.data.tasks import ToolManifest, task_definition
from highnoon.data.tasks.synthetic_records import SyntheticRecords

NAMES = ("text_completion", "function_call", "bash_command", "tool_use", "chain_of_thought")
COUNT = 400


@pytest.mark.parametrize("name", NAMES)
def test_records_are_varied_and_equal_each_time_and_fit_a_row(name):
    task = open_task(name, synthetic=True, count=COUNT)
    examples = list(task.examples("all"))
    assert examples == list(task.examples("all")) and len(examples) == COUNT
    assert len({(example.answer, example.prompt) for example in examples}) > 0.95 * COUNT
    documents = list(task.source().documents())
    assert max(len(document.text.encode()) for document in documents) < 1000
    assert {document.source for document in documents} == {f"synthetic:{name}"}
    assert 0.04 * COUNT < sum(1 for _ in task.examples()) < 0.18 * COUNT
    fewer = list(open_source(f"synthetic:{name}:7").documents())
    assert fewer == documents[:7]
    other = SyntheticRecords(task_definition(name), 7, seed=1)
    assert list(other.records()) != list(SyntheticRecords(task_definition(name), 7).records())


def test_answers_of_arithmetic_follow_from_their_steps():
    for example in open_task("chain_of_thought", synthetic=True, count=COUNT).examples("all"):
        results = []
        for first, operator, second, result in re.findall(r"<<(\d+)([*/+-])(\d+)=(\d+)>>", example.answer):
            exact = {
                "*": int(first) * int(second),
                "+": int(first) + int(second),
                "-": int(first) - int(second),
            }
            assert exact.get(operator, int(first) / int(second)) == int(result)
            results.append(result)
        assert results[-1] == example.expected and example.answer.endswith(f"#### {results[-1]}")


def test_synthetic_calls_fit_their_schemas_and_the_accepted_calls():
    for example in open_task("function_call", synthetic=True, count=COUNT).examples("all"):
        manifest = ToolManifest.from_schemas(example.tools)
        calls = json.loads(example.answer)
        assert len(calls) == len(example.expected)
        for call, accepted in zip(calls, example.expected, strict=True):
            manifest.check(call["name"], call["arguments"])
            values = accepted[call["name"]]
            assert all(value in values[key] for key, value in call["arguments"].items())
            assert all("" in values[key] for key in values if key not in call["arguments"])


def test_synthetic_traces_lead_to_the_final_state_in_a_dry_run():
    changed = 0
    for example in open_task("tool_use", synthetic=True, count=COUNT).examples("all"):
        manifest = ToolManifest.from_schemas(example.tools, example.expected["state"])
        for call in json.loads(example.answer):
            manifest.dry_run(call["name"], call["arguments"])
        assert manifest.state == example.expected["final_state"]
        changed += manifest.state != example.expected["state"]
    assert changed > 0.9 * COUNT


def test_synthetic_commands_parse():
    tree_sitter = pytest.importorskip("tree_sitter")
    shell = pytest.importorskip("tree_sitter_bash")
    parser = tree_sitter.Parser(tree_sitter.Language(shell.language()))
    for example in open_task("bash_command", synthetic=True, count=COUNT).examples("all"):
        (command,) = {example.answer.removeprefix("```bash\n").removesuffix("\n```")} & set(example.expected)
        assert not parser.parse(command.encode()).root_node.has_error, command


def test_the_command_writes_records_that_a_task_reads(tmp_path, capsys):
    path = tmp_path / "synthetic_shell.jsonl"
    words = ["data", "synthesize", "bash_command", "--count", "20", "--output", str(path)]
    assert main(words) == 0
    assert "20 synthetic records of bash_command" in capsys.readouterr().out
    source = open_source(f"task:bash_command:{path}")
    texts = [document.text for document in source.documents()]
    assert texts == [document.text for document in open_source("synthetic:bash_command:20").documents()]
    assert source.name == "synthetic:bash_command"
    assert main(words) == 1
    assert "exists already" in capsys.readouterr().err
    assert main([*words[:-1], str(tmp_path / "real.jsonl")]) == 1
    assert "must be named synthetic*.jsonl" in capsys.readouterr().err
    assert main(["data", "synthesize", "bash", "--output", str(path)]) == 1
    assert "did you mean `bash_command`?" in capsys.readouterr().err
    assert main(["data", "synthesize", "--list"]) == 0
    assert set(NAMES) <= set(capsys.readouterr().out.split())


def test_a_generator_without_records_of_its_own_form_is_an_error():
    with pytest.raises(DataError, match="`count` must be"):
        open_task("bash_command", synthetic=True, count=0)
