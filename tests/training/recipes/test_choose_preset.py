"""Which preset, vocabulary and length fit a text and a machine."""

from __future__ import annotations

import importlib
import json
import pathlib

import pytest

from highnoon.config import get_preset_config
from highnoon.models.memory import bytes_to_train, count_parameters
from highnoon.training.recipes import Machine, TextSize, choose_preset, measure_text
from highnoon.training.recipes.choose_preset import count_tokens
from highnoon.training.recipes.preset_choice import describe_duration

LAPTOP = Machine(num_cores=2, memory_bytes=8 * 2**30)
DESKTOP = Machine(num_cores=16, memory_bytes=64 * 2**30)
GPUS = Machine(num_cores=64, memory_bytes=2**40, num_gpus=8, gpu_capability=9)


@pytest.mark.parametrize(
    ("num_bytes", "machine", "preset", "vocab_size", "length"),
    [
        (2_000, LAPTOP, "highnoon-nano", 512, {"epochs": 40}),
        (1_115_394, LAPTOP, "highnoon-nano", 1024, {"epochs": 4}),
        (10**7, LAPTOP, "highnoon-nano", 2048, {"epochs": 3}),
        (10**7, DESKTOP, "highnoon-nano", 2048, {"epochs": 4}),
        (10**9, LAPTOP, "highnoon-nano", 4096, {"steps": 3500}),
        (10**8, GPUS, "highnoon-tiny", 8192, {"epochs": 4}),
        (10**10, GPUS, "highnoon-base", 32000, {"epochs": 4}),
    ],
)
def test_the_choice_follows_text_and_machine(num_bytes, machine, preset, vocab_size, length):
    choice = choose_preset(num_bytes, machine)
    assert (choice.preset, choice.vocab_size, choice.length) == (preset, vocab_size, length)
    assert choose_preset(num_bytes, machine) == choice


@pytest.mark.parametrize("machine", [LAPTOP, DESKTOP, GPUS])
@pytest.mark.parametrize("power", range(3, 13))
def test_a_larger_preset_has_the_tokens_the_memory_and_a_small_embedding(machine, power):
    choice = choose_preset(10**power, machine)
    config = get_preset_config(choice.preset, vocab_size=choice.vocab_size).model
    embedding = config.vocab_size * config.embedding_dim
    assert embedding <= count_parameters(config) / 2 or choice.vocab_size <= 32_000
    assert (choice.epochs is None) == (choice.fraction < 1)
    if choice.preset == "highnoon-nano":
        return
    tokens = count_tokens(choice.text, config.vocab_size)
    assert 4 * tokens >= 20 * count_parameters(config, active=True)
    assert machine.num_gpus or bytes_to_train(config) <= machine.memory_bytes / 2


def test_memory_decides_without_a_gpu(monkeypatch):
    module = importlib.import_module("highnoon.training.recipes.machine")
    monkeypatch.setattr(module, "CORE_OPERATIONS", 1e20)
    sizes = [choose_preset(10**12, Machine(8, memory)).preset for memory in (2**29, 2**34, 2**45)]
    assert sizes == ["highnoon-tiny", "highnoon-base", "highnoon-20b"]


def test_a_part_of_much_text_is_said_with_the_time_that_all_takes():
    text = str(choose_preset(10**11, LAPTOP))
    assert "less than 0.1% of the text" in text and "--epochs 1 reads all of it in about" in text
    assert "100.0 GB of text, 2 CPU cores; choose another with --preset" in text
    assert "4 epochs, about 2 minutes, fewer if" in str(choose_preset(1_115_394, LAPTOP))


def test_text_without_a_held_out_document_is_repeated_less():
    text = TextSize(30_000, num_documents=1, num_held_out=0)
    assert choose_preset(text, LAPTOP).epochs == 10
    assert "with nothing held out" in str(choose_preset(text, LAPTOP))
    assert choose_preset(TextSize(30_000, 9, 1), LAPTOP).epochs == 40


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(5, "about 1 minute"), (100, "about 2 minutes"), (7200, "about 2 hours"), (3e5, "about 4 days")],
)
def test_durations_are_in_words(seconds, words):
    assert describe_duration(seconds) == words


def test_the_same_text_has_the_same_size_in_every_form(tmp_path):
    pandas = pytest.importorskip("pandas")
    texts = [f"The sun stands high at noon, said bird number {number}. " * 9 for number in range(30)]
    (tmp_path / "files").mkdir()
    for number, text in enumerate(texts):
        (tmp_path / "files" / f"{number:02}.txt").write_text(text)
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    pandas.DataFrame({"text": texts}).to_parquet(tmp_path / "a.parquet")
    sizes = [measure_text(str(tmp_path / name)) for name in ("files", "a.jsonl", "a.parquet")]
    assert sizes[0] == sizes[1] == sizes[2]
    assert sizes[0].num_bytes == sum(map(len, texts)) and sizes[0].num_documents == 30
    assert 0 < sizes[0].num_held_out < 30
    (tmp_path / "one.txt").write_text("".join(texts) * 6)
    assert measure_text(str(tmp_path / "one.txt")).num_bytes == 6 * sizes[0].num_bytes


def test_text_beyond_what_is_read_has_the_size_of_its_files(tmp_path, monkeypatch):
    module = importlib.import_module("highnoon.training.recipes.text_size")
    monkeypatch.setattr(module, "READ_BYTES", 1000)
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "noon"}\n' * 1000)
    size = measure_text(str(path))
    assert size.num_bytes == path.stat().st_size and not size.is_exact and size.num_documents == 250
    assert str(size).startswith("about ")


def test_the_rates_of_the_small_presets_are_those_that_were_measured_best():
    report = pathlib.Path(__file__).parents[3] / "benchmarks" / "results" / "preset_learning_rates.json"
    figures = json.loads(report.read_text())["figures"]
    for name in ("nano", "tiny"):
        assert get_preset_config(name).training.learning_rate == figures[f"{name}_best_rate"]
