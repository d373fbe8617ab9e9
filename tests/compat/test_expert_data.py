"""The data of the expert mixture: domains, balance, held-out text, single files and bad input."""

from __future__ import annotations

import json
import pathlib
import warnings

import numpy as np
import pytest

import highnoon as hn
from highnoon.compat import DataConfig
from highnoon.data import DataError, open_source
from highnoon.tokenization import ByteTokenizer

SIZES = {"code": 60, "general": 240, "tiny": 12}


def write(root: pathlib.Path, domain: str, count: int, first: int = 0) -> pathlib.Path:
    file = root / domain / "texts.jsonl"
    file.parent.mkdir(parents=True, exist_ok=True)
    texts = [f"{domain} {number:05d}: the sun stands high at noon over the hill" for number in range(count)]
    lines = [{"text": text, "source": "wikitext", "id": i} for i, text in enumerate(texts[first:])]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return file


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("corpus") / "data"
    for domain, count in SIZES.items():
        write(folder, domain, count)
    return folder


@pytest.fixture(scope="module")
def model() -> hn.LanguageModel:
    shape = {"vocab_size": 263, "embedding_dim": 8, "num_reasoning_blocks": 1, "max_seq_length": 64}
    model = hn.create_model("highnoon-nano", num_heads=1, block_pattern="attention+mlp", **shape)
    model.tokenizer = ByteTokenizer()
    return model


def trainer(model: hn.LanguageModel, data: DataConfig) -> hn.Trainer:
    config = hn.TrainingConfig(batch_size=4, max_seq_length=32, epochs=2, validation_split=data.val_split)
    made = hn.Trainer(model, config=config)
    return made.add_curriculum_stage("train", **data.stage_arguments())


def parts(model: hn.LanguageModel, data: DataConfig) -> dict[str, dict]:
    (stage,) = trainer(model, data).plan().stages
    return {part["name"]: part for part in stage.mix}


def test_domains_are_drawn_equally_and_a_tiny_one_at_most_max_repeats_times(model, root):
    mix = parts(model, DataConfig(data_dir=str(root)))
    assert mix["code"]["share"] == pytest.approx(mix["general"]["share"]) and mix["code"]["share"] > 0.4
    assert mix["tiny"]["repeats"] == pytest.approx(4.0) and mix["tiny"]["share"] < 0.2
    assert mix["code"]["repeats"] > 1 > mix["general"]["repeats"]
    loose = parts(model, DataConfig(data_dir=str(root), max_repeats=1000.0))
    assert [part["share"] for part in loose.values()] == pytest.approx([1 / 3] * 3)
    plain = parts(model, DataConfig(data_dir=str(root), balance="size"))
    assert [part["repeats"] for part in plain.values()] == pytest.approx([1.0] * 3)


def test_the_plan_tells_the_epochs_of_each_domain(model, root):
    text = str(trainer(model, DataConfig(data_dir=str(root))).plan())
    assert "train: mix by tokens (epochs of each in one of all): code 4" in text and "(x4.00)" in text


def test_the_rows_of_training_are_the_plan_and_held_out_rows_are_not_balanced(model, root):
    (data,) = trainer(model, DataConfig(data_dir=str(root), val_split=0.2)).stage_data()
    again = trainer(model, DataConfig(data_dir=str(root), val_split=0.2)).stage_data()[0]
    view = data.train_rows.view(1)
    counts = view.rows_by_store(0, view.num_rows)
    asked = [part["share_asked"] for part in data.train_rows.report()["stores"]]
    np.testing.assert_allclose(counts / counts.sum(), asked, atol=0.01)
    for name, values in view.read(0, view.num_rows).items():
        np.testing.assert_array_equal(values, again.train_rows.view(1).read(0, view.num_rows)[name])
    held_out = data.validation_rows.report()
    assert [part["share_asked"] for part in held_out["stores"]] == [None] * 3
    assert held_out["documents"] == sum(part["documents"] for part in held_out["stores"])


def test_text_that_is_added_moves_no_document_between_the_splits(model, root, tmp_path):
    def held_out(folder: pathlib.Path) -> set[str]:
        (data,) = trainer(model, DataConfig(data_dir=str(folder), val_split=0.3)).stage_data()
        return set(data.validation_rows.texts())

    write(tmp_path, "code", 40), write(tmp_path, "general", 40)
    before = held_out(tmp_path)
    write(tmp_path, "code", 60)
    after = held_out(tmp_path)
    assert before and before <= after and all("code" in text for text in after - before)


def test_a_record_needs_its_text_alone(root):
    first = next(iter(open_source(str(root)).documents()))
    assert (first.text[:10], first.source, first.id, first.domain) == ("code 00000", "wikitext", "0", "code")


@pytest.mark.parametrize("form", ["domains", "folder", "file"])
def test_a_single_file_is_trained_on_by_domain_by_folder_or_by_its_path(form, model, root, tmp_path):
    if form == "folder":
        write(tmp_path, "code", SIZES["code"])
    data = {
        "domains": DataConfig(data_dir=str(root), domains="code"),
        "folder": DataConfig(data_dir=str(tmp_path)),
        "file": DataConfig(data_dir=str(root / "code" / "texts.jsonl")),
    }[form]
    (stage,) = trainer(model, data).plan().stages
    assert stage.documents + stage.validation_documents == SIZES["code"]


def test_files_in_the_root_are_told_of_or_are_the_default_domain(root, tmp_path, model):
    file = write(tmp_path, "code", 20)
    (tmp_path / "loose.jsonl").write_text(file.read_text())
    with pytest.warns(UserWarning, match="1 files directly in .* are read as the domain `default`"):
        assert set(parts(model, DataConfig(data_dir=str(tmp_path)))) == {"code", "default"}
    file.unlink(), file.parent.rmdir()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (stage,) = trainer(model, DataConfig(data_dir=str(tmp_path))).plan().stages
    assert stage.datasets == ["default"]


def test_a_bad_line_is_named_and_can_be_skipped(model, tmp_path):
    file = write(tmp_path, "code", 20)
    file.write_text(file.read_text() + '{"text": 5\n')
    with pytest.raises(DataError, match=r"texts.jsonl:21: .*--skip-bad"):
        trainer(model, DataConfig(data_dir=str(tmp_path))).plan()
    (stage,) = trainer(model, DataConfig(data_dir=str(tmp_path), skip_bad=True)).plan().stages
    assert stage.documents + stage.validation_documents == 20


@pytest.mark.parametrize(
    ("domains", "words"),
    [
        ("codes", "has no domain `codes`; did you mean `code`?"),
        ("code empty", "the domain `empty` of .* has no data; fill it or leave it out"),
        (None, "has subfolders without data: empty; fill or remove them"),
    ],
)
def test_an_empty_or_misspelled_domain_is_one_line(model, tmp_path, domains, words):
    write(tmp_path, "code", 5)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=words) as caught:
        trainer(model, DataConfig(data_dir=str(tmp_path), domains=domains)).plan()
    assert "\n" not in str(caught.value)
