"""Whatever a metrics file or a rule holds, the monitor says so in a line and continues."""

from __future__ import annotations

import csv
import json
import math
import os
import resource
import time

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from highnoon.callbacks import Alerts
from highnoon.monitoring import MetricsReader, read_metrics
from highnoon.monitoring.metrics.export_csv import export_csv
from highnoon.monitoring.metrics.find_run import find_runs
from highnoon.monitoring.views.plot_run import plot_run
from highnoon.monitoring.views.run_page import page_text
from highnoon.monitoring.views.run_view import RunView

GOOD = (
    {"event": "train_begin", "step": 0, "time": 1.0, "total_steps": 9, "num_parameters": 5, "vocab_size": 7},
    {
        "event": "log",
        "step": 3,
        "time": 2.0,
        "stage": "a",
        "train/loss": 2.5,
        "train/grad_norm": 1.0,
        "x/y": 1,
    },
    {"event": "evaluation", "step": 4, "time": 3.0, "stage": "a", "val/loss": 2.0},
    {"event": "epoch_end", "step": 5, "stage": "a", "epoch": 1, "loss": 2.0, "val_loss": None},
    {
        "event": "alert",
        "step": 5,
        "rule": "plateau",
        "severity": "warning",
        "message": "m",
        "advice": "a",
        "value": 1.0,
        "action": "event",
        "stage": "a",
    },
    {"event": "fault_answered", "step": 2, "answer": "go_back", "reason": "r", "learning_rate_factor": 0.5},
    {"event": "step_skipped", "step": 6, "in_a_row": 1, "loss": math.nan, "grad_norm": math.inf},
    {"event": "resume", "step": 4, "time": 4.0, "total_steps": 9},
    {"event": "train_end", "step": 9},
)

leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from([10**400, -1, 2**60, 1e308, -1e308, "log", "evaluation", "=1", "\x1b[2J", "\ud800", ""]),
)
values = st.recursive(
    leaves,
    lambda parts: st.lists(parts, max_size=3) | st.dictionaries(st.text(max_size=5), parts, max_size=3),
    max_leaves=5,
)
names = st.sampled_from(
    sorted({name for line in GOOD for name in line} | {"loss", "lr", "a/\x1b[2J", "=a/b"})
)


@st.composite
def mutated(draw) -> bytes:
    line = dict(draw(st.sampled_from(GOOD)))
    for name, value in draw(st.dictionaries(names, values, max_size=3)).items():
        line[name] = value
    for name in draw(st.lists(names, max_size=1)):
        line.pop(name, None)
    text = json.dumps(line).encode()
    if draw(st.booleans()):
        return text
    position = draw(st.integers(0, len(text)))
    return text[:position] + draw(st.binary(max_size=2)) + text[position + draw(st.integers(0, 3)) :]


lines = st.one_of(mutated(), values.map(lambda value: json.dumps(value).encode()), st.binary(max_size=20))


