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


def test_without_arguments_the_newest_run_here_is_shown(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["monitor", "--once"]) == 1
    assert "no run in logs: no such folder" in capsys.readouterr().err
    write_run(tmp_path / "logs" / "2026-01-01_000000_a", 4.0, when=1000)
    write_run(tmp_path / "my-run" / "logs" / "2026-01-02_000000_b", 5.0, when=2000)
    write_run(tmp_path / "other" / "deeper" / "logs" / "c", 6.0, when=3000)
    assert main(["monitor"]) == 0
    printed = capsys.readouterr().out
    assert (
        "5.0000" in printed and "2026-01-02_000000_b" in printed and "the last written of 2 runs" in printed
    )


def test_a_run_is_found_by_its_folder_its_name_or_its_id(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    path = write_run(tmp_path / "logs" / "2026-01-01_000000_first-try", 4.0, when=1000)
    write_run(tmp_path / "logs" / "0123abcd", 5.0, when=2000)
    first = {"event": "train_begin", "step": 0, "run_name": "first try", "run_id": "3fa2c1d8"}
    path.write_text(json.dumps(first) + "\n" + path.read_text())
    os.utime(path, (1000, 1000))
    names = ["first try", "3fa2c1d8", path.parent.name, str(path.parent)]
    for words in [*([name] for name in names), ["first try", "--log-dir", "logs"]]:
        assert main(["monitor", *words]) == 0
        assert "4.0000" in capsys.readouterr().out
    assert main(["monitor", "0123abcd"]) == 0
    assert "5.0000" in capsys.readouterr().out
    assert main(["monitor", "second try", "--once"]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "'second try' is neither a folder nor the name of a run" in error
    assert "the latest runs here are '0123abcd'" in error


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


def test_an_export_may_have_the_names_of_the_guide(tmp_path, capsys):
    metrics = {
        "train/loss": 2.0,
        "train/grad_norm": 0.5,
        "activation/firing_rate": 0.1,
        "train/task_loss/bash_command": 3.0,
        "train/tokens_per_second": 9.0,
    }
    lines = [{"event": "log", "step": 1, **metrics}, {"event": "evaluation", "step": 1, "val/loss": 2.5}]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    table = tmp_path / "table.csv"
    command = ["monitor", "--log-dir", str(tmp_path), "--once", "--names", "hatching"]
    assert main([*command, "--export", str(table)]) == 0
    header = table.read_text().splitlines()[0].split(",")
    assert {"train_loss", "val_loss", "grad_norm", "firing_rate", "task_loss_bash_command"} < set(header)
    assert "train/tokens_per_second" in header and "train/loss" not in header
    assert main(command) == 1
    assert "--names is for --export FILE" in capsys.readouterr().err


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


def test_the_original_names_of_options_and_metrics_are_understood(tmp_path, capsys):
    lines = [
        {
            "step": step,
            "loss": 3.0,
            "grad_norm_total": 1.0,
            "firing_rate": 0.002,
            "task_loss_bash_command": 2.5,
        }
        for step in (50, 100)
    ]
    path = tmp_path / "logs" / "metrics.jsonl"
    path.parent.mkdir()
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    table = tmp_path / "metrics.csv"
    command = ["monitor", "--log-dir", str(path.parent), "--once", "--no-plot", "--refresh", "5"]
    rule = "task_loss_bash_command > 2"
    assert main([*command, "--export", str(table), "--rule", rule]) == 0
    page = capsys.readouterr().out
    assert "loss, bash_command" in page and "dead_neurons" in page and rule in page
    with table.open() as stream:
        (row, _) = csv.DictReader(stream)
    assert row["train/task_loss/bash_command"] == "2.5" and row["activation/firing_rate"] == "0.002"
    pytest.importorskip("matplotlib", reason="needs highnoon[plots]")
    assert main(["monitor", "--log-dir", str(path.parent), "--once", "--plot"]) == 0
    assert path.with_name("metrics.png").exists()
