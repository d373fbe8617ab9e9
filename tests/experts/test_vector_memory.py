"""A memory: equal to a naive loop, blind to the future and to its own document, and never written by use."""

from __future__ import annotations

import dataclasses
import shutil

import numpy as np
import pytest

from highnoon.config import ConfigError
from highnoon.data import PackedRows
from highnoon.experts.memory_evaluation import CACHE_WEIGHTS, evaluate_memory
from highnoon.experts.memory_mix import MemoryMix, softmin
from highnoon.experts.memory_model import MemoryModel
from highnoon.experts.memory_stores import DOCUMENT_NUMBERS
from highnoon.experts.vector_memory import VectorMemory
from highnoon.vectors import VectorIndex, VectorIndexError, load_index
from tests.experts.conftest import LENGTH, TEXTS, make_model, make_store
from tests.vectors.conftest import folder_hash

MIX = MemoryMix(weight=0.4, temperature=0.05, cache_weight=0.2, num_neighbors=12)


def read(case, split="train", row_length=LENGTH, start=0, count=4):
    return case.memory.rows(case.store, row_length, split=split).view(0).read(start, count)


def states_of(model, batch):
    inputs = {name: batch[name] for name in ("token_ids", "segment_ids", "positions")}
    return np.asarray(model.backbone(inputs), np.float64), np.asarray(model(inputs), np.float64)


def naive_distribution(case, batch, mix):
    """(b, t, v): a loop over tokens, stored documents and earlier tokens, in float64."""
    keys = []
    for document in np.flatnonzero(~case.store.is_validation).tolist():
        ids = case.store.tokens(document)
        for start in range(0, len(ids) - 1, LENGTH):
            part = ids[None, start : min(start + LENGTH, len(ids) - 1)]
            states, _ = states_of(
                case.model,
                {
                    "token_ids": part,
                    "segment_ids": np.ones_like(part),
                    "positions": np.arange(part.shape[1])[None],
                },
            )
            for offset in range(part.shape[1]):
                keys.append((states[0, offset], int(ids[start + offset + 1]), document + 1))
    states, logits = states_of(case.model, batch)
    result = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    for row, now in np.argwhere(batch["segment_ids"] > 0):
        state, probs = states[row, now], np.exp(result[row, now])
        near = sorted(
            (float(np.mean((state - key) ** 2)), token)
            for key, token, document in keys
            if document != batch[DOCUMENT_NUMBERS][row, now]
        )[: mix.num_neighbors]
        earlier = [
            (float(np.mean((state - states[row, s]) ** 2)), int(batch["token_ids"][row, s + 1]))
            for s in range(now)
            if batch["segment_ids"][row, s] == batch["segment_ids"][row, now]
        ]
        cache_weight = mix.cache_weight if earlier else 0.0
        mixed = (1 - mix.weight - cache_weight) * probs
        for weight, found in ((mix.weight, near), (cache_weight, earlier)):
            powers = [np.exp(-(distance - min(found)[0]) / mix.temperature) for distance, _ in found]
            for power, (_, token) in zip(powers, found, strict=True):
                mixed[token] += weight * power / sum(powers)
        result[row, now] = np.log(mixed)
    return result


# Documents that begin alike have equal states up to rounding, so few neighbors of held-out ones end in a tie.
@pytest.mark.parametrize(("split", "num_neighbors"), [("train", 12), ("validation", 500)])
def test_the_distribution_is_that_of_a_naive_loop(case, split, num_neighbors):
    batch, mix = read(case, split), dataclasses.replace(MIX, num_neighbors=num_neighbors)
    found = case.memory.log_distribution(case.model, batch, mix)
    np.testing.assert_allclose(found, naive_distribution(case, batch, mix), atol=2e-3)
    np.testing.assert_allclose(np.exp(found).sum(axis=-1), 1.0, atol=1e-5)


def test_the_values_of_labels_are_those_of_the_distribution_and_0_elsewhere(case):
    batch = read(case, "validation")
    for mix in (MIX, MemoryMix(weight=0.3), MemoryMix(weight=0.0)):
        all_tokens = case.memory.log_distribution(case.model, batch, mix)
        found = case.memory.log_probs(case.model, batch, mix)
        expected = np.take_along_axis(all_tokens, batch["labels"][:, :, None], axis=-1)[:, :, 0]
        is_label = batch["loss_weights"] > 0
        np.testing.assert_allclose(found[is_label], expected[is_label], atol=1e-5)
        assert (found[~is_label] == 0).all() and not is_label.all()
    plain = states_of(case.model, batch)[1]
    plain -= np.log(np.exp(plain).sum(axis=-1, keepdims=True))
    np.testing.assert_allclose(all_tokens, plain, atol=1e-4)


