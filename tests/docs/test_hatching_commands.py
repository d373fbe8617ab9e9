"""Every command of the Dragon Hatching guide has one here that does it: the table is executed."""

from __future__ import annotations

import json
import pathlib
import re
import shlex

import pytest

from highnoon.cli.__main__ import main, parse
from highnoon.training.recipes import check_sweep

ROOT = pathlib.Path(__file__).parents[2]
PAGE = ROOT / "docs/guides/hatching.md"
ROW = re.compile(r"^\| (.*?) \| `(.*?)` \|$", re.MULTILINE)
TASKS = ("text_completion", "function_call", "bash_command", "tool_use", "chain_of_thought")
TINY = [
    "model.n_layer=1",
    "model.n_embd=16",
    "model.n_head=2",
    "model.mlp_multiplier=2",
    "training.batch_size=2",
    "training.max_seq_len=128",
    "steps=2",
    "checkpoint_interval=1",
    "keep_checkpoints=20",
    "eval_interval=1",
    "evaluators=[]",
    "jit_compile=false",
    f"tasks={json.dumps({task: f'synthetic:{task}:60' for task in TASKS})}",
]
MORE = {
    "train": TINY,
    "synthesize": ["--count", "20"],
    "evaluate": ["--synthetic", "--limit", "2", "--max-length", "4"],
    "generate": ["--max-length", "60"],
}
pytestmark = pytest.mark.filterwarnings("ignore:.*no effect", "ignore:.*means bytes")


def commands() -> list[list[str]]:
    section = PAGE.read_text(encoding="utf-8").split("## Commands")[1]
    return [shlex.split(command) for _, command in ROW.findall(section)]


def of_highnoon() -> list[list[str]]:
    words = [line[1:] if "=" in line[0] else line for line in commands()]
    return [line[1:] for line in words if line[0] == "highnoon"]


def test_the_table_has_the_commands_of_the_guide_and_each_parses():
    verbs = [line[0] for line in of_highnoon()]
    assert {"data", "train", "monitor", "evaluate", "generate", "launch"} <= set(verbs) and len(verbs) >= 14
    for line in of_highnoon():
        parse(line)
        files = [word for word in line if word.endswith(".yaml")]
        assert all((ROOT / file).is_file() for file in files)
    assert all(line[0] in ("highnoon", "tensorboard", "wandb") or "=" in line[0] for line in commands())


@pytest.mark.slow
def test_each_command_of_the_table_does_its_work(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HIGHNOON_DATA", raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    pathlib.Path("recipes").symlink_to(ROOT / "recipes")
    for line in of_highnoon():
        verb = line[1] if line[0] == "data" else line[0]
        words = [word.replace("step_1000", "step_1") for word in line]
        if verb == "launch":
            words = ["launch", "--print-commands", *words[1:]]
        code = main([*words, *MORE.get(verb, [])])
        printed = capsys.readouterr()
        if verb == "stats":
            assert code == 1 and "highnoon data synthesize bash_command" in printed.err
            continue
        assert code == 0, (words, printed.err)
        assert verb != "launch" or printed.out.count("# worker") == int(words[words.index("--workers") + 1])
    assert pathlib.Path("synthetic_bash_command.jsonl").read_text().count("\n") == 20
    assert pathlib.Path("metrics.csv").is_file() and list(tmp_path.rglob("metrics.png"))
    events = list(pathlib.Path("logs/run_001").rglob("*tfevents*"))
    assert events and all("hatching_v1" in str(event) for event in events)
    assert check_sweep("recipes/hatching/sweep.yaml")
