"""The verbs from beginning to end, on small text: train, resume, generate, chat, evaluate, models."""

from __future__ import annotations

import io
import json
import pathlib
import signal
import subprocess
import sys

import pytest

from highnoon.cli.__main__ import main

TINY = (
    "--preset highnoon-nano --model.vocab_size 300 --model.embedding_dim 32 --model.num_reasoning_blocks 1 "
    "--model.max_seq_length 64 --training.learning_rate 3e-3 --training.warmup_steps 1"
).split()


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> pathlib.Path:
    """A folder of texts, and a model trained on them by the command line."""
    folder = tmp_path_factory.mktemp("verbs")
    (folder / "texts").mkdir()
    for number in range(80):
        (folder / "texts" / f"{number}.txt").write_text(f"Noon {number}: the sun stands high.\n" * 12)
    words = ["train", "--data", f"{folder}/texts", "--steps", "6", "--output", f"{folder}/run", *TINY]
    assert main(words) == 0
    return folder


@pytest.mark.slow
def test_training_leaves_a_model_checkpoints_and_logs(folder):
    assert (folder / "run" / "model" / "model.safetensors").is_file()
    assert (folder / "run" / "model" / "tokenizer.json").is_file()
    assert (folder / "run" / "checkpoints" / "latest").is_file()
    assert list((folder / "run" / "logs").rglob("metrics.jsonl"))
    config = json.loads((folder / "run" / "model" / "config.json").read_text())
    assert config["model"]["embedding_dim"] == 32


@pytest.mark.slow
def test_the_same_seed_generates_the_same_text(folder, capsys):
    words = ["generate", "--model", f"{folder}/run/model", "--prompt", "Noon"]
    words += ["--max-length", "8", "--seed", "3"]
    printed = [(main(words), capsys.readouterr().out)[1] for _ in range(2)]
    assert printed[0].startswith("Noon") and len(printed[0]) > len("Noon\n")
    assert printed[0] == printed[1]


@pytest.mark.slow
def test_a_prompt_comes_from_standard_input(folder, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("The sun"))
    words = ["generate", "--model", f"{folder}/run/model", "--prompt", "-", "--max-length", "4"]
    assert main(words) == 0
    assert capsys.readouterr().out.startswith("The sun")


@pytest.mark.slow
def test_chat_answers_each_line_and_ends_with_the_input(folder, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("Hello\n\nWhere is the sun?\n"))
    assert main(["chat", "--model", f"{folder}/run/model", "--max-length", "4", "--temperature", "0"]) == 0
    assert "Ctrl-D ends" in capsys.readouterr().err


@pytest.mark.slow
def test_evaluation_counts_every_byte_of_the_data_next_to_gzip(folder, capsys):
    words = ["evaluate", "--model", f"{folder}/run/model", "--data", f"{folder}/texts", "--json"]
    assert main(words) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["num_bytes"] == sum(len(path.read_bytes()) for path in (folder / "texts").iterdir())
    assert 0 < figures["gzip_bits_per_byte"] < 1
    assert main([*words[:-1], "--held-out"]) == 0
    assert "gzip -9" in capsys.readouterr().out


