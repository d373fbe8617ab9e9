"""The verbs of experts refuse what cannot be done in one line, before anything is trained."""

from __future__ import annotations

import json
import pathlib
import types

import pytest

import highnoon as hn
from highnoon.cli import evaluate
from highnoon.cli.__main__ import main
from highnoon.experts import ExpertRouter


def test_a_router_is_refused_as_a_model_with_the_command_that_makes_one(tmp_path, capsys):
    hn.save_model(ExpertRouter(num_experts=2, vocab_size=263, embedding_dim=8), tmp_path / "router")
    for words in (["generate", "--prompt", "noon"], ["chat"], ["evaluate", "--data", str(tmp_path)]):
        assert main([*words, "--model", f"{tmp_path}/router"]) == 1
        printed = capsys.readouterr().err
        assert "is no language model" in printed and "highnoon experts assemble" in printed


def test_a_model_with_a_memory_is_not_evaluated_without_its_documents(monkeypatch, capsys):
    model = types.SimpleNamespace(loss_columns=("document_numbers",))
    monkeypatch.setattr(evaluate, "open_model", lambda *words: model)
    assert main(["evaluate", "--model", "memory", "--data", "texts"]) == 1
    assert "rows of `memory.rows`" in capsys.readouterr().err


@pytest.fixture
def data(tmp_path, monkeypatch) -> pathlib.Path:
    monkeypatch.chdir(tmp_path)
    for domain in ("days", "nights", "empty"):
        (tmp_path / "data" / domain).mkdir(parents=True)
    for domain in ("days", "nights"):
        (tmp_path / "data" / domain / "a.jsonl").write_text('{"text": "noon"}\n' * 4)
    return tmp_path


PRETRAIN = ["experts", "pretrain", "--expert", "transformer", "--tokenizer", "byte"]
REFUSED = {
    "an empty domain": ([*PRETRAIN, "--domains", "empty"], "the domain `empty`"),
    "no domain": ([*PRETRAIN, "--domains", "dayz"], "has no domain `dayz`; did you mean `days`?"),
    "an unknown device": (
        [*PRETRAIN, "--device", "cuda:99"],
        "there is no device 'cuda:99'; this machine has",
    ),
    "no tokenizer": ([*PRETRAIN[:4]], "The byte tokenizer (`byte`) needs no file"),
    "a field of another expert": ([*PRETRAIN, "--d_state", "4"], "--d_state belongs to state_space, which"),
    "a value out of its range": ([*PRETRAIN, "--lr", "-1"], "`lr` must be above 0; received -1"),
    "extend without resume": ([*PRETRAIN, "--extend"], "--extend is for a resumed run; give --resume"),
    "the diffuser first": (
        ["experts", "pretrain", "--expert", "diffuser", "--tokenizer", "byte"],
        "first run: highnoon experts pretrain --expert transformer --data_dir data",
    ),
    "a router without experts": (
        ["experts", "train-router"],
        "first run: highnoon experts pretrain --expert transformer",
    ),
    "no router": (["experts", "assemble"], "first run: highnoon experts train-router"),
    "a checkpoint that is not there": (
        [*PRETRAIN, "--domains", "days", "--resume", "no.pt"],
        "no checkpoint at",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_done_is_refused_in_one_line_and_nothing_is_trained(data, capsys, case):
    words, expected = REFUSED[case]
    assert main(words) == 1
    printed = capsys.readouterr().err.strip().splitlines()
    assert printed[-1].startswith("error: ") and expected in printed[-1]
    assert not list(data.glob("checkpoints/*/checkpoints/*"))


@pytest.mark.parametrize(
    "changes, expected",
    [
        ({"experts": {"transformer": {}}}, "`experts` must name at least two experts"),
        ({"experts": {"transformer": {}, "statespace": {}}}, "there is no expert `statespace`"),
        ({"mla": {"n_heads": 6, "d_model": 8}}, "`router`: `embedding_dim` must be a multiple of"),
        ({"experts": {"transformer": {"d_stat": 1}, "state_space": {}}}, "has no key `d_stat`"),
        ({"trainings": {}}, "the recipe of experts has no key `trainings`"),
    ],
)
def test_a_recipe_that_cannot_run_is_refused_before_its_first_step(data, capsys, changes, expected):
    pathlib.Path("recipe.yaml").write_text(json.dumps(changes))
    assert main(["experts", "run", "recipe.yaml"]) == 1
    assert expected in capsys.readouterr().err
    assert not pathlib.Path("checkpoints").exists()
