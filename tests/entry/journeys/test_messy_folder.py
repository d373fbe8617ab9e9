"""A folder as people have it is checked, prepared and trained on, by the command line alone."""

from __future__ import annotations

import gzip
import json
import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[3]


def _mess(folder: pathlib.Path) -> None:
    folder.mkdir()
    line = "Le café était fermé à Noël, où les élèves buvaient du thé.\n"
    (folder / "latin.txt").write_bytes("".join(f"{n}. {line}" for n in range(60)).encode("latin-1"))
    rows = "".join(f'{n},"Review {n}: a film about the sea, and the sun",{n % 5}\n' for n in range(60))
    (folder / "reviews.csv").write_text(",text,stars\n" + rows)
    good = "".join(json.dumps({"text": f"Record {n} of the sea and the sun"}) + "\n" for n in range(60))
    (folder / "records.jsonl").write_text(good + '{broken\n{"other": 1}\n{"text": 5}\n{"text": null}\n')
    (folder / "empty.txt").write_text("")
    (folder / "scan.pdf").write_bytes(b"%PDF-1.4 \0\0\0")
    (folder / "one-line.txt").write_text("the sea and the sun and the hills, " * 3000)
    (folder / "packed.jsonl.gz").write_bytes(gzip.compress(json.dumps({"text": "a packed text"}).encode()))


@pytest.mark.slow
def test_a_messy_folder_is_checked_prepared_and_trained(tmp_path: pathlib.Path) -> None:
    _mess(tmp_path / "texts")
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "HIGHNOON_CACHE": str(tmp_path / "cache"),
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "COLUMNS": "200",
    }

    def run(*words: str, code: int = 0) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "highnoon.cli", *words],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    # The first thing one tries says what to do.
    refused = run("data", "prepare", "texts", "--output", "prepared", "--vocab-size", "300", code=1)
    assert "highnoon data check" in refused and "--skip-bad" in refused and "Traceback" not in refused

    checked = run("data", "check", "texts", "--report", "bad.jsonl", code=1)
    assert "texts: 4 bad" in checked and "1  not JSON" in checked and "1  not read: *.pdf" in checked
    assert (
        "latin.txt" in checked and "encoding cp1252" in checked and "the index that pandas writes" in checked
    )
    report = [json.loads(line) for line in (tmp_path / "bad.jsonl").read_text().splitlines()]
    assert {(entry["file"], entry["line"]) for entry in report if entry["is_bad"]} == {
        ("texts/records.jsonl", 61),
        ("texts/records.jsonl", 62),
        ("texts/empty.txt", None),
        ("texts/latin.txt", 1),
    }
    assert "3 bad" in run("data", "check", "texts", "--encoding", "cp1252", code=1)

    options = ("--encoding", "cp1252", "--skip-bad")
    prepared = run("data", "prepare", "texts", "--output", "prepared", "--vocab-size", "300", *options)
    assert "not JSON 1 (texts/records.jsonl:61)" in prepared
    assert "café" in run("data", "inspect", "prepared", "--documents", "5")
    small = ("model.embedding_dim=16", "model.num_reasoning_blocks=1", "model.max_seq_length=64")
    train = ("train", "--data", "prepared", "--preset", "highnoon-nano", "--steps", "3", "--output", "run")
    run(*train, "model.vocab_size=300", "training.batch_size=4", *small)
    assert (tmp_path / "run" / "model" / "model.safetensors").exists()
    shown = run("data", "replay", "run", "--step", "2")
    assert "texts" in shown and "Traceback" not in shown