@pytest.mark.slow
def test_a_recipe_trains_its_stages_and_a_finished_run_resumes_to_nothing(folder, capsys, monkeypatch):
    monkeypatch.chdir(folder)
    pathlib.Path("run.yaml").write_text(
        "preset: highnoon-nano\n"
        "model: {vocab_size: 300, embedding_dim: 32, num_reasoning_blocks: 1, max_seq_length: 64}\n"
        "training: {learning_rate: 1e-3, warmup_steps: 1}\n"
        "stages:\n"
        "  - {name: easy, datasets: texts/*.txt, steps: 4,\n"
        "     scheduler: {strategy: size_based, unit: step, num_stages: 2, warmup_epochs: 2}}\n"
        "  - {name: mixed, datasets: [[texts/1*.txt, 0.5], [texts/2*.txt, 0.5]], steps: 2,\n"
        "     overrides: {batch_size: 4}}\n"
        "output: from-file\n"
    )
    assert main(["train", "--config", "run.yaml"]) == 0
    assert "6 steps in all" in capsys.readouterr().out
    weights = pathlib.Path("from-file/model/model.safetensors").read_bytes()
    assert main(["train", "--config", "run.yaml", "--resume"]) == 0
    assert pathlib.Path("from-file/model/model.safetensors").read_bytes() == weights


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--data", "no/such/folder"], "no/such/folder"),
        (["--data", "empty.txt"], "empty.txt"),
        (["--data", "broken.jsonl"], "broken.jsonl"),
        (["--data", "latin.txt"], "UTF-8"),
        (["--data", "texts", "--preset", "highnoon-nanoo"], "did you mean `highnoon-nano`"),
        (["--data", "texts", "--steps", "0"], "`steps` must be at least 1"),
        (["--data", "texts", "--resume", "texts"], "checkpoint"),
        (["--config", "missing.yaml"], "there is no recipe or run at missing.yaml"),
        (["--data", "texts", "--preset", "highnoon-20b"], "GiB"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(folder, tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "texts").symlink_to(folder / "texts")
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "broken.jsonl").write_text('{"text": "fine"}\n{"txt": "not"}\n')
    (tmp_path / "latin.txt").write_bytes("Größe".encode("latin-1") * 50)
    before = sorted(tmp_path.iterdir())
    tiny = [] if "--preset" in words else TINY
    capsys.readouterr()
    assert main(["train", *words, *tiny]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1
    assert message in error
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.slow
def test_ctrl_c_saves_the_run_and_the_same_command_resumes_it(folder, tmp_path):
    words = ["train", "--data", f"{folder}/texts", "--steps", "40", "--output", str(tmp_path / "run"), *TINY]
    command = [sys.executable, "-u", "-m", "highnoon.cli", *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while "step 1/40" not in process.stdout.readline():
        assert process.poll() is None, process.stderr.read()
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "the run is saved in" in error and "the same command with --resume" in error
    assert "Traceback" not in error and not (tmp_path / "run" / "model").exists()
    assert main([*words, "--resume"]) == 0
    assert (tmp_path / "run" / "model" / "model.safetensors").is_file()


def test_the_table_of_models_names_every_preset_with_its_figures(capsys):
    from highnoon.config import PRESETS

    assert main(["models", "--json"]) == 0
    table = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert set(table) == set(PRESETS)
    assert all(
        row["active"] <= row["total"] and row["bytes_to_run"] - row["cache_bytes"] < row["bytes_to_train"]
        for row in table.values()
    )
    assert main(["models"]) == 0
    printed = capsys.readouterr().out
    assert all(f"{row['total']:,}" in printed for row in table.values())
    nano = next(line for line in printed.splitlines() if line.startswith("hatching-nano"))
    assert nano.split()[1:7] == ["1,640,192", "1,640,192", "78.1", "M", "12.0", "MiB"]
    assert table["hatching-nano"]["flops_per_token"] == pytest.approx(78.1e6, rel=1e-3)


def test_a_preset_is_shown_layer_by_layer_without_building_it(capsys):
    assert main(["models", "--show", "highnoon-20b"]) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = [line.split() for line in lines if line[-1:].isdigit()]
    counts = {row[0]: int(row[-1].replace(",", "")) for row in rows}
    total = int(lines[0].split(": ")[1].split()[0].replace(",", ""))
    assert set(counts) == {"embedding", "attention", "moe", "norm,"}
    assert counts["embedding"] + 24 * 2 * (counts["attention"] + counts["moe"]) + counts["norm,"] == total
    assert main(["models", "--show", "hatching-nano"]) == 0
    shown = capsys.readouterr().out
    assert (
        "reasoning block x 6, one set of weights: bdh(multiplier=32)" in shown and "norm, head" not in shown
    )
    assert "78,058,752 FLOPs to train on a token" in shown and "cache of one sequence 12.0 MiB" in shown
    assert main(["models", "--show", "highnoon-nosuch"]) == 1
