"""An only document is held out by its length; stores of several documents stay as they are."""

from __future__ import annotations

import pathlib

import numpy as np
import pytest

from highnoon.data import Files, PackedRows, TextDataset, open_source, tokenize, train_tokenizer
from highnoon.data.tokens.cut_document import held_out_start
from highnoon.data.tokens.split_by_length import split_by_length
from highnoon.tokenization import ByteTokenizer

TEXT = "Das Café am Fluß schließt früh – und öffnet spät. 狐は走る。" * 40


@pytest.fixture(scope="module")
def bpe():
    return train_tokenizer(open_source(["der Fluss und das Café ist früh offen"] * 30), 290)


def _store(folder: pathlib.Path, text: str, tokenizer, validation_split=0.1):
    (folder / "a.txt").write_text(text)
    return tokenize(Files(folder / "a.txt", "file"), tokenizer, folder, validation_split)


@pytest.mark.parametrize("validation_split", [0.01, 0.1, 0.5])
def test_the_end_is_held_out_and_nothing_is_lost(tmp_path, bpe, validation_split):
    for name, tokenizer in (("bytes", ByteTokenizer()), ("pairs", bpe)):
        (tmp_path / name).mkdir()
        store = _store(tmp_path / name, TEXT, tokenizer, validation_split)
        cut = split_by_length(store)
        assert (len(store), len(cut)) == (1, 2) and cut.is_validation.tolist() == [False, True]
        assert cut.text(0) + cut.text(1) == TEXT
        np.testing.assert_array_equal(np.concatenate([cut.tokens(0), cut.tokens(1)]), store.tokens(0))
        sizes = [len(cut.text(part).encode()) for part in range(2)]
        assert cut.num_bytes.tolist() == sizes
        # The tokenizer sees what is before this byte.
        assert sizes[0] >= held_out_start(sum(sizes), validation_split)
        assert sizes[1] >= 0.8 * validation_split * sum(sizes) - 8
        assert split_by_length(store).fingerprint == cut.fingerprint != store.fingerprint
        rows = PackedRows(cut, 16, split="validation")
        assert rows.num_documents == 1 and rows.text(0) == cut.text(1)


def test_other_stores_stay_as_they_are(tmp_path):
    for number, (text, validation_split) in enumerate([("a", 0.1), (TEXT, 0.0)]):
        (tmp_path / str(number)).mkdir()
        store = _store(tmp_path / str(number), text, ByteTokenizer(), validation_split)
        assert split_by_length(store) is store
    several = tokenize(open_source(["one text", "two texts", "more"]), ByteTokenizer(), tmp_path)
    assert split_by_length(several) is several
    record = {"instruction": "Q", "output": "A long answer"}
    conversation = tokenize(open_source([record]), ByteTokenizer(), tmp_path, 0.001)
    assert split_by_length(conversation) is conversation


def test_the_tokenizer_does_not_see_the_end():
    text = "abc " * 500
    same = [
        train_tokenizer(open_source([text + end]), 280).fingerprint() for end in ("xyxyxyxyxy", "zwzwzwzwzw")
    ]
    assert same[0] == same[1]
    assert train_tokenizer(open_source(["xyxyxyxyxy" + text]), 280).fingerprint() != same[0]


def test_any_only_document_trains_whatever_its_hash(tmp_path):
    for number in range(30):
        dataset = TextDataset([f"{number} the sun sank over the sea"], ByteTokenizer(), 8, tmp_path)
        assert dataset.rows.num_documents == 1
        assert len(dataset.to_tf_dataset(split="validation")) == 1


@pytest.mark.slow
def test_a_run_on_one_line_has_a_held_out_loss(tmp_path, monkeypatch):
    import highnoon as hn

    monkeypatch.setenv("HIGHNOON_CACHE", str(tmp_path))
    (tmp_path / "one.txt").write_text("the sea and the sun and the hills, " * 200)
    small = {"vocab_size": 300, "embedding_dim": 16, "num_reasoning_blocks": 1, "max_seq_length": 32}
    trainer = hn.Trainer(
        hn.create_model("highnoon-nano", block_pattern="attention+mlp", **small), batch_size=4
    )
    trainer.add_curriculum_stage("own", str(tmp_path / "one.txt"), epochs=1)
    stage = trainer.plan().stages[0]
    assert stage.validation_documents == 1 and stage.documents == 1
    summary = trainer.train(save_checkpoints=False, log_dir=None, verbose=False)
    assert summary["stages_completed"][0]["val_loss"] is not None
    assert trainer.evaluate()["loss"] > 0
