"""Tasks by name: where their data is found, and how it is split."""

from __future__ import annotations

import json
import os
import pathlib
import warnings

import pytest

from highnoon.data import (
    CleanedSource,
    DataError,
    PreparedTokens,
    ReadOptions,
    SourceNotFoundError,
    open_source,
    open_task,
    prepare,
    tokenize,
    train_tokenizer,
)
from highnoon.data.sequences.document_stream import DocumentStream
from highnoon.data.sources.data_check import check_data
from highnoon.data.tasks import TaskDefinition, TaskExample, register_task, task_definition, task_names
from highnoon.data.tasks.synthetic_records import SyntheticRecords
from highnoon.data.tokens.splitting import document_hash, split_threshold
from highnoon.tokenization import ByteTokenizer

DATA = os.environ.get("HIGHNOON_DATA", "")


@pytest.fixture(autouse=True)
def _no_data_of_the_machine(monkeypatch):
    monkeypatch.delenv("HIGHNOON_DATA", raising=False)


@pytest.fixture
def shell(tmp_path: pathlib.Path) -> pathlib.Path:
    """A data folder with sentences that each have three commands."""
    folder = tmp_path / "data" / "tasks" / "bash_command"
    folder.mkdir(parents=True)
    records = [
        {"instruction": f"Wait {number} seconds", "response": f"sleep {number}{' ' * again}; true"}
        for again in range(3)
        for number in range(60)
    ]
    (folder / "nl2bash.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    return tmp_path / "data"


def test_equal_prompts_are_on_one_side_in_examples_and_in_stores(shell, tmp_path):
    task = open_task("bash_command", shell)
    held_out = [example.id for example in task.examples()]
    prompts = {example.messages[0]["content"] for example in task.examples()}
    assert len(held_out) == 3 * len(prompts) and 0 < len(prompts) < 20
    assert not prompts & {example.messages[0]["content"] for example in task.examples("train")}
    store = tokenize(task.source(), ByteTokenizer(), tmp_path / "cache", num_workers=2)
    documents = [f"{d.source}/{d.id}" for d in task.source().documents()]
    assert [name for name, side in zip(documents, store.is_validation, strict=True) if side] == held_out


def test_the_split_of_prompts_reaches_streams_and_the_tokens_of_another_tokenizer(shell, tmp_path):
    source = open_task("bash_command", shell).source()
    hashes = [document_hash(document) for document in source.documents()]
    folder = tmp_path / "prepared"
    prepare(CleanedSource(source, []), ByteTokenizer(), folder, num_workers=1)
    prepared = PreparedTokens(folder)
    assert [document_hash(document) for document in prepared.documents()] == hashes
    other = train_tokenizer([source], 300)
    with pytest.warns(UserWarning, match="is tokenized again"):
        again = tokenize(prepared, other, tmp_path / "cache")
    assert again.split_hashes.tolist() == hashes
    stream = DocumentStream(source, ByteTokenizer(), "validation", 0.1, buffer_documents=1)
    assert sum(1 for _ in stream.read(0)) == sum(number < split_threshold(0.1) for number in hashes) > 0


def test_another_version_or_file_changes_the_fingerprint(shell, monkeypatch):
    first = open_task("bash_command", shell).source().fingerprint()
    assert open_source("task:bash_command", data_dir=shell).fingerprint() == first
    monkeypatch.setattr(type(task_definition("bash_command")), "version", 2)
    assert open_task("bash_command", shell).source().fingerprint() != first
    monkeypatch.undo()
    monkeypatch.delenv("HIGHNOON_DATA", raising=False)
    with (shell / "tasks/bash_command/nl2bash.jsonl").open("a") as stream:
        stream.write(json.dumps({"instruction": "x", "response": "y"}) + "\n")
    assert open_task("bash_command", shell).source().fingerprint() != first


def test_a_published_name_a_file_and_the_environment_name_the_data(shell, monkeypatch):
    file = shell / "tasks/bash_command/nl2bash.jsonl"
    (shell / "tasks/bash_command/unix.jsonl").write_text('{"instruction": "a", "response": "b"}\n')

    def count(source) -> int:
        return sum(1 for _ in source.documents())

    assert count(open_source("task:bash_command", data_dir=shell)) == 181
    assert count(open_source("task:bash_command:NL2Bash", data_dir=shell)) == 180
    assert count(open_source("task:bash_command:unix-commands", data_dir=shell)) == 1
    assert count(open_source(f"task:bash_command:{file}")) == 180
    assert count(open_source("task:bash_command:tasks/bash_command", data_dir=shell)) == 181
    monkeypatch.setenv("HIGHNOON_DATA", str(shell))
    assert count(open_source("task:bash_command")) == 181


def test_missing_data_is_an_error_with_the_command_of_the_generator(tmp_path, monkeypatch):
    def unreachable(*args: object) -> None:
        raise OSError(101, "Network is unreachable")

    for way in ("HF_ENDPOINT", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(way, raising=False)
    monkeypatch.setattr("socket.create_connection", unreachable)
    with pytest.raises(SourceNotFoundError) as error:
        open_task("tool_use", tmp_path)
    assert "highnoon data synthesize tool_use --count 10000 --output synthetic_tool_use.jsonl" in str(
        error.value
    )
    assert "\n" not in str(error.value)
    with pytest.raises(SourceNotFoundError, match="no data of the dataset ToolBench of the task `tool_use`"):
        open_source("task:tool_use:toolbench")
    with pytest.raises(SourceNotFoundError, match="no file at missing.jsonl"):
        open_source("task:tool_use:missing.jsonl")


class FakeHub:
    """A dataset of the hub, with the columns of the published one."""

    column_names = ("nl", "bash")

    def __init__(self, rows: list[tuple[str, str]]) -> None:
        self.rows = rows

    def __iter__(self):
        return (dict(zip(self.column_names, row, strict=True)) for row in self.rows)


def test_records_of_the_hub_are_read_where_there_is_no_copy(tmp_path, monkeypatch):
    opened = []

    def load(name: str, split: str, is_streamed: bool) -> FakeHub:
        opened.append((name, split))
        return FakeHub([("Wait a second.", "sleep 1"), ("List files.", rows[-1])])

    rows = ["ls"]
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy")
    monkeypatch.setattr("highnoon.data.sources.hugging_face._load", load)
    task = open_task("bash_command", tmp_path)
    assert opened == [("jiacheng-ye/nl2bash", "train")]
    assert [example.answer for example in task.examples("all")] == [
        "```bash\nsleep 1\n```",
        "```bash\nls\n```",
    ]
    assert task.label == "bash_command"
    first = task.source().fingerprint()
    assert open_source("task:bash_command:nl2bash").fingerprint() == first
    rows.append("ls -a")
    assert open_task("bash_command").source().fingerprint() != first


def test_synthetic_files_are_labeled_and_never_mixed_with_other_data(shell):
    folder = shell / "tasks" / "bash_command"
    records = list(SyntheticRecords(task_definition("bash_command"), 5).records())
    renamed, named = folder / "own.jsonl", folder / "synthetic_bash.jsonl"
    for path in (renamed, named):
        path.write_text("".join(json.dumps(record) + "\n" for record in records))
    with pytest.warns(UserWarning, match="2 files of synthetic records"):
        task = open_task("bash_command", shell)
    assert task.label == "bash_command" and sum(1 for _ in task.examples("all")) == 180
    with pytest.raises(DataError, match="has synthetic records and .* has others"):
        open_source(f"task:bash_command:{folder}/*.jsonl")
    (folder / "nl2bash.jsonl").unlink()
    for data in (None, named, renamed):
        task = open_task("bash_command", shell, data=data)
        assert task.label == "synthetic_bash_command" and task.source().name == "synthetic:bash_command"
        assert all(example.is_synthetic for example in task.examples("all"))
        assert {document.domain for document in task.source().documents()} == {"synthetic_bash_command"}


def test_options_that_do_not_apply_are_one_line(shell):
    with pytest.raises(DataError, match="there is no task `bash_comand`; did you mean `bash_command`?"):
        open_source("task:bash_comand")
    with pytest.raises(DataError, match="`text_field` does not apply to the task `bash_command`"):
        open_source("synthetic:bash_command", text_field="x")
    with pytest.raises(DataError, match="expected synthetic:bash_command or synthetic:bash_command:COUNT"):
        open_source("synthetic:bash_command:many")
    with pytest.raises(DataError, match="`count` must be"):
        open_source("synthetic:bash_command:0")
    with pytest.raises(DataError, match="`data` and `synthetic` exclude each other"):
        open_task("bash_command", synthetic=True, data="x")
    with pytest.raises(DataError, match="`split` must be one of validation, train, all"):
        open_task("bash_command", shell).examples("test")
    with pytest.raises(DataError, match="has no examples on the train side"):
        list(open_task("bash_command", shell).examples("train", 0.999999))


def test_bad_records_are_skipped_and_counted_and_ids_are_checked(shell):
    file = shell / "tasks/bash_command/nl2bash.jsonl"
    lines = ['{"instruction": "a"}', '{"instruction": "b", "response": "c", "id": 7}'] * 2
    file.write_text("\n".join(lines))
    with pytest.raises(DataError, match=r"nl2bash.jsonl:1: the task .* needs the field .*skip_bad"):
        list(open_task("bash_command", shell).examples("all"))
    task = open_task("bash_command", shell, options=ReadOptions(skip_bad=True, check_ids=True))
    assert sum(1 for _ in task.source().documents()) == 1
    counts = {key: found["count"] for key, found in task.source().bad_records.report()["reasons"].items()}
    assert counts == {"no response": 2, "duplicate id": 1}
    found = []
    check_data(open_source("task:bash_command", data_dir=shell), found.append)
    assert [(problem.kind, problem.line) for problem in found][:2] == [("no response", 1), ("no response", 3)]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"word": "a"', "expected a JSON object; this is not JSON"),
        ('{"wrd": "a"}', "the task `shout_of_a_test` needs the field `word`; the fields are wrd"),
        ('{"word": {"a": 1}}', "the task `shout_of_a_test` cannot read the record .AttributeError"),
    ],
)
def test_a_record_that_a_task_cannot_read_is_an_error_with_file_and_line(tmp_path, line, words):
    class Shout(TaskDefinition):
        name = "shout_of_a_test"

        def example(self, record, location):
            turns = [{"role": "user", "content": record["word"]}]
            return TaskExample(self.name, "", turns, record["word"].upper(), record["word"])

    if Shout.name not in task_names():
        register_task(Shout)
    folder = tmp_path / "tasks" / Shout.name
    folder.mkdir(parents=True)
    (folder / "own.jsonl").write_text(f'{{"word": "good"}}\n{line}\n')
    for read in (lambda task: task.examples("all"), lambda task: task.source().documents()):
        with pytest.raises(DataError, match=rf"own.jsonl:2: .*{words}") as error:
            list(read(open_task(Shout.name, tmp_path)))
        assert "\n" not in str(error.value)
    task = open_task(Shout.name, tmp_path, options=ReadOptions(skip_bad=True))
    assert [example.expected for example in task.examples("all")] == ["good"]


