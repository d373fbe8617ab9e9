"""The loss of each task of a mix, as sums that are exact over micro-batches and replicas."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

TASK_IDS = "task_ids"
"""The column of a batch that has the number of each token's task, from 1; 0 for none."""

TASK_LOSS = "task_loss"
"""The name of the metric that holds the sums, and the group of the figures."""


def gives_token_losses(model: keras.Model) -> bool:
    """Returns whether the loss of each token of a model is known.

    A model with a `loss_terms` method must take `token_losses`; that of others is computed from logits.
    """
    terms = getattr(model, "loss_terms", None)
    return terms is None or "token_losses" in inspect.signature(terms).parameters


def task_sums(losses: Any, weights: Any, task_ids: Any, num_tasks: int) -> Any:
    """Returns the weighted loss and the weight of each task.

    Args:
        losses: (b, t), the cross entropy of each token.
        weights: (b, t), `loss_weights`.
        task_ids: (b, t) integers, the column `TASK_IDS`.
        num_tasks: Tasks.

    Returns:
        float32 (2, num_tasks): sums of `weights * losses`, and of `weights`.
    """
    is_of_task = ops.one_hot(ops.reshape(task_ids, (-1,)) - 1, num_tasks, dtype="float32")
    pairs = ops.stack([ops.reshape(weights * losses, (-1,)), ops.reshape(weights, (-1,))])
    return ops.matmul(pairs, is_of_task)


def task_figures(tasks: Sequence[str], sums: Any) -> dict[str, float]:
    """Returns `task_loss/NAME` for each task that has a supervised token.

    Args:
        tasks: Names, in the order of the sums.
        sums: What `task_sums` returned, added up over batches.
    """
    totals, weights = np.asarray(sums, np.float64)
    return {
        f"{TASK_LOSS}/{task}": float(total / weight)
        for task, total, weight in zip(tasks, totals, weights, strict=True)
        if weight > 0
    }


def document_tasks(
    stores: Sequence[Any], store_tasks: Sequence[str] | None, tasks: Sequence[str]
) -> list[Any]:
    """Returns the number of each document's task, for each token store.

    Args:
        stores: The stores.
        store_tasks: The task of each store; None takes the domain of a document for its task.
        tasks: Names; a document of another task has the number 0.
    """
    numbers: Mapping[str, int] = {task: number for number, task in enumerate(tasks, start=1)}
    if store_tasks is not None:
        return [np.full(len(store), numbers[task]) for store, task in zip(stores, store_tasks, strict=True)]
    by_domain = [np.array([numbers.get(name, 0) for name in store.domain_names]) for store in stores]
    return [numbers_of[store.domains] for numbers_of, store in zip(by_domain, stores, strict=True)]
