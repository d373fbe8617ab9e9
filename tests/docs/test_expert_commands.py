"""Every command of NanoThink's document has one here that does it: the table is executed."""

from __future__ import annotations

import functools
import importlib
import json
import pathlib
import re
import shlex
import subprocess

import pytest
import tensorflow as tf
import yaml

from highnoon.cli.__main__ import main, parse
from highnoon.compat.expert_configs import ExpertConfigs

ROOT = pathlib.Path(__file__).parents[2]
PAGE = ROOT / "docs/guides/ensembles.md"
ROW = re.compile(r"^\| (.*?) \| `(.*?)` \|$", re.MULTILINE)
SCRIPTS = {"pretrain_experts.py": "pretrain", "train_mla.py": "train-router"}
RUN = {"batch_size": 4, "max_epochs": 1, "snapshot_epochs": 1, "use_amp": False}
TINY = {
    "model": {"d_model": 16, "max_seq_len": 32, "n_heads": 2},
    "transformer": {"n_layers": 1},
    "state_space": {"n_layers": 1},
    "diffuser": {"n_layers": 1},
    "mla": {"n_heads": 2, "inference_steps": 3},
    "train_expert": RUN,
    "train_diffuser": RUN,
    "train_mla": {**RUN, "grad_accum_steps": 1},
    "data": {"tokenizer": "byte", "val_split": 0.2},
}


def section() -> str:
    return PAGE.read_text(encoding="utf-8").split("## Commands of NanoThink")[1].split("\n## ")[0]


def rows() -> list[tuple[str, list[str]]]:
    return [(theirs, shlex.split(ours)) for theirs, ours in ROW.findall(section())]


def test_the_table_has_the_document_s_commands_with_its_options_and_each_parses():
    known = set()
    for theirs, ours in rows():
        if ours[0] != "highnoon":
            assert theirs == f"`{shlex.join(ours).replace(chr(39), '')}`"
            continue
        parse(ours[1:])
        if "scripts/" in theirs:
            script, *options = shlex.split(re.match(r"`python scripts/(.*?)`", theirs)[1])
            assert ours[1:3] == ["experts", SCRIPTS[script]]
            is_other = "as an expert of a mixture" in theirs
            expected = [word.replace("diffuser", "diffusion") if is_other else word for word in options]
            assert ours[3:] == expected + ["--fusion", "hidden"] * ("hidden states" in theirs)
            known |= {script, *(word for word in options if word.startswith("--"))}
    flags = {"--expert", "--data_dir", "--domains", "--resume", "--device", "--use_vector_store"}
    assert known == flags | set(SCRIPTS)


def test_the_configuration_on_the_page_is_read():
    (text,) = re.findall(r"^```text\n(.*?)^```", section(), flags=re.MULTILINE | re.DOTALL)
    configs = ExpertConfigs.from_dict(yaml.safe_load(text))
    assert configs.train_expert.lr == 1e-3 and configs.data.domains == ("code", "general")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with the document's data; its runs are not compiled by XLA, which takes most of their time."""
    lines = [{"text": f"{i:03d}: the sun stands high at noon", "source": "own", "id": i} for i in range(24)]
    (tmp_path / "my_data.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(TINY))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HIGHNOON_CACHE", str(tmp_path / "cache"))
    for name in ("pretrain_expert", "train_router"):
        module = importlib.import_module(f"highnoon.experts.runs.{name}")
        keys = functools.partial(uncompiled, module.run_keys)
        monkeypatch.setattr(module, "run_keys", keys)
    return tmp_path


def uncompiled(run_keys, *arguments):
    return {**run_keys(*arguments), "jit_compile": False}


@pytest.mark.slow
def test_each_command_of_the_table_does_its_work(folder, capsys):
    has_gpu = bool(tf.config.list_physical_devices("GPU"))
    for _, words in rows():
        if words[0] != "highnoon":
            subprocess.run(" ".join(words), shell=True, check=True)
            continue
        words = [word.replace("_epoch10", "_epoch1") for word in words[1:]]
        more = ["--config", "tiny.yaml"] if words[1] in SCRIPTS.values() else []
        more += ["--max-length", "40"] if words[0] == "generate" else []
        code = main([*words, *more])
        printed = capsys.readouterr()
        if "cuda:0" in words and not has_gpu:
            assert code == 1 and "there is no device 'cuda:0'; this machine has: cpu" in printed.err
            continue
        assert code == 0, (words, printed.err)
        if "hidden" in words:
            saved = json.loads(pathlib.Path("checkpoints/nanothink_mla/model/config.json").read_text())
            assert len(saved["experts"]) == 3 and saved["options"]["sampling_steps"] == 3
    names = (
        "transformer_expert",
        "state_space_expert",
        "diffusion_expert",
        "diffuser_expert",
        "nanothink_mla",
    )
    assert all(pathlib.Path("checkpoints", name).is_dir() for name in (*names, "nanothink"))
