"""What is said before the first step: bytes, counts, and faults of the data."""

from __future__ import annotations

import dataclasses
import math

import keras
import numpy as np
import pytest

import highnoon as hn
from highnoon.config import ConfigError, TrainingConfig
from highnoon.data import PackedRows
from highnoon.tokenization import ByteTokenizer
from highnoon.training.optimizers import make_optimizer
from highnoon.training.preflight.activation_memory import activation_bytes
from highnoon.training.preflight.data_checks import _document_ends, check_stage, tokenizer_problems
from highnoon.training.preflight.preflight import describe_out_of_memory, preflight


def prepared(model, corpus, epochs=1, **options):
    trainer = hn.Trainer(model, **options)
    trainer.add_curriculum_stage("one", datasets=[corpus], epochs=epochs)
    plan = trainer.plan()
    return trainer, plan, trainer.stage_data()


def report(model, corpus, replicas=1, **options):
    trainer, plan, data = prepared(model, corpus, **options)
    return preflight(model, trainer.config, plan, data, trainer.tokenizer, replicas)


@pytest.mark.parametrize("name", ["adamw", "lion", "adafactor", "muon"])
def test_slots_and_averages_are_those_that_the_optimizer_makes(make_model, corpus, name):
    model = make_model(block_pattern="mamba2+moe, attention+mlp")
    seen = report(model, corpus, optimizer=name, ema_momentum=0.9)
    optimizer = make_optimizer(
        model,
        TrainingConfig(optimizer=name, ema_momentum=0.9),
        keras.optimizers.schedules.PolynomialDecay(1e-3, 10),
    )
    made = [slot for weight in model.trainable_weights for slot in optimizer.slots_of(weight).values()]
    assert seen.slot_bytes == sum(4 * math.prod(slot.shape) for slot in made)
    assert seen.average_bytes == sum(4 * math.prod(average.shape) for average in optimizer.averages())
    assert seen.update_bytes == seen.slot_bytes + seen.average_bytes + seen.gradient_bytes // 2


def test_weights_are_counted_in_bytes_and_without_averages_nothing_is_added(make_model, corpus):
    model = make_model()
    seen = report(model, corpus)
    assert (seen.parameters, seen.weight_bytes) == (model.count_params(), 4 * model.count_params())
    assert seen.gradient_bytes == 2 * 4 * sum(math.prod(w.shape) for w in model.trainable_weights)
    assert seen.average_bytes == 0


def test_the_need_is_that_of_the_fuller_of_backward_pass_and_update(make_model, corpus):
    seen = report(make_model(), corpus)
    lasting = seen.slot_bytes + seen.average_bytes
    assert seen.needed_bytes == lasting + seen.gradient_bytes + seen.activation_bytes
    small = dataclasses.replace(seen, activation_bytes=1)
    assert small.needed_bytes == lasting + seen.gradient_bytes // 2 + seen.update_bytes


def test_replicas_of_one_machine_add_up_to_the_devices_that_it_has(make_model, corpus):
    one, many = (report(make_model(), corpus, replicas=count) for count in (1, 4))
    assert many.local_replicas == 1  # the process has one CPU device: the others are elsewhere
    assert dataclasses.replace(many, local_replicas=2).needed_bytes == 2 * one.needed_bytes


def test_steps_rows_and_tokens_are_the_plan_s(make_model, corpus):
    model = make_model()
    trainer, plan, data = prepared(model, corpus, epochs=3, batch_size=4, gradient_accumulation_steps=2)
    seen = preflight(model, trainer.config, plan, data, trainer.tokenizer)
    row = plan.stages[0]
    assert (seen.total_steps, seen.rows_per_step) == (plan.total_steps, [8])
    assert seen.total_tokens == plan.total_steps * 8 * 32
    assert (seen.stages[0].rows, seen.stages[0].tokens) == (row.rows, row.tokens)
    assert (seen.batch_size, seen.row_length, seen.stages[0].num_rows_seen) == (4, 32, 8)


def test_sound_data_have_neither_problems_nor_warnings(make_model, corpus):
    seen = report(make_model(), corpus)
    assert (seen.problems, seen.warnings) == ([], [])
    assert seen.stages[0].supervised_fraction > 0.9


def test_the_report_names_every_figure(make_model, corpus):
    page = str(report(make_model(), corpus, optimizer="lion", ema_momentum=0.9))
    words = (
        "weights",
        "gradients",
        "(lion)",
        "averaged weights",
        "activations",
        "needed",
        "free memory",
        "steps",
    )
    assert [word for word in (*words, "one:") if word not in page] == []


def test_too_little_memory_is_a_warning_in_figures(make_model, corpus, monkeypatch):
    monkeypatch.setattr("highnoon.training.preflight.preflight.available_memory", lambda: 1000)
    seen = report(make_model(), corpus, allow_oversize=True)
    assert len(seen.warnings) == 1
    assert "more than it has" in seen.warnings[0] and "0.0 MiB" in seen.warnings[0]


