"""`highnoon chat`: commands, messages of several lines, and Ctrl-C, on a model of a few weights."""

import json

import pytest

import highnoon as hn
from highnoon.cli import chat
from highnoon.cli.__main__ import main
from highnoon.cli.model_options import SAMPLING
from highnoon.inference import StatefulWrapper
from highnoon.tokenization import ByteTokenizer


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    model = hn.create_model(
        "highnoon-nano", vocab_size=263, embedding_dim=8, num_heads=1, num_reasoning_blocks=1, ffn_dim=8,
        block_pattern="attention+mlp", max_seq_length=256,
    )  # fmt: skip
    model.tokenizer = ByteTokenizer()
    return hn.save_model(model, tmp_path_factory.mktemp("chat") / "model")


@pytest.fixture
def talk(folder, monkeypatch, capsys, tmp_path):
    """Has a conversation of typed lines; returns its messages to the model and what was said."""
    monkeypatch.chdir(tmp_path)

    def talk(*lines, options=()):
        typed, asked = iter(lines), []

        def type_line(prompt=""):
            line = next(typed, None)
            if line is None:
                raise EOFError
            if line is KeyboardInterrupt:
                raise KeyboardInterrupt
            return line

        def generate(self, **sampling):
            message = self.get_history()[-1]["content"]
            if message == "slow":
                raise KeyboardInterrupt
            asked.append((message, self.system_prompt, sampling))
            self.add_assistant_message(f"answer {len(asked)}")
            return f"answer {len(asked)}"

        monkeypatch.setattr("builtins.input", type_line)
        monkeypatch.setattr(StatefulWrapper, "generate", generate)
        assert main(["chat", "--model", str(folder), *options]) == 0
        return asked, capsys.readouterr(), list(typed)

    return talk


@pytest.mark.parametrize("word", ["/exit", "/quit", "exit", "quit", "/EXIT"])
def test_a_word_ends_the_conversation(talk, word):
    asked, _, left = talk("Hello", word, "not read")
    assert [message for message, *_ in asked] == ["Hello"] and left == ["not read"]


def test_help_names_every_command_and_setting(talk):
    asked, printed, _ = talk("/help")
    assert not asked
    for word in ("exit", "reset", "system", "retry", "save", *(n.replace("_", "-") for n in SAMPLING)):
        assert f"/{word}" in printed.err


@pytest.mark.parametrize(
    "typed, hint",
    [("/rest", "did you mean /reset?"), ("/temprature 1", "did you mean /temperature?"), ("/zzzz", "/help")],
)
def test_an_unknown_command_names_the_nearest_and_never_reaches_the_model(talk, typed, hint):
    asked, printed, _ = talk(typed)
    assert not asked and hint in printed.err


def test_two_slashes_begin_a_message_with_one(talk):
    asked, _, _ = talk("//etc is a folder")
    assert asked[0][0] == "/etc is a folder"


def test_settings_change_what_follows_and_bad_values_change_nothing(talk):
    lines = ("/temperature 0.7", "/top_k 5", "a", "/temperature -1", "/top-k many", "/seed 3", "b", "/top-k")
    asked, printed, _ = talk(*lines)
    first = {"max_length": chat.DEFAULT_ANSWER_TOKENS, "temperature": 0.7, "top_k": 5, "seed": 3}
    assert asked[1][2] == first
    assert printed.err.count("error: ") == 2 and "/top-k is 5" in printed.err
    assert "/top-k must be a number; received 'many'" in printed.err


def test_the_system_message_and_a_reset_reach_the_model(talk):
    asked, _, _ = talk("a", "/system Be brief.", "b", "/reset", "/system", "c")
    assert [system for _, system, _ in asked] == [None, "Be brief.", None]


def test_the_last_message_is_answered_again_with_another_seed(talk):
    asked, printed, _ = talk("/retry", "a", "/retry", "/regenerate", options=("--seed", "5"))
    assert [(message, options["seed"]) for message, _, options in asked] == [("a", 5), ("a", 6), ("a", 7)]
    assert "there is no message to answer again" in printed.err


def test_a_conversation_is_saved_as_a_record_and_no_file_is_overwritten(talk, tmp_path):
    talk("/system Be brief.", "a", "/save talk.jsonl")
    record = json.loads((tmp_path / "talk.jsonl").read_text())
    assert [message["role"] for message in record["messages"]] == ["system", "user", "assistant"]
    _, printed, _ = talk("b", "/save talk.jsonl", "/save", "c")
    assert json.loads((tmp_path / "talk.jsonl").read_text()) == record
    assert printed.err.count("error: ") == 2


def test_a_message_of_several_lines_is_one(talk):
    asked, _, _ = talk("one \\", "two", '"""first', "", 'last"""', '"""short"""', "  ", "/reset")
    assert [message for message, *_ in asked] == ["one \ntwo", "first\n\nlast", "short"]


def test_ctrl_c_during_an_answer_keeps_the_conversation(talk):
    asked, printed, _ = talk("a", "slow", "/retry", "b")
    assert [message for message, *_ in asked] == ["a", "a", "b"]
    assert "the answer is stopped" in printed.err


def test_ctrl_c_at_the_prompt_ends_the_second_time_in_a_row(talk):
    stop = KeyboardInterrupt
    asked, printed, left = talk(stop, "a", stop, "b", stop, stop, "not read")
    assert [message for message, *_ in asked] == ["a", "b"] and left == ["not read"]
    assert "Ctrl-C again" in printed.err


def test_what_is_taken_back_is_not_part_of_the_next_prompt(folder):
    model = hn.load_model(folder)
    one, other = StatefulWrapper(model), StatefulWrapper(model)
    one.add_user_message("Hello")
    one.generate(max_length=4, seed=1)
    assert one.take_back() == "Hello" and one.get_history() == [] and one.take_back() is None
    for conversation in (one, other):
        conversation.add_user_message("Where is the sun?")
    assert one.generate(max_length=6, seed=2) == other.generate(max_length=6, seed=2)