def test_another_package_registers_a_task(tmp_path):
    @register_task
    class Echo(TaskDefinition):
        name = "echo_of_a_test"

        def example(self, record, location):
            turns = [{"role": "user", "content": record["say"]}]
            return TaskExample(self.name, "", turns, record["say"], record["say"])

    assert "echo_of_a_test" in task_names()
    (tmp_path / "said.jsonl").write_text('{"say": "hello"}\n')
    (document,) = open_source(f"task:echo_of_a_test:{tmp_path / 'said.jsonl'}").documents()
    assert document.text.endswith("assistant\nhello<|im_end|>\n")
    with pytest.raises(DataError, match="the task `echo_of_a_test` has no generator"):
        list(open_source("synthetic:echo_of_a_test").documents())
    with pytest.raises(DataError, match="a task `bash_command` is registered already"):
        register_task(type("Other", (Echo,), {"name": "bash_command"}))
    with pytest.raises(DataError, match="must be lower-case letters"):
        register_task(type("Other", (Echo,), {"name": "Bad name"}))


def test_documents_of_other_sources_keep_their_hashes(tmp_path):
    (tmp_path / "a.txt").write_text("one\ntwo\n")
    source = open_source(str(tmp_path / "a.txt"), split="line")
    assert all(document.split_hash is None for document in source.documents())
    store = tokenize(source, ByteTokenizer(), tmp_path / "cache", validation_split=0.0)
    # The hashes that every earlier version wrote.
    assert store.split_hashes.tolist() == [3634006015183138678, 3775885744145518795]
    assert "has_split_hashes" not in store.manifest