def test_later_tokens_change_nothing_before_them(case):
    batch = read(case)
    before = case.memory.log_distribution(case.model, batch, MIX)
    for now in (0, 7, 20):
        changed = {name: array.copy() for name, array in batch.items()}
        later = changed["token_ids"][:, now + 1 :]
        changed["token_ids"][:, now + 1 :] = np.random.default_rng(now).permuted(later, axis=1)
        after = case.memory.log_distribution(case.model, changed, MIX)
        np.testing.assert_allclose(after[:, : now + 1], before[:, : now + 1], atol=1e-4)
        assert np.abs(after[:, now + 1 :] - before[:, now + 1 :]).max() > 0.1


def test_batch_mates_padding_and_other_documents_of_a_row_change_nothing(case):
    batch = read(case, "validation")
    together = case.memory.log_distribution(case.model, batch, MIX)
    alone = case.memory.log_distribution(case.model, {k: v[1:2] for k, v in batch.items()}, MIX)
    np.testing.assert_allclose(alone[0], together[1], atol=1e-4)
    padded = {k: np.pad(v, ((0, 0), (0, 5))) for k, v in batch.items()}
    longer = case.memory.log_distribution(case.model, padded, MIX)[:, :LENGTH]
    is_token = batch["segment_ids"] > 0
    np.testing.assert_allclose(longer[is_token], together[is_token], atol=1e-4)
    row, begin = np.argwhere(batch["segment_ids"] == 2)[0]
    assert begin > 0
    changed = {k: v.copy() for k, v in batch.items()}
    changed["token_ids"][row, :begin] = 50
    other = case.memory.log_distribution(case.model, changed, MIX)
    np.testing.assert_allclose(other[row, begin:], together[row, begin:], atol=1e-4)


def test_only_training_documents_are_stored_each_supervised_token_once(case):
    trained = np.flatnonzero(~case.store.is_validation)
    assert set(case.memory.index.groups.tolist()) == set((trained + 1).tolist())
    assert len(case.memory) == int((case.store.lengths[trained] - 1).sum())
    first = case.memory.index.groups == 1
    stored = np.sort(case.memory.values(case.memory.index.ids[first]))
    np.testing.assert_array_equal(stored, np.sort(case.store.tokens(0)[1:]))


def test_a_document_never_finds_itself_but_its_duplicate(tmp_path):
    store = make_store(tmp_path, [*TEXTS, TEXTS[0]])
    model = make_model()
    memory = VectorMemory.build(model, store, tmp_path / "memory", row_length=LENGTH)
    batch = memory.rows(store, LENGTH, split="train", packing=False).view(0).read(0, 50)
    is_label = batch["loss_weights"] > 0
    states = memory.reader(model).states(batch)[is_label]
    numbers = batch[DOCUMENT_NUMBERS][is_label]
    found = memory.index.search(states, len(memory), np.where(numbers > 0, numbers, -1))
    group_of = dict(zip(memory.index.ids.tolist(), memory.index.groups.tolist(), strict=True))
    groups = np.array([[group_of.get(key, 0) for key in row] for row in found.ids.tolist()])
    assert len(np.unique(numbers)) == 7 and not (groups == numbers[:, None]).any()
    distances, _ = memory.neighbors(states, batch, is_label, 1)
    assert (distances[numbers == 1] < 1e-4).all(), "the duplicate has another number"
    assert (groups[numbers == 1][:, 0] == 9).mean() > 0.8, "others only where documents begin alike"
    outside = {**batch, DOCUMENT_NUMBERS: np.zeros_like(batch[DOCUMENT_NUMBERS])}
    assert (memory.neighbors(states, outside, is_label, 1)[0] < 1e-4).all()


