from __future__ import annotations

import math

import pytest

from highnoon.monitoring.metrics.metric_names import (
    canonical_name,
    canonical_record,
    format_metric,
    in_order,
    metric_of,
)


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("train/loss", 2.5, "2.5000"),
        ("train/tokens_per_second", 12345.6, "12,346"),
        ("train/data_wait_fraction", 0.25, "25.0%"),
        ("train/memory_bytes", 3 * 2**30, "3.00 GiB"),
        ("train/memory_bytes", 2048, "2 KiB"),
        ("val/perplexity", 1e99, "1e+99"),
        ("train/loss", math.nan, "nan"),
        ("of/mine", 0.123456, "0.1235"),
        ("activation/firing_rate_level_3", 0.123456, "0.123"),
        ("activation/active_neurons", 0.0512, "5.1%"),
        ("val/task_loss/bash_command", 2.5, "2.5000"),
    ],
)
def test_a_value_is_short_and_has_its_unit(name, value, text):
    assert format_metric(name, value) == text


def test_our_own_name_wins_over_another_s():
    record = canonical_record({"event": "log", "step": 1, "train/loss": 1.0, "loss": 9.0})
    assert record == {"event": "log", "step": 1, "train/loss": 1.0}


def test_lines_that_are_no_figures_keep_their_names():
    line = {"event": "epoch_end", "step": 1, "loss": 1.0, "val_loss": 2.0}
    assert canonical_record(line) == line


@pytest.mark.parametrize(
    ("original", "name", "label"),
    [
        ("train_loss", "train/loss", "training loss"),
        ("val_loss", "val/loss", "validation loss"),
        ("task_loss_function_call", "train/task_loss/function_call", "loss, function_call"),
        ("val_task_loss_tool_use", "val/task_loss/tool_use", "validation loss, tool_use"),
        ("sparsity_loss", "train/sparsity_loss", "sparsity loss"),
        ("grad_norm", "train/grad_norm", "gradient norm"),
        ("grad_max", "train/grad_max", "largest gradient"),
        ("nan_count", "train/nan_count", "NaN gradients"),
        ("inf_count", "train/inf_count", "infinite gradients"),
        ("firing_rate", "activation/firing_rate", "firing rate"),
        ("firing_rate_level_2", "activation/firing_rate_level_2", "firing rate, level 2"),
        ("activation_mean", "activation/mean", "activation mean"),
        ("activation_std", "activation/std", "activation spread"),
        ("active_neurons", "activation/active_neurons", "active neurons"),
        ("learning_rate", "train/learning_rate", "learning rate"),
        ("weight_norm", "train/weight_norm", "weight norm"),
        ("update_ratio", "train/update_ratio", "update / weight"),
    ],
)
def test_the_original_names_are_aliases_of_metrics_with_labels(original, name, label):
    assert canonical_name(original) == canonical_name(name) == name
    event = "evaluation" if name == "val/loss" else "log"
    assert canonical_record({"step": 1, original: 0.5}) == {"event": event, "step": 1, name: 0.5}
    assert metric_of(name).label == label


def test_names_that_only_begin_like_a_family_are_unknown():
    assert metric_of("train/task_loss/") is metric_of("train/task_losses") is None
    assert canonical_name("task_loss_") == "task_loss_" and canonical_name("mine") == "mine"


def test_tasks_and_levels_stand_together_and_levels_are_counted():
    levels = [f"activation/firing_rate_level_{level}" for level in (10, 2, 0)]
    names = ["zeta/mine", *levels, "val/task_loss/b", "train/task_loss/b", "train/task_loss/a", "train/loss"]
    assert in_order(names) == [
        "train/loss",
        "train/task_loss/a",
        "train/task_loss/b",
        "val/task_loss/b",
        *reversed(levels),
        "zeta/mine",
    ]
