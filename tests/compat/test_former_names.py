"""Names of earlier documents: reachable as before, and the standard classes behind them."""

from __future__ import annotations

import importlib
import inspect

import pytest

import highnoon as hn
from highnoon import compat

SAMPLES = [f"text {i}" for i in range(10)]
LABELS = list(range(10))


@pytest.mark.parametrize(
    ("room", "name"), [(room, name) for room, names in compat.FORMER_NAMES.items() for name in names]
)
def test_a_former_name_is_reachable_in_its_room(room, name):
    module = importlib.import_module(room)
    assert getattr(module, name) is getattr(compat, name)
    with pytest.raises(AttributeError, match=f"module '{room}' has no attribute 'Absent'"):
        _ = module.Absent


def test_former_names_of_the_package_are_the_standard_classes():
    assert hn.HSMN is hn.HSMNLanguageModel is hn.LanguageModel
    assert hn.QWTTextTokenizer is hn.tokenization.BytePairTokenizer
    assert hn.tokenization.ByteStreamTokenizer is hn.tokenization.ByteTokenizer
    assert hn.data.BadRows is hn.data.BadRecords


def test_every_former_name_resolves():
    assert all(getattr(compat, name) for name in compat.__all__)


def test_what_was_saved_under_a_former_name_loads(tmp_path):
    tokenizer = hn.QWTTextTokenizer().train_from_texts(["low lower lowest"] * 9, vocab_size=270)
    tokenizer.save(tmp_path)
    assert type(hn.load_tokenizer(tmp_path)) is hn.tokenization.BytePairTokenizer
    assert hn.load_tokenizer(tmp_path).fingerprint() == tokenizer.fingerprint()


def test_molecules_is_another_name_for_samples():
    create_batches = hn.training.create_curriculum_batches
    assert list(inspect.signature(create_batches).parameters)[::6] == ["samples", "molecules"]
    old = create_batches(molecules=SAMPLES, labels=LABELS, curriculum_indices=[0, 1], seed=3)
    assert old == create_batches(samples=SAMPLES, labels=LABELS, curriculum_indices=[0, 1], seed=3)
    for given, words in (({"samples": SAMPLES, "molecules": SAMPLES}, "both"), ({}, "neither")):
        with pytest.raises(ValueError, match=words):
            create_batches(**given)