def test_removing_a_document_changes_only_what_it_could_have_given(case, tmp_path):
    memory = VectorMemory.load(case.folder, case.model)
    batch = read(case, "validation")
    before = memory.log_distribution(case.model, batch, MIX)
    is_token = batch["segment_ids"] > 0
    states = memory.reader(case.model).states(batch)[is_token]
    near = memory.index.search(states, MIX.num_neighbors).ids
    removed = memory.stores.number(case.store, 2)
    of_document = memory.index.ids[memory.index.groups == removed]
    assert memory.remove_documents([removed]) == len(of_document) == len(case.store.tokens(2)) - 1
    after = memory.log_distribution(case.model, batch, MIX)
    could_give = np.isin(near, of_document).any(axis=1)
    assert 0 < could_give.sum() < len(could_give)
    difference = np.abs(after - before)[is_token].max(axis=-1)
    assert (difference[~could_give] == 0).all() and (difference[could_give] > 0).all()
    memory.save(tmp_path / "memory")
    again = VectorMemory.load(tmp_path / "memory", case.model)
    np.testing.assert_array_equal(again.log_distribution(case.model, batch, MIX), after)
    assert (
        len(np.load(tmp_path / "memory" / "values.npy")) == len(again) == len(case.memory) - len(of_document)
    )


def test_a_memory_from_which_a_document_was_removed_is_one_that_never_had_it(case, tmp_path):
    # All neighbors: which of equal ones are among a few depends on their ids.
    mix = dataclasses.replace(MIX, num_neighbors=500)
    memory = VectorMemory.load(case.folder, case.model)
    memory.remove_documents([2])
    store = make_store(tmp_path, [text for text in TEXTS if text != TEXTS[1]])
    never = VectorMemory.build(case.model, store, tmp_path / "never", row_length=LENGTH)
    assert len(never) == len(memory) < len(case.memory)
    batch = read(case, "validation")
    batch[DOCUMENT_NUMBERS] = np.zeros_like(batch[DOCUMENT_NUMBERS])
    found, expected = (each.log_distribution(case.model, batch, mix) for each in (never, memory))
    np.testing.assert_allclose(found, expected, atol=2e-3)
    assert np.abs(case.memory.log_distribution(case.model, batch, mix) - expected).max() > 0.1


def test_everything_removed_leaves_the_model_alone(case):
    memory = VectorMemory.load(case.folder, case.model)
    memory.remove_documents(list(range(1, 9)))
    batch = read(case, "validation")
    found = memory.log_probs(case.model, batch, MemoryMix(weight=0.5))
    expected = memory.log_probs(case.model, batch, MemoryMix(weight=0.0))
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_evaluation_writes_nothing_and_reports_documents_that_nothing_was_chosen_on(case):
    before = folder_hash(case.folder)
    rows = case.memory.rows(case.store, LENGTH)
    result = evaluate_memory(
        case.memory, case.model, rows, batch_size=2, num_neighbors=16, cache_weights=CACHE_WEIGHTS
    )
    assert folder_hash(case.folder) == before
    halves = [rows.view(0, [number]).read(0, 99) for number in (0, 1)]
    for batch, loss, without in zip(
        halves,
        (result.chosen_loss, result.loss),
        (result.chosen_loss_without, result.loss_without),
        strict=True,
    ):
        counted = batch["loss_weights"].sum()
        found = case.memory.log_probs(case.model, batch, result.mix)
        assert -found.sum() / counted == pytest.approx(loss, abs=1e-4)
        plain = case.memory.log_probs(case.model, batch, MemoryMix(weight=0.0))
        assert -plain.sum() / counted == pytest.approx(without, abs=1e-4)
    assert result.num_tokens == halves[1]["loss_weights"].sum()
    assert result.mix.weight > 0 and result.chosen_loss < result.chosen_loss_without - 0.3
    assert result.loss < result.loss_without
    for other in (MemoryMix(0.0, 0.1), MemoryMix(0.5, 0.1, 0.0, 16), MemoryMix(0.2, 1.0, 0.1, 16)):
        total = float(case.memory.log_probs(case.model, halves[0], other).sum())
        assert -total / float(halves[0]["loss_weights"].sum()) >= result.chosen_loss - 1e-4


def test_another_model_is_refused_by_its_hash(case):
    other = make_model(seed=1)
    with pytest.raises(VectorIndexError, match="computed by the model .*; expected"):
        VectorMemory.load(case.folder, other)
    with pytest.raises(
        VectorIndexError, match="the memory holds the states of the model .* received the model"
    ):
        case.memory.log_probs(other, read(case))


