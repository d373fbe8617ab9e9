"""What a newcomer types first and wrongly, for every verb: one line, which ends in what to type next."""

import io
import re

import pytest

from highnoon.cli.__main__ import VERBS, main, parse

COMMAND = re.compile(r"highnoon (?:" + "|".join(VERBS) + r")\b|did you mean .*\?|--[a-z-]+")

MISTAKES = """
demo --output note.txt
data prepare
data prepare missing.txt --output out
data prepare empty.txt --output out
data prepare empty --output out
data prepare photos --output out
data prepare photos/cat.jpg --output out
data inspect
data inspect missing
data inspect photos
data inspect photos/cat.jpg
data stats
data stats missing
data stats photos
data stats empty
data contamination
data contamination missing
data contamination note.txt --against missing
data replay
data replay missing --step 1
data replay photos --step 1
train
train missing.yaml
train note.txt
train photos
train --data missing.txt
train --data photos
train --data empty
train --data empty.txt
train --data photos/cat.jpg
train --resume
experts pretrain
experts pretrain --expert transformer
experts pretrain --expert transformer --tokenizer byte --data_dir empty
experts pretrain --expert diffuser --tokenizer byte --data_dir photos
experts train-router
experts train-router --data_dir photos
experts assemble
experts run
experts run missing.yaml
experts run note.txt
align
align --objective dpo --model missing
align --objective dpo --model missing --data note.txt
align --objective kto --model photos --data note.txt
generate
generate --model missing --prompt x
generate --model photos --prompt x
generate --model note.txt --prompt x
chat
chat --model missing
chat --model photos
evaluate
evaluate --model photos --data note.txt
export
export --model photos --output out
models --show nosuch
monitor missing --once
monitor photos --once
monitor --once
inspect
inspect missing
inspect photos
inspect note.txt
launch
launch --workers 2
launch --hosts missing -- train x
launch --workers 2 -- trian x
launch -- train x
doctor --jsn
""".strip().splitlines()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("photos", "empty"):
        (tmp_path / name).mkdir()
    (tmp_path / "photos" / "cat.jpg").write_bytes(b"\xff\xd8\xff")
    (tmp_path / "empty.txt").touch()
    (tmp_path / "note.txt").write_text("hello world " * 50)
    return tmp_path


@pytest.mark.parametrize("typed", MISTAKES)
def test_a_first_mistake_ends_in_what_to_type_next(folder, monkeypatch, capsys, typed):
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    before = sorted(folder.rglob("*"))
    try:
        code = main(typed.split())
    except SystemExit as stop:
        code = stop.code
    printed = capsys.readouterr().err.strip().splitlines()
    assert code in (1, 2)
    assert "error: " in printed[-1]
    ending = printed[-1].split("error: ", 1)[1]
    assert COMMAND.search(ending), f"no next command in: {printed[-1]}"
    assert sorted(folder.rglob("*")) == before, "a refused command writes nothing"


def test_every_verb_has_a_first_mistake():
    assert {typed.split()[0] for typed in MISTAKES} == set(VERBS)


@pytest.mark.parametrize(
    "words, message",
    [
        ("generate", "required: MODEL, PROMPT; for example: highnoon generate"),
        ("generate my-run", "required: PROMPT"),
        ("chat", "required: MODEL; for example: highnoon chat"),
        ("evaluate --data note.txt", "required: MODEL"),
        ("export --output out", "required: MODEL"),
        ("generate --model my-run --promt x", "unrecognized arguments: --promt; did you mean --prompt?"),
        ("evaluate my-run --dta note.txt", "unrecognized arguments: --dta; did you mean --data?"),
        ("export my-run --outptu out", "unrecognized arguments: --outptu; did you mean --output?"),
        ("data prepare note.txt --outptu out", "unrecognized arguments: --outptu; did you mean --output?"),
        ("chat my-run --model other", "the model is given twice: my-run and other"),
    ],
)
def test_a_missing_or_misspelled_argument_is_named(folder, words, message, capsys):
    with pytest.raises(SystemExit):
        raise SystemExit(main(words.split()))
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["generate", "chat", "evaluate", "export"])
def test_the_model_is_the_first_word_or_an_option(verb):
    rest = {"generate": "--prompt x", "evaluate": "--data d", "export": "--output o"}.get(verb, "").split()
    for words in (["my-run", *rest], ["--model", "my-run", *rest], [*rest, "--model=my-run"]):
        assert parse([verb, *words]).model == "my-run"
    assert parse(["generate", "my-run", "ROMEO:"]).prompt == "ROMEO:"
