"""From a text file to a conversation by the command line alone: no flag, no manual."""

from __future__ import annotations

import io
import json
import os
import pathlib
import re
import subprocess
import sys

import pytest

from highnoon.cli.__main__ import main

WORDS = "sun moon star river stone field wind rain cloud bird fish tree leaf shade light noon".split()


def write_text(folder: pathlib.Path) -> None:
    """Writes a story of some pages, each a file, since a short file is one document."""
    folder.mkdir()
    for page in range(36):
        lines = [
            f"The {WORDS[(page + line) % 16]} asked the {WORDS[(page * line) % 16]} where the "
            f"{WORDS[(page + 3 * line) % 16]} sleeps at noon.\n"
            for line in range(4)
        ]
        (folder / f"{page:02}.txt").write_text("".join(lines))


@pytest.mark.slow
def test_a_text_becomes_a_model_to_chat_with(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HIGHNOON_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    monkeypatch.chdir(tmp_path)
    write_text(tmp_path / "story")

    assert main(["train", "--data", "stori"]) == 1
    assert "did you mean `story`" in capsys.readouterr().err

    command = [sys.executable, "-m", "highnoon.cli", "train", "--data", "story"]
    trained = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert trained.returncode == 0, trained.stderr
    printed = trained.stdout
    assert "model: highnoon-nano with a vocabulary of 512: " in printed and "length: " in printed
    assert "984,704 parameters, 591,488 of them for one token" in printed
    ours, gzip = map(float, re.search(r"bits per byte\s+([\d.]+)\s+\(gzip -9: ([\d.]+)\)", printed).groups())
    assert 0 < ours < 4 and gzip > 0

    next_commands = re.findall(r"^  highnoon (.*)$", printed.partition("Next:")[2], re.MULTILINE)
    assert [line.split()[0] for line in next_commands] == ["generate", "chat", "evaluate"]
    assert all("--model highnoon-run" in line for line in next_commands)

    capsys.readouterr()
    assert main(["evaluate", "--model", "highnoon-run", "--data", "story", "--held-out", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["bits_per_byte"] == pytest.approx(ours, abs=1e-3)
    words = ["--max-length", "8", "--seed", "1"]
    assert main(["generate", "--model", "highnoon-run", "--prompt", "The sun", *words]) == 0
    assert capsys.readouterr().out.startswith("The sun")
    monkeypatch.setattr("sys.stdin", io.StringIO("Where does the moon sleep?\n/exit\n"))
    assert main(["chat", "--model", "highnoon-run", *words]) == 0
    assert capsys.readouterr().out.strip()
    assert main(["export", "--model", "highnoon-run", "--output", "exported"]) == 0
    assert (tmp_path / "exported" / "model.safetensors").is_file()

    # The same command with --resume keeps the choice and takes no further step.
    assert main(["train", "--data", "story", "--resume"]) == 0
    printed = capsys.readouterr().out
    assert f"bits per byte   {ours:.3f}" in printed and "model: highnoon-nano" not in printed