@settings(
    max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None
)
@given(parts=st.lists(st.lists(lines, min_size=5, max_size=12), min_size=1, max_size=2))
def test_any_lines_give_a_page_curves_and_a_table(parts, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    path = folder / "metrics.jsonl"
    path.touch()
    view = RunView(path, ["train/grad_norm + step > 1"])
    for part in parts:
        with path.open("ab") as stream:
            stream.write(b"\n".join(part))
        view.update()
        page = page_text(view, "a note", now=10.0)
        assert "\x1b" not in page
        assert all(isinstance(value, float) for points in view.series.values() for _, value in points)
    export_csv(view.lines(), folder / "metrics.csv")
    (folder / "metrics.csv").read_text(encoding="utf-8")


def write(tmp_path, *texts: bytes | dict):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(
        b"".join((text if isinstance(text, bytes) else json.dumps(text).encode()) + b"\n" for text in texts)
    )
    return path


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"7", "line 2: expected an object; received an integer"),
        (b"[1]", "line 2: expected an object; received a list"),
        (b'{"event": "log", "step": 3', "line 2 is not valid JSON"),
        (b"\xff\xfe{}", "line 2 is not valid JSON"),
        (b"\x00\x00", "line 2 is not valid JSON"),
        (b"[" * 100_000, "line 2 nests"),
        (b'{"a": ' + b"[" * 30 + b"]" * 30 + b"}", "line 2 nests"),
        ({"event": "log"}, "line 2: expected `step` to be an integer from 0; received nothing"),
        ({"step": -1}, "received -1"),
        ({"step": 2**53 + 1}, "expected `step`"),
        ({"step": math.nan}, "received nan"),
        ({"step": 3.0}, "received 3.0"),
        ({"step": True}, "received True"),
        ({"step": 1, "event": ["log"]}, "expected `event` to be a string; received ['log']"),
        ({"step": 1, "stage": 3}, "expected `stage` to be a string; received 3"),
        ({"step": 1, "time": "now"}, "expected `time` to be seconds since the epoch; received 'now'"),
        ({"step": 1, "time": math.nan}, "expected `time`"),
        ({"step": 1, "train/loss": "2.5"}, "expected `train/loss` to be a number; received '2.5'"),
        ({"step": 1, "loss": [2.5]}, "expected `train/loss` to be a number; received [2.5]"),
        ({"step": 1, "my/metric": 10**400}, "expected `my/metric` to be a number; received an integer of"),
        ({"event": "train_begin", "step": 0, "total_steps": "9"}, "expected `total_steps`"),
        ({"event": "train_begin", "step": 0, "vocab_size": 0}, "expected `vocab_size`"),
        ({"event": "alert", "step": 1, "severity": {}}, "expected `severity` to be a string; received {}"),
        ({"event": "fault_answered", "step": 1, "reason": [1]}, "expected `reason` to be a string"),
        (b'{"step": 1, "x/y": "' + b"x" * 2**20 + b'"}', "line 2 has more than 1,048,576 bytes"),
    ],
)
def test_a_line_of_another_shape_is_skipped_counted_and_explained(tmp_path, text, reason):
    path = write(tmp_path, GOOD[1], text, {**GOOD[1], "step": 4})
    reader = MetricsReader(path)
    assert [line["step"] for line in reader.poll()] == [3, 4]
    assert reader.num_skipped == 1
    assert reader.first_reason.startswith("line 2") and reason in reader.first_reason
    view = RunView(path)
    view.update()
    assert "1 lines of the file skipped; the first: line 2" in page_text(view)


def test_null_is_absent_and_a_half_written_last_line_is_not_counted(tmp_path):
    nulls = {"event": None, "stage": None, "time": None, "step": 4, "train/loss": None, "vocab_size": None}
    path = write(tmp_path, nulls, {"event": "train_begin", "step": 4, "time": None, "total_steps": None})
    with path.open("ab") as stream:
        stream.write(b'{"event": "log", "st')
    reader, view = MetricsReader(path), RunView(path)
    assert [line["event"] for line in reader.poll()] == ["log"] and reader.num_skipped == 0
    view.update()
    assert view.seconds_left() is None and "skipped" not in page_text(view)


def test_a_line_without_end_takes_bounded_memory_and_hides_no_other(tmp_path):
    path = tmp_path / "metrics.jsonl"
    with path.open("wb") as stream:
        stream.write(json.dumps(GOOD[1]).encode() + b"\n")
        stream.truncate(200 * 2**20)  # NULs, which take no room on the disk
    reader, before = MetricsReader(path), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert [line["step"] for line in reader.poll()] == [3] and reader.num_skipped == 1
    with path.open("ab") as stream:
        stream.write(b"\n" + json.dumps(GOOD[2]).encode() + b"\n")
    assert [line["step"] for line in reader.poll()] == [4] and reader.num_skipped == 1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 60_000