def test_a_model_of_unknown_layers_has_no_estimate_and_says_so(corpus):
    ids, mask = (
        keras.Input((None,), dtype=kind, name=name)
        for name, kind in (("token_ids", "int32"), ("padding_mask", "bool"))
    )
    logits = keras.layers.Dense(263)(keras.layers.Embedding(263, 8)(ids))
    model = keras.Model({"token_ids": ids, "padding_mask": mask}, logits)
    seen = report(model, corpus, tokenizer=ByteTokenizer(), max_seq_length=32)
    assert seen.activation_bytes is None and "not estimated" in str(seen)
    assert seen.problems == []


def test_activations_grow_with_rows_and_blocks_and_fall_with_checkpointing(make_model):
    small, deep = make_model(), make_model(num_reasoning_blocks=6)
    assert activation_bytes(small, 16, 32) > 1.9 * activation_bytes(small, 8, 32)
    assert activation_bytes(deep, 8, 32) > 3 * activation_bytes(small, 8, 32)
    whole = activation_bytes(deep, 8, 32)
    deep.gradient_checkpointing_enable()
    assert activation_bytes(deep, 8, 32) < whole / 2


@pytest.mark.parametrize(
    "mixer",
    [
        "attention",
        "convolved_attention",
        "sliding_attention",
        "latent_attention",
        "mamba",
        "mamba2",
        "gated_delta_rule",
    ],
)
def test_every_mixer_has_an_estimate_that_is_linear_in_rows(make_model, mixer):
    model = make_model(block_pattern=f"{mixer}+mlp", vocab_size=263)
    one, two, three = (activation_bytes(model, rows, 32) for rows in (100, 200, 300))
    assert three - two == pytest.approx(two - one, rel=1e-6) and one > 0


def test_half_precision_takes_less(make_model):
    whole, half = make_model(), make_model(dtype="mixed_bfloat16")
    assert 0.4 < activation_bytes(half, 8, 32) / activation_bytes(whole, 8, 32) < 0.95


class _Tokenizer:
    def __init__(self, vocab_size=263, pad=0, bos=2, eos=3):
        self.vocab_size = vocab_size
        self.pad_token_id, self.bos_token_id, self.eos_token_id = pad, bos, eos


def test_a_tokenizer_that_does_not_fit_the_model_is_a_problem(make_model):
    model = make_model()
    assert tokenizer_problems(model, _Tokenizer()) == []
    assert "264 ids" in tokenizer_problems(model, _Tokenizer(vocab_size=264))[0]
    assert "ids of their own" in tokenizer_problems(model, _Tokenizer(pad=3))[0]
    assert "no end token" in tokenizer_problems(model, _Tokenizer(eos=None))[0]
    assert tokenizer_problems(model, _Tokenizer(bos=None)) == []


def changed(data, monkeypatch, change):
    """Lets a stage's first batch be another one."""
    batch = {key: value.copy() for key, value in data.batch(data.view(0, 0), 0).items()}
    change(batch)
    monkeypatch.setattr(data, "batch", lambda view, step: batch)
    return data


def _empty_row(batch):
    for value in batch.values():
        value[1] = 0


def _no_end(batch):
    batch["token_ids"][batch["token_ids"] == 3] = 9
    batch["labels"][batch["labels"] == 3] = 9


def _no_rows(batch):
    for key in batch:
        batch[key] = batch[key][:0]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_empty_row, "1 of its first 8 rows hold no token"),
        (_no_end, "without the end token (id 3)"),
        (_no_rows, "no row"),
    ],
)
def test_data_that_cannot_teach_are_a_problem_of_their_stage(make_model, corpus, monkeypatch, change, said):
    _, plan, (data,) = prepared(make_model(), corpus)
    check = check_stage(changed(data, monkeypatch, change), plan.stages[0], ByteTokenizer())
    assert any(said in problem and problem.startswith("stage `one`") for problem in check.problems)


@pytest.mark.parametrize("first_learned", [9, 10**6])
def test_a_stage_may_begin_with_rows_of_prompts_but_not_hold_nothing_else(
    make_model, corpus, monkeypatch, first_learned
):
    _, plan, (data,) = prepared(make_model(), corpus)
    view = data.view(0, 0)

    def read(start, count):
        batch = type(view).read(view, start, count)
        batch["loss_weights"][: max(0, first_learned - start)] = 0
        return batch

    monkeypatch.setattr(view, "read", read)
    monkeypatch.setattr(data, "view", lambda *when: view)
    problems = check_stage(data, plan.stages[0], ByteTokenizer()).problems
    assert view.num_rows > 9 and data.rows_per_step <= 9
    said = f"stage `one`: nothing in its first {view.num_rows} rows is supervised"
    assert [problem[: len(said)] for problem in problems] == ([said] if first_learned > 9 else [])


