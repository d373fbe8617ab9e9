"""Reading a metrics file: at once, while it grows, after kills."""

from __future__ import annotations

import json

import pytest

from highnoon.monitoring import MetricsReader, read_metrics


def line(step: int, event: str = "log", **values) -> dict:
    return {"event": event, "step": step, "stage": "a", **values}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "metrics.jsonl"


def append(path, *lines) -> None:
    with path.open("a") as stream:
        stream.writelines(json.dumps(values) + "\n" for values in lines)


def steps(lines) -> list[int]:
    return [values["step"] for values in lines]


def test_steps_that_were_lost_and_never_taken_again_are_gone(path):
    append(path, line(0, "train_begin"), line(900), line(1000), line(1050), line(1050, "evaluation"))
    append(path, line(1000, "resume"), line(1100))
    assert steps(read_metrics(path)) == [900, 1000, 1100]


def test_a_step_taken_again_counts_once_with_its_last_figures(path):
    append(path, line(1, loss=9.0), line(2, loss=9.0), line(1, "resume"), line(2, loss=1.0))
    assert [(values["step"], values["train/loss"]) for values in read_metrics(path)] == [(1, 9.0), (2, 1.0)]


def test_alerts_of_one_step_are_told_apart_by_their_rules(path):
    append(path, line(5, "alert", rule="a"), line(5, "alert", rule="b"), line(5, "alert", rule="a"))
    assert [values["rule"] for values in read_metrics(path)] == ["a", "b"]


def test_figures_before_a_run_went_back_by_itself_are_gone_and_what_was_reported_them_stays(path):
    append(path, line(10), line(20), line(30), line(30, "alert", rule="a"), line(30, "step_skipped"))
    append(path, line(10, "fault_answered", answer="cut_learning_rate", reason="x"))
    assert steps(read_metrics(path)) == [10, 10, 20, 30, 30, 30]
    append(path, line(10, "fault_answered", answer="go_back", reason="y"), line(40))
    assert [(values["event"], values["step"]) for values in read_metrics(path)] == [
        ("log", 10),
        ("fault_answered", 10),
        ("fault_answered", 10),
        ("alert", 30),
        ("step_skipped", 30),
        ("log", 40),
    ]


def test_a_run_that_begins_again_at_zero_drops_the_one_before(path):
    append(path, line(0, "train_begin"), line(100), line(0, "train_begin"), line(50))
    assert steps(read_metrics(path)) == [50]


@pytest.mark.parametrize(
    "torn", ['{"event": "log", "step": 2, "tr', '{"event": {"log"}', "}{", "[1]", "7", '{"a": 1}', "\x00"]
)
def test_a_torn_line_anywhere_is_skipped(path, torn):
    append(path, line(1))
    with path.open("a") as stream:
        stream.write(torn + "\n")
    append(path, line(3))
    with path.open("a") as stream:
        stream.write(torn)
    assert steps(read_metrics(path)) == [1, 3]


def test_each_look_reads_only_what_is_new(path):
    append(path, line(1), line(2))
    reader = MetricsReader(path)
    assert steps(reader.poll()) == [1, 2]
    assert reader.poll() == []
    blank = path.stat().st_size
    append(path, line(3))
    with path.open("r+b") as stream:  # what was read before may rot: nobody reads it again
        stream.write(b"\n" * blank)
    assert steps(reader.poll()) == [3]
    assert steps(reader.lines) == [1, 2, 3]


def test_a_line_that_is_half_written_is_taken_when_it_is_whole(path):
    reader, text = MetricsReader(path), json.dumps(line(7))
    append(path, line(6))
    for cut in range(1, len(text)):
        path.write_text(json.dumps(line(6)) + "\n" + text[:cut])
        assert steps(reader.poll()) == ([6] if cut == 1 else [])
    path.write_text(json.dumps(line(6)) + "\n" + text)
    assert steps(reader.poll()) == [7]
    append(path)
    with path.open("a") as stream:
        stream.write("\n")
    append(path, line(8))
    assert steps(reader.poll()) == [8]


def test_a_reader_says_when_lines_that_it_gave_do_not_count_any_more(path):
    append(path, line(1), line(2))
    reader = MetricsReader(path)
    reader.poll()
    before = reader.generation
    append(path, line(3))
    reader.poll()
    assert reader.generation == before
    append(path, line(1, "resume"))
    reader.poll()
    assert reader.generation > before
    assert steps(reader.lines) == [1]


def test_a_file_that_was_replaced_is_read_from_its_beginning(path):
    append(path, line(1), line(2))
    reader = MetricsReader(path)
    reader.poll()
    path.write_text(json.dumps(line(9)) + "\n")
    assert steps(reader.poll()) == steps(reader.lines) == [9]


def test_the_reader_knows_where_the_run_began_and_whether_it_ended(path):
    append(path, line(0, "train_begin", total_steps=10), line(5))
    reader = MetricsReader(path)
    reader.poll()
    assert (reader.beginning["total_steps"], reader.is_ended) == (10, False)
    append(path, {"event": "train_end", "step": 10})
    reader.poll()
    assert reader.is_ended
    append(path, line(10, "resume", total_steps=20))
    reader.poll()
    assert (reader.beginning["total_steps"], reader.is_ended) == (20, False)


def test_lines_of_other_programs_are_read_under_our_names(path):
    append(
        path,
        {"step": 3, "train_loss": 2.0, "lr": 0.1, "grad_norm_total": 4.0},
        {"step": 3, "eval_val_loss": 2.5},
    )
    log, evaluation = read_metrics(path)
    assert log == {
        "event": "log",
        "step": 3,
        "train/loss": 2.0,
        "train/learning_rate": 0.1,
        "train/grad_norm": 4.0,
    }
    assert evaluation == {"event": "evaluation", "step": 3, "val/loss": 2.5}
