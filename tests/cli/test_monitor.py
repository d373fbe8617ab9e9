"""`highnoon monitor`: which run, what it prints, what it writes, how it ends."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import threading
import time

import pytest

from highnoon.cli import monitor
from highnoon.cli.__main__ import main


def write_run(folder, *losses, ended=False, when=None):
    folder.mkdir(parents=True, exist_ok=True)
    lines = [{"event": "train_begin", "step": 0, "time": 1.0, "total_steps": 100, "vocab_size": 100}]
    for step, loss in enumerate(losses, start=1):
        lines.append(
            {"event": "log", "step": 20 * step, "stage": "a", "time": 1.0 + step, "train/loss": loss}
        )
    lines += [{"event": "evaluation", "step": 20, "stage": "a", "time": 9.0, "val/loss": 3.5}]
    lines += [{"event": "train_end", "step": 100}] if ended else []
    path = folder / "metrics.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    if when is not None:
        os.utime(path, (when, when))
    return path


def test_one_page_is_printed_with_the_alerts_of_the_run(tmp_path, capsys):
    write_run(tmp_path / "run", 4.0, 9.0)
    assert main(["monitor", "--log-dir", str(tmp_path / "run"), "--once"]) == 0
    printed = capsys.readouterr().out
    assert "step 40 of 100" in printed and "high_loss" in printed and "validation loss" in printed


def test_of_several_runs_the_newest_is_taken_and_named(tmp_path, capsys):
    write_run(tmp_path / "logs" / "old", 4.0, when=1000)
    write_run(tmp_path / "logs" / "new", 5.0, when=2000)
    write_run(tmp_path / "logs" / "older", 6.0, when=500)
    for folder in (tmp_path / "logs", tmp_path):
        assert main(["monitor", "--log-dir", str(folder), "--once"]) == 0
        printed = capsys.readouterr().out
        assert (
            f"{tmp_path / 'logs' / 'new' / 'metrics.jsonl'}, the last written of 3 runs"
            in printed.replace("\n", " ")
        )
        assert "5.0000" in printed


@pytest.mark.parametrize(
    ("name", "reason"), [("absent", "no such folder"), ("empty", "no metrics.jsonl in it")]
)
def test_without_a_run_there_is_one_line_of_error(tmp_path, capsys, name, reason):
    (tmp_path / "empty").mkdir()
    assert main(["monitor", "--log-dir", str(tmp_path / name), "--once"]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and f"no run in {tmp_path / name}: {reason}" in error


def test_csv_and_png_are_written(tmp_path, capsys):
    pytest.importorskip("matplotlib", reason="needs highnoon[plots]")
    path = write_run(tmp_path / "run", 4.0, 3.0)
    table = tmp_path / "out" / "metrics.csv"
    assert main(["monitor", "--log-dir", str(path.parent), "--once", "--plot", "--export", str(table)]) == 0
    assert path.with_name("metrics.png").read_bytes().startswith(b"\x89PNG")
    with table.open() as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["event"], row["step"], row["train/loss"], row["val/loss"]) for row in rows] == [
        ("log", "20", "4.0", ""),
        ("evaluation", "20", "", "3.5"),
        ("log", "40", "3.0", ""),
    ]
    printed = capsys.readouterr().out
    assert f"wrote {path.with_name('metrics.png')}" in printed and f"wrote {table}" in printed


def test_nothing_is_written_unless_asked_for(tmp_path):
    path = write_run(tmp_path / "run", 4.0)
    before = path.read_bytes()
    assert main(["monitor", "--log-dir", str(path.parent), "--once", "--no-plot"]) == 0
    assert [entry.name for entry in path.parent.iterdir()] == ["metrics.jsonl"]
    assert path.read_bytes() == before


def test_ascii_prints_ascii(tmp_path, capsys):
    path = write_run(tmp_path / "run", 4.0, 9.0)
    main(["monitor", "--log-dir", str(path.parent), "--once", "--ascii"])
    assert capsys.readouterr().out.replace(str(path), "").isascii()


def test_a_terminal_that_knows_no_unicode_gets_ascii(tmp_path):
    write_run(tmp_path / "run", 4.0, 9.0)
    command = [sys.executable, "-m", "highnoon.cli", "monitor", "--log-dir", str(tmp_path / "run")]
    environment = os.environ | {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    done = subprocess.run(command, capture_output=True, env=environment, timeout=60)
    assert done.returncode == 0, done.stderr
    assert b"high_loss" in done.stdout and done.stdout.isascii()


def test_rules_of_the_command_line_are_judged_and_a_bad_one_is_refused(tmp_path, capsys):
    write_run(tmp_path / "run", 4.0, 3.0)
    arguments = ["monitor", "--log-dir", str(tmp_path / "run"), "--once", "--rule"]
    assert main([*arguments, "train/loss > 3.5"]) == 0
    assert "train/loss > 3.5, over" in capsys.readouterr().out
    assert main([*arguments, "train/los > 3.5"]) == 1
    assert "did you mean `train/loss`" in capsys.readouterr().err


def test_the_live_page_waits_for_a_run_follows_it_and_ends_with_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich takes the output for a terminal
    monkeypatch.setenv("COLUMNS", "120")
    folder = tmp_path / "logs" / "run"

    def train():
        time.sleep(0.15)
        write_run(folder, 4.0)
        time.sleep(0.15)
        with (folder / "metrics.jsonl").open("a") as stream:
            stream.write(
                json.dumps({"event": "log", "step": 80, "stage": "a", "time": 5.0, "train/loss": 1.25}) + "\n"
            )
            stream.write(json.dumps({"event": "train_end", "step": 80}) + "\n")

    training = threading.Thread(target=train)
    training.start()
    assert main(["monitor", "--log-dir", str(tmp_path / "logs"), "--refresh", "0.05"]) == 0
    training.join()
    printed = capsys.readouterr().out
    assert "waiting for a run" in printed
    assert "1.2500" in printed and "ended" in printed


def test_the_page_costs_no_tensorflow(tmp_path):
    write_run(tmp_path / "run", 4.0)
    program = (
        "import sys; from highnoon.cli.__main__ import main; "
        f"main(['monitor', '--log-dir', {str(tmp_path / 'run')!r}, '--once']); "
        "sys.exit(bool({'tensorflow', 'keras', 'matplotlib', 'numpy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=60).returncode == 0


def test_a_refresh_of_nothing_is_refused(capsys):
    assert main(["monitor", "--refresh", "0"]) == 1
    assert "`--refresh` must be above 0" in capsys.readouterr().err


def test_the_verb_looks_into_logs_by_default(tmp_path, monkeypatch, capsys):
    write_run(tmp_path / "logs" / "run", 4.0)
    monkeypatch.chdir(tmp_path)
    assert main(["monitor", "--once"]) == 0
    assert monitor.SUMMARY and "training loss" in capsys.readouterr().out


def test_an_export_does_not_replace_the_metrics_of_the_run(tmp_path, capsys):
    metrics = write_run(tmp_path / "logs", 4.0, 5.0)
    (tmp_path / "link.csv").symlink_to(metrics)
    before = metrics.read_bytes()
    for export in (metrics, tmp_path / "link.csv"):
        assert main(["monitor", "--log-dir", str(tmp_path), "--once", "--export", str(export)]) == 1
        assert "must not name the run's own metrics file" in capsys.readouterr().err
    assert metrics.read_bytes() == before