@pytest.mark.parametrize("name", ["bash_command", "chain_of_thought", "function_call", "text_completion"])
def test_the_shared_data_opens(name):
    if not pathlib.Path(DATA, "tasks", "function_call").is_dir():
        pytest.skip("HIGHNOON_DATA names no folder with tasks/ and domains/ in it")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        task = open_task(name, DATA)
        held_out = {example.split_hash for example in task.examples()}
    assert len(held_out) > 40 and not held_out & {example.split_hash for example in task.examples("train")}


def test_tables_and_json_files_of_a_task_are_read_with_all_their_fields(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    records = list(SyntheticRecords(task_definition("function_call"), 4).records())
    expected = [document.text for document in open_source("synthetic:function_call:4").documents()]
    folder = tmp_path / "tasks" / "function_call"
    folder.mkdir(parents=True)
    texts = [{key: json.dumps(value) for key, value in record.items()} for record in records]
    for record, own in zip(texts, records, strict=True):
        record |= {"instruction": own["instruction"], "id": own["id"], "source": "a table"}
    parquet.write_table(pyarrow.Table.from_pylist(texts), folder / "own.parquet")
    (folder / "settings.json").write_text('{"version": 1}')
    with pytest.warns(UserWarning, match="skipped 1"):
        task = open_task("function_call", tmp_path)
    assert [document.text for document in task.source().documents()] == expected
    assert task.label == "function_call"