def test_rows_that_are_mostly_padding_are_a_warning(make_model, corpus, monkeypatch):
    def shorten(batch):
        batch["loss_weights"][:, 8:] = batch["segment_ids"][:, 8:] = 0
        batch["labels"][:, 7] = ByteTokenizer().eos_token_id

    _, plan, (data,) = prepared(make_model(), corpus)
    check = check_stage(changed(data, monkeypatch, shorten), plan.stages[0], ByteTokenizer())
    assert check.supervised_fraction < 0.5 and "Padding fills" in check.warnings[0] and not check.problems


@pytest.mark.parametrize("fraction, warns", [(0.25, False), (0.03, True)])
def test_few_answers_are_a_warning_only_where_they_are_nearly_none(
    make_model, corpus, monkeypatch, fraction, warns
):
    def keep(batch):
        width = batch["loss_weights"].shape[1]
        batch["segment_ids"][:] = 1
        batch["loss_weights"][:] = np.arange(width) < max(1, round(fraction * width))

    _, plan, (data,) = prepared(make_model(), corpus)
    check = check_stage(changed(data, monkeypatch, keep), plan.stages[0], ByteTokenizer())
    assert bool(check.warnings) == warns and not check.problems
    assert not warns or "only answers are supervised" in check.warnings[0]


@pytest.mark.parametrize("packing", [True, False])
def test_whole_documents_are_seen_to_end_with_their_end_token(make_model, corpus, packing):
    _, plan, (data,) = prepared(make_model(), corpus)
    data.train_rows = PackedRows(data.train_rows.stores, row_length=48, seed=0, packing=packing)
    batch = data.batch(data.view(0, 0), 0)
    unended, ended = _document_ends(batch, ByteTokenizer().eos_token_id)
    assert (unended, ended > 0) == (0, True)


def test_running_out_of_memory_is_said_in_figures_with_remedies(make_model, corpus):
    seen = report(make_model(), corpus, batch_size=6)
    text = describe_out_of_memory(seen, MemoryError("no room for\n 3 GiB"))
    assert "no room for 3 GiB" in text and "6 rows of 32 tokens" in text
    assert "batch_size=3 with 2 times" in text and "auto_batch=True" in text
    assert "gradient_checkpointing_enable" in text and '"lion"' in text
    assert f"{seen.slot_bytes / 2**20:.1f} MiB for adamw's slots" in text


def test_a_single_row_and_a_small_optimizer_are_not_told_to_shrink(make_model, corpus):
    text = describe_out_of_memory(report(make_model(), corpus, batch_size=1, optimizer="lion"), MemoryError())
    assert "MemoryError" in text and "batch_size=" not in text and "auto_batch" not in text
    assert '"adafactor"' not in text and "smaller model" in text


def test_what_cannot_fit_is_refused_before_any_data_is_read(make_model, monkeypatch):
    model = make_model()
    weights = sum(4 * math.prod(weight.shape) for weight in model.trainable_weights)
    monkeypatch.setattr("highnoon.training.preflight.preflight.available_memory", lambda: int(2.5 * weights))
    trainer = hn.Trainer(model, optimizer="adamw")
    trainer.add_curriculum_stage("all", "there-is-no-such-file.txt")
    with pytest.raises(hn.models.LimitExceededError, match="slots of adamw"):
        trainer.plan()
    # Lion has one slot a weight: the next thing that is missing is the file.
    trainer = hn.Trainer(model, optimizer="lion")
    trainer.add_curriculum_stage("all", "there-is-no-such-file.txt")
    with pytest.raises(hn.data.DataError, match="there-is-no-such-file"):
        trainer.plan()


def test_a_frozen_model_is_refused_before_any_data_is_read(make_model):
    model = make_model()
    model.trainable = False
    trainer = hn.Trainer(model)
    trainer.add_curriculum_stage("one", datasets=["no-such-file.jsonl"])
    for check in (trainer.train, trainer.preflight, trainer.plan):
        with pytest.raises(ConfigError, match="frozen, so there is nothing to train"):
            check()


def test_a_model_without_weights_is_refused():
    trainer = hn.Trainer(
        keras.Sequential([keras.layers.Embedding(263, 4), keras.layers.Dense(263)]), tokenizer=ByteTokenizer()
    )
    trainer.add_curriculum_stage("one", datasets=["no-such-file.jsonl"])
    with pytest.raises(ConfigError, match="the model has no weights; build it first"):
        trainer.train()


def test_a_report_names_a_frozen_model_as_a_problem(make_model, corpus):
    model = make_model()
    trainer, plan, data = prepared(model, corpus)
    model.trainable = False
    seen = preflight(model, trainer.config, plan, data, trainer.tokenizer)
    assert any("nothing to train" in problem for problem in seen.problems)