def test_a_long_file_is_thinned_out_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr("highnoon.monitoring.views.run_view.MAX_BYTES", 20_000)
    path = write(tmp_path, *({**GOOD[1], "step": step} for step in range(1, 2001)), GOOD[4])
    view = RunView(path)
    view.update()
    kept = [step for step, _ in view.series["train/loss"]]
    assert 50 < len(kept) < 300 and kept == sorted(set(kept)) and kept[-1] > 1900 and view.alerts
    assert f"{2000 - len(kept):,} lines of the long file dropped" in page_text(view)
    assert len(read_metrics(path)) == 2001


@pytest.mark.parametrize("event", ["resume", "fault_answered"])
def test_going_back_often_takes_time_in_proportion_to_the_file(tmp_path, event):
    num = 10_000
    texts = [{"event": ("log", "alert")[step % 2], "step": step, "rule": str(step)} for step in range(num)]
    texts += [
        {"event": event, "answer": "go_back", "reason": str(step), "step": num - step} for step in range(num)
    ]
    view, began = RunView(write(tmp_path, *texts)), time.monotonic()
    view.update()
    page_text(view)
    assert time.monotonic() - began < 10


def test_names_of_metrics_are_bounded(tmp_path):
    texts = ({"step": step, **{f"m/{step}-{number}": 1 for number in range(100)}} for step in range(20))
    reader = MetricsReader(write(tmp_path, *texts))
    assert len(reader.poll()) == 10 and reader.num_skipped == 10
    assert "at most 1,000 names" in reader.first_reason


def test_texts_that_a_spreadsheet_would_compute_are_neutral_and_numbers_stay(tmp_path):
    dangerous = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", " =1", "\uff1d1", "\n-1"]
    rows = [
        {"event": "log", "step": step, "stage": text, "=cmd/x": -1.5, "a/b": text}
        for step, text in enumerate(dangerous)
    ]
    rows.append({"event": "log", "step": 99, "stage": "a-b=c", "=cmd/x": 10, "a/b": None, "c/d": ["=1"]})
    export_csv(rows, tmp_path / "a.csv")
    with (tmp_path / "a.csv").open(newline="") as stream:
        header, *table = csv.reader(stream)
    assert header == ["event", "step", "stage", "'=cmd/x", "a/b", "c/d"]
    assert [row[2] for row in table] == [*(f"'{text}" for text in dangerous), "a-b=c"]
    assert [row[3] for row in table] == ["-1.5"] * len(dangerous) + ["10"]
    assert table[-1][4:] == ["", "['=1']"]


def test_extreme_figures_are_drawn(tmp_path):
    pytest.importorskip("matplotlib", reason="needs highnoon[plots]")
    extremes = [1e308, -1e308, math.nan, math.inf, -math.inf, 0.0, 5e-324, -1.0]
    points = [(step * 2**50, value) for step, value in enumerate(extremes)]
    series = {"train/loss": points, "val/loss": points[2:3], "train/grad_norm": points}
    assert plot_run(series, tmp_path / "a.png").stat().st_size > 0


def test_what_is_no_file_is_no_run(tmp_path):
    (tmp_path / "a" / "metrics.jsonl").mkdir(parents=True)
    (tmp_path / "b").mkdir()
    os.mkfifo(tmp_path / "b" / "metrics.jsonl")
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "metrics.jsonl").symlink_to("nowhere")
    assert find_runs(tmp_path) == []


RULES = ("train/loss > 4 for 3 -> stop", "step >= 2", "not isfinite(val/loss)", "abs(train/loss) + 1 > 2")
keys = st.sampled_from(["when", "for", "action", "severity", "name", "advice", "othr"])
rule_texts = st.one_of(
    st.text(max_size=30),
    st.sampled_from(RULES).flatmap(
        lambda text: st.tuples(st.integers(0, len(text)), st.text("()>nan-+*/ 1e9\n\x00", max_size=4)).map(
            lambda cut: text[: cut[0]] + cut[1] + text[cut[0] :]
        )
    ),
)
rule_entries = st.one_of(
    rule_texts,
    values,
    st.dictionaries(keys, values | rule_texts, max_size=3).map(lambda entry: {"when": RULES[0], **entry}),
)