def test_weights_that_changed_since_are_found_by_an_evaluation(tmp_path):
    model, store = make_model(), make_store(tmp_path)
    memory = VectorMemory.build(model, store, tmp_path / "memory", row_length=LENGTH)
    weight = model.trainable_variables[0]
    weight.assign(weight + 1)
    with pytest.raises(VectorIndexError, match="give that model, or build the memory again"):
        evaluate_memory(memory, model, memory.rows(store, LENGTH))


@pytest.mark.parametrize("name", ["vectors.npy", "values.npy", "memory.json", "groups.npy"])
def test_a_damaged_folder_is_refused_in_one_line(case, tmp_path, name):
    folder = tmp_path / "memory"
    shutil.copytree(case.folder, folder)
    data = bytearray((folder / name).read_bytes())
    data[-2] ^= 1
    (folder / name).write_bytes(data)
    with pytest.raises(VectorIndexError, match=f"damaged: the bytes of {name} have changed; build") as caught:
        VectorMemory.load(folder, case.model)
    assert "\n" not in str(caught.value)


def test_an_index_without_a_memory_is_refused(tmp_path):
    VectorIndex(4).save(tmp_path / "index")
    with pytest.raises(VectorIndexError, match="must be the folder of a memory; it is an index without one"):
        VectorMemory.load(tmp_path / "index")
    with pytest.raises(VectorIndexError, match="must be the folder of an index; it does not exist"):
        VectorMemory.load(tmp_path / "nothing")


def test_rows_without_numbers_are_refused(case):
    batch = PackedRows([case.store], LENGTH, split="validation").view(0).read(0, 1)
    with pytest.raises(ConfigError, match="must hold `document_numbers`, so that no document finds itself"):
        case.memory.log_probs(case.model, batch)


def test_a_store_that_is_not_known_has_the_number_0(case, tmp_path):
    other = make_store(tmp_path, ["another text of the river"] * 5, name="other")
    batch = case.memory.rows([case.store, other], LENGTH, split="train").view(0).read(0, 99)
    assert {*np.unique(batch[DOCUMENT_NUMBERS]).tolist()} == {0, 1, 2, 3, 5, 6, 7}


def test_held_out_rows_are_no_training_documents(case, tmp_path):
    rows = PackedRows([case.store], LENGTH, split="validation")
    with pytest.raises(ConfigError, match="built from training documents; received rows of the validation"):
        VectorMemory.build(case.model, rows, tmp_path / "memory")
    assert not (tmp_path / "memory").exists()
    with pytest.raises(ConfigError, match="must be held-out rows from `memory.rows`"):
        evaluate_memory(case.memory, case.model, case.memory.rows(case.store, LENGTH, split="train"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"weight": 1.0}, "`weight` must be"),
        ({"temperature": 0.0}, "`temperature` must be above 0"),
        ({"cache_weight": -0.1}, "`cache_weight` must be"),
        ({"weight": 0.6, "cache_weight": 0.4}, "below 1 together; received 0.6 and 0.4"),
        ({"num_neighbors": 0}, "`num_neighbors` must be at least 1"),
    ],
)
def test_weights_out_of_range_are_refused(arguments, message):
    with pytest.raises(ConfigError, match=message):
        MemoryMix(**arguments)


def test_a_model_without_states_or_that_sees_later_tokens_is_refused(case, tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match="needs a model with a `backbone` that has `step`"):
        VectorMemory.build(object(), case.store, tmp_path / "memory")
    two_way = make_model()
    for block in two_way.backbone.reasoning_blocks:
        for mixer in block.mixers:
            monkeypatch.setattr(type(mixer), "is_causal", False)
    for make in (
        lambda: VectorMemory.build(two_way, case.store, tmp_path / "memory"),
        lambda: VectorMemory.load(case.folder, two_way),
        lambda: MemoryModel(two_way, case.memory),
    ):
        with pytest.raises(ConfigError, match="needs a causal model, whose states know no later token"):
            make()
    assert not (tmp_path / "memory").exists()


def test_softmin_of_nothing_is_zero():
    found = softmin(np.array([[np.inf, np.inf], [np.inf, 3.0]]), 0.1)
    assert found.tolist() == [[0, 0], [0, 1]]


def test_the_folder_of_a_memory_is_an_index(case):
    assert len(load_index(case.folder)) == len(case.memory)
