"""`highnoon data`: from text to a folder, and what is shown of it."""

from __future__ import annotations

import json
import pathlib

import pytest

from highnoon.cli.__main__ import main
from highnoon.cli.data_actions.inspect import stored_document
from highnoon.cli.data_actions.prepare import store_folders
from highnoon.data import PreparedTokens, TokenStore, tokenize
from highnoon.data.document import Document, DocumentSource
from highnoon.tokenization import ByteTokenizer


@pytest.fixture
def texts(tmp_path: pathlib.Path) -> pathlib.Path:
    for domain, count in (("sea", 30), ("land", 12)):
        (tmp_path / "texts" / domain).mkdir(parents=True)
        for number in range(count):
            text = f"The {domain}, part {number // 2}. " * 5
            (tmp_path / "texts" / domain / f"{number:02}.txt").write_text(text)
    return tmp_path / "texts"


def test_text_is_prepared_inspected_and_counted(texts, tmp_path, capsys):
    folder = str(tmp_path / "out")
    assert (
        main(
            [
                "data",
                "prepare",
                str(texts),
                "--output",
                folder,
                "--vocab-size",
                "280",
                "--validation-split",
                "0.2",
            ]
        )
        == 0
    )
    assert "42 documents" in capsys.readouterr().out
    assert TokenStore.open(folder).tokenizer.vocab_size == 280
    assert main(["data", "inspect", folder, "--documents", "1"]) == 0
    shown = capsys.readouterr().out
    assert "land, sea" in shown and "(20% requested)" in shown and "all tokens" in shown
    assert "--- document 0, land" in shown and "The land, part 0. The land" in shown
    assert main(["data", "stats", folder, "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["documents"] == 42 and figures["duplicates"] == 21
    assert figures["num_bytes"] == sum(len(path.read_bytes()) for path in texts.rglob("*.txt"))
    assert figures["tokens"] == figures["learned_tokens"] == int(TokenStore.open(folder).offsets[-1])
    counts = {name: values["documents"] for name, values in figures["domains"].items()}
    assert counts == {"land": 12, "sea": 30}
    assert main(["data", "stats", folder]) == 0
    assert "bytes per token" in capsys.readouterr().out


def test_the_same_command_again_changes_nothing(texts, tmp_path):
    words = ["data", "prepare", str(texts), "--output", str(tmp_path / "out"), "--vocab-size", "300"]
    assert main(words) == 0
    written = (tmp_path / "out" / "manifest.json").stat().st_mtime_ns
    assert main(words) == 0
    assert (tmp_path / "out" / "manifest.json").stat().st_mtime_ns == written


def test_domains_are_chosen_and_a_missing_one_is_an_error(texts, tmp_path, capsys):
    ByteTokenizer().save(tmp_path)
    words = ["data", "prepare", str(texts), "--output", str(tmp_path / "out"), "--tokenizer", str(tmp_path)]
    assert main([*words, "--domains", "sea"]) == 0
    assert {document.domain for document in PreparedTokens(tmp_path / "out").documents()} == {"sea"}
    assert main(["data", "stats", str(texts), "--domains", "sea,sky"]) == 1
    assert "has no domain `sky`; domains there: land, sea" in capsys.readouterr().err


def test_several_sources_become_a_store_each_with_one_tokenizer(texts, tmp_path):
    names = [str(texts / "sea" / "*.txt"), str(texts / "land" / "*.txt")]
    assert main(["data", "prepare", *names, "--output", str(tmp_path / "out"), "--vocab-size", "290"]) == 0
    stores = [TokenStore.open(folder) for folder in sorted((tmp_path / "out").iterdir())]
    assert sorted(map(len, stores)) == [12, 30]
    assert len({store.tokenizer.fingerprint() for store in stores}) == 1


def test_sources_of_one_name_are_an_error():
    with pytest.raises(ValueError, match="several sources would be written to a-b"):
        store_folders(pathlib.Path("out"), ["a/b", "a b"])


def test_statistics_of_text_need_no_tokens(texts, capsys):
    assert main(["data", "stats", str(texts), "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["tokens"] is None and figures["bytes_per_token"] is None
    assert figures["documents"] == 42 and figures["duplicates"] == 21
    assert figures["lengths"]["100"] == max(path.stat().st_size for path in texts.rglob("*.txt"))
    assert main(["data", "stats", str(texts)]) == 0
    assert "fraction of bytes" in capsys.readouterr().out


def test_options_of_reading_are_refused_for_a_prepared_folder(texts, tmp_path, capsys):
    ByteTokenizer().save(tmp_path)
    main(["data", "prepare", str(texts), "--output", str(tmp_path / "out"), "--tokenizer", str(tmp_path)])
    assert main(["data", "stats", str(tmp_path / "out"), "--split", "line"]) == 1
    assert "--split is for reading text" in capsys.readouterr().err


def test_what_is_only_read_stands_in_brackets(tmp_path):
    class Chat(DocumentSource):
        name = "chat"

        def documents(self):
            return iter([Document("who? me. why?", learned=((5, 8),)), Document("all")])

        def _describe(self, digest):
            digest.update(b"1")

    store = tokenize(Chat(), ByteTokenizer(), tmp_path, 0.0)
    assert stored_document(store, 0) == "⟦who? ⟧me.⟦ why?⟧"
    assert stored_document(store, 1) == "all"
    assert stored_document(store, 1, most_characters=2) == "al ..."


def test_cleaning_steps_of_a_file_are_applied_and_reported(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "pages.jsonl"
    path.write_text("".join(json.dumps({"text": f"Page {n} of a book."}) + "\n" for n in [*range(9), 3, 4]))
    (tmp_path / "clean.yaml").write_text("- {step: exact_duplicates}\n- {step: length, min_characters: 5}\n")
    assert (
        main(
            [
                "data",
                "prepare",
                str(path),
                "--output",
                str(tmp_path / "out"),
                "--vocab-size",
                "300",
                "--clean",
                str(tmp_path / "clean.yaml"),
                "--validation-split",
                "0",
            ]
        )
        == 0
    )
    printed = capsys.readouterr().out
    assert "9 documents" in printed and "duplicate" in printed
    assert len(list(PreparedTokens(tmp_path / "out").documents())) == 9


def test_contamination_is_found_and_ends_with_an_error(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    question = "Which of the four foxes of the old story met nine crows by the river?"
    (tmp_path / "questions.txt").write_text(question)
    other = "How many pails of water does a well of nine feet hold when it is full?"
    (tmp_path / "other.txt").write_text(other)
    (tmp_path / "train.txt").write_text(f"A page about tests. {question} The third.")
    command = ["data", "contamination", str(tmp_path / "train.txt"), "--validation-split", "0", "--json"]
    assert main([*command, "--against", str(tmp_path / "questions.txt"), str(tmp_path / "other.txt")]) == 1
    found = json.loads(capsys.readouterr().out)["benchmarks"]
    assert [entry["contaminated"] for entry in found] == [1, 0]
    assert main([*command, "--against", str(tmp_path / "other.txt")]) == 0


def test_every_action_reads_a_task_from_its_local_copies(tmp_path, capsys):
    folder = tmp_path / "copies" / "tasks" / "bash_command"
    folder.mkdir(parents=True)
    lines = [{"instruction": f"show file {n}", "response": f"cat {n}"} for n in range(30)]
    (folder / "nl2bash.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    copies, against = ["--data-dir", str(tmp_path / "copies")], tmp_path / "other.txt"
    against.write_text("None of these words are in the commands that the task's copies have here.")
    for words in (
        ["stats", "task:bash_command"],
        ["check", "task:bash_command"],
        ["inspect", "task:bash_command", "--documents", "1"],
        ["contamination", "task:bash_command", "--validation-split", "0", "--against", str(against)],
        ["prepare", "task:bash_command", "--output", str(tmp_path / "out"), "--vocab-size", "263"],
    ):
        assert main(["data", *words, *copies]) == 0, words
        printed = capsys.readouterr().out
        assert words[0] != "check" or f"--data-dir {tmp_path / 'copies'}" in printed
    assert len(list(PreparedTokens(tmp_path / "out").documents())) == 30


@pytest.mark.slow
def test_a_step_of_a_run_is_shown(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [{"instruction": f"Say {n}.", "response": f"It is {n}!"} for n in range(40)]
    (tmp_path / "asked.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert (
        main(
            [
                "train",
                "--data",
                "asked.jsonl",
                "--preset",
                "highnoon-nano",
                "--steps",
                "3",
                "--output",
                "out",
                "--training.max_seq_length",
                "64",
                "--training.batch_size",
                "2",
            ]
        )
        == 0
    )
    capsys.readouterr()
    assert main(["data", "replay", "out", "--step", "2", "--rows", "1"]) == 0
    printed = capsys.readouterr().out
    assert (
        "step 2: stage `train`, epoch" in printed
        and "--- row 1 of 2" in printed
        and "supervised (" in printed
    )
    assert main(["data", "replay", "out", "--step", "2", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["rows"]) == 2
    assert main(["data", "replay", "out", "--step", "9"]) == 1
    assert "knows steps 1 to 3; received 9" in capsys.readouterr().err


def test_what_is_left_out_is_said(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.jsonl"
    rows = ['{"text": "one", "id": 1}', "not JSON", '{"text": "two", "id": 1}', '{"text": "three", "id": 3}']
    path.write_text("\n".join(rows))
    command = [
        "data",
        "prepare",
        str(path),
        "--output",
        str(tmp_path / "out"),
        "--vocab-size",
        "263",
        "--validation-split",
        "0",
    ]
    assert main(command) == 1
    assert f"{path}:2" in capsys.readouterr().err
    assert main([*command, "--skip-bad"]) == 0
    said = f"2 skipped: not JSON 1 ({path}:2), duplicate id 1 ({path}:3)"
    assert said in capsys.readouterr().out
    assert main(["data", "inspect", str(tmp_path / "out")]) == 0
    assert said in capsys.readouterr().out
    # Without the check the second row of that id stays.
    command[4] = str(tmp_path / "other")
    assert main([*command, "--skip-bad", "--no-check-ids"]) == 0
    assert "3 documents" in capsys.readouterr().out


@pytest.fixture
def rows(tmp_path: pathlib.Path) -> pathlib.Path:
    lines = [{"title": f"Tale {number}", "body": "A fox by the river."} for number in range(20)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    ByteTokenizer().save(tmp_path)
    return tmp_path / "rows.jsonl"


def prepared_texts(rows: pathlib.Path, *options: str) -> list[Document]:
    folder = rows.parent / "out"
    assert (
        main(
            [
                "data",
                "prepare",
                str(rows),
                "--output",
                str(folder),
                "--tokenizer",
                str(rows.parent),
                "--validation-split",
                "0",
                *options,
            ]
        )
        == 0
    )
    return list(PreparedTokens(folder).documents())


def test_fields_of_rows_are_chosen(rows):
    first = prepared_texts(rows, "--template", "{title}: {body}", "--learned-fields", "body")[0]
    assert (first.text, first.learned) == ("Tale 0: A fox by the river.", ((8, 27),))


def test_lines_and_kinds_are_read_as_asked(rows, capsys):
    rows.write_text(json.dumps({"prompt": "who?", "response": "a fox", "text": "x"}) + "\n" + "x" * 99 + "\n")
    (rows.parent / "chat.jinja").write_text(
        "{% for m in messages %}{% generation %}{{ m['content'] }}{% endgeneration %}|{% endfor %}"
    )
    words = [
        "--kind",
        "instruction",
        "--chat-template",
        str(rows.parent / "chat.jinja"),
        "--skip-bad",
        "--max-line-bytes",
        "80",
    ]
    assert [document.text for document in prepared_texts(rows, *words)] == ["who?|a fox|"]
    assert "line too long 1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (["--workers", "0"], "`num_workers` must be at least 1"),
        (["--validation-split", "1.5"], "`validation_split`"),
        (["--output", "taken"], "taken is not empty and has no tokens (mine.txt)"),
        (["--clean", "empty.yaml"], "empty.yaml has no cleaning steps"),
        (["--clean", "bad.yaml"], "bad.yaml is not valid YAML"),
    ],
)
def test_what_will_be_refused_is_refused_before_a_tokenizer_is_trained(
    rows, tmp_path, capsys, monkeypatch, options, error
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "mine.txt").write_text("mine")
    (tmp_path / "empty.yaml").write_text("# nothing yet\n")
    (tmp_path / "bad.yaml").write_text("- {step: [\n")
    assert main(["data", "prepare", str(rows), "--text-field", "body", "--output", "out", *options]) == 1
    said = capsys.readouterr().err
    assert error in said and said.count("\n") == 1


def test_the_report_of_a_chain_that_drops_everything_is_printed(rows, tmp_path, capsys):
    (tmp_path / "clean.yaml").write_text("- {step: length, min_characters: 500}\n")
    words = [
        "data",
        "prepare",
        str(rows),
        "--text-field",
        "body",
        "--output",
        str(tmp_path / "out"),
        "--clean",
        str(tmp_path / "clean.yaml"),
    ]
    for tokenizer in ([], ["--tokenizer", str(tmp_path)]):
        assert main([*words, *tokenizer]) == 1
        assert "too short" in capsys.readouterr().out


def test_statistics_say_what_was_left_out(rows, capsys):
    with rows.open("a") as stream:
        stream.write("not JSON\n")
    words = ["data", "stats", str(rows), "--text-field", "body", "--skip-bad"]
    assert main(words) == 0
    assert f"1 skipped: not JSON 1 ({rows}:21)" in capsys.readouterr().out
    assert main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["left_out"]["left_out"] == 1


@pytest.mark.parametrize("content", ["device", "large"])
def test_a_chat_template_is_read_up_to_a_bound(rows, tmp_path, capsys, content):
    template = tmp_path / "template.jinja"
    template.write_bytes(b" " * (2**20 + 1))
    path = "/dev/zero" if content == "device" else str(template)
    assert main(["data", "stats", str(rows), "--chat-template", path]) == 1
    assert "expected a" in capsys.readouterr().err


def test_a_list_of_fields_without_a_name_is_refused(rows, capsys):
    words = ["--template", "{question}", "--learned-fields", ","]
    assert main(["data", "stats", str(rows), *words]) == 1
    assert "--learned-fields must name at least one" in capsys.readouterr().err


def test_nobody_is_told_to_remove_a_folder_that_holds_no_tokens(tmp_path, capsys):
    (tmp_path / "manifest.json").write_text('{"files": {}}')
    (tmp_path / "novel.txt").write_text("mine")
    assert main(["data", "inspect", str(tmp_path)]) == 1
    assert "; use a folder that `highnoon data prepare` wrote" in capsys.readouterr().err


def test_any_data_is_inspected_with_its_supervised_part(tmp_path, capsys):
    chats = tmp_path / "chats.jsonl"
    turns = [{"role": "user", "content": "who?"}, {"role": "assistant", "content": "me."}]
    chats.write_text("".join(json.dumps({"messages": turns, "id": number}) + "\n" for number in range(5)))
    assert main(["data", "inspect", str(chats), "--documents", "3"]) == 0
    shown = capsys.readouterr().out
    assert shown.count("--- document ") == 3 and "chats.jsonl:1" in shown
    marked, _, rest = shown.partition("me.")
    assert marked.count("⟦") == marked.count("⟧") == 1 and "who?" in marked and "supervised" in marked
    notes = tmp_path / "notes.txt"
    notes.write_text("one note")
    assert main(["data", "inspect", str(notes)]) == 0
    shown = capsys.readouterr().out
    assert "8 characters, all supervised\none note\n" in shown


def test_a_prepared_folder_is_inspected_without_options_of_reading(tmp_path, capsys):
    notes = tmp_path / "notes.txt"
    notes.write_text("one note " * 100)
    prepared = str(tmp_path / "prepared")
    assert main(["data", "prepare", str(notes), "--output", prepared, "--vocab-size", "263"]) == 0
    assert main(["data", "inspect", prepared, "--text-field", "x"]) == 1
    assert "already prepared, and --text-field is for reading text" in capsys.readouterr().err