@settings(
    max_examples=500, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None
)
@given(entry=rule_entries, where=st.sampled_from(["rule", "rule", "rule", "rules", "actions", "vocab_size"]))
def test_any_rule_is_accepted_or_refused_in_one_line(entry, where):
    try:
        if where == "rule":
            alerts = Alerts([entry])
        elif where == "rules":
            alerts = Alerts(rules=entry)
        elif where == "actions":
            alerts = Alerts(actions=entry)
        else:
            alerts = Alerts(vocab_size=entry)
    except ValueError as error:
        message = str(error)
        assert "\n" not in message and len(message) < 3000
        message.encode("utf-8")
    else:
        for step in (1, 2):
            alerts.on_event({"event": "log", "step": step, "stage": "a", "metrics": {"train/loss": 5.0}})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rules: 5", "`rules` must be a list of rules; received 5"),
        ("rules: train/loss > 1", "`rules` must be a list of rules; received 'train/loss > 1'"),
        ("rules: [null]", "a rule is a line or a mapping"),
        ("rules: [[train/loss > 1]]", "a rule is a line or a mapping"),
        ("rules: [{when: null}]", "a rule needs `when`"),
        ("rules: [{when: train/loss > 1, for: .nan}]", "`for` must be an integer number .* received nan"),
        ("rules: [{when: train/loss > 1, for: 0}]", "`for` must be an integer number"),
        ("rules: [{when: train/loss > 1, action: [stop]}]", "there is no action"),
        ("rules: [{when: train/loss > 1, severity: 3}]", "there is no severity"),
        ("rules: [{when: train/loss > 1, severity: {}}]", "there is no severity"),
        ("rules: [{when: train/loss > 1, name: 7}]", "`name` of a rule must be a string; received 7"),
        ("rules: [{when: train/loss > 1, advice: []}]", "`advice` of a rule must be a string"),
        ("rules: [{when: train/loss > 1, 3: 4}]", "there is no key of a rule `3`"),
        ("rules: [train/loss > 1e999]", "must not contain"),
        ("rules: [train/loss > nan]", "there is no metric `nan`"),
        ("actions: [plateau]", "`actions` must map"),
        ("actions: stop", "`actions` must map"),
        ("actions: {plateau: 3}", "there is no action `3`"),
        ("actions: {plateau: [stop]}", "there is no action"),
        ("actions: {3: stop}", "there is no rule `3`"),
        ("vocab_size: .nan", "`vocab_size` must be a whole number; received nan"),
        ("vocab_size: 0", "`vocab_size` must be at least 1; received 0"),
    ],
)
def test_wrong_alerts_of_a_run_file_are_refused_when_they_are_created(text, message):
    with pytest.raises(ValueError, match=message) as raised:
        Alerts(**yaml.safe_load(text))
    assert "\n" not in str(raised.value)


def test_nothing_after_a_key_of_alerts_is_nothing_given():
    Alerts(**yaml.safe_load("{rules: null, actions: null}"))


@pytest.mark.parametrize(
    "text",
    [
        "not " * 200 + "isfinite(train/loss)",
        "train/loss > " + "+".join("1" * 300),
        "(" * 300 + "step > 1",
        "train/loss" + " " * 50_000 + "> 1 x",
        "train/loss > " + "-" * 500 + "1",
        "9" * 5000 + " > step",
    ],
)
def test_a_rule_that_is_too_long_or_too_deep_is_refused_at_once(text):
    began = time.monotonic()
    with pytest.raises(ValueError) as raised:
        Alerts([text])
    assert time.monotonic() - began < 1 and len(str(raised.value)) < 500
