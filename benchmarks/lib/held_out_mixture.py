"""Held-out losses of frozen experts, of mixtures of them, and of a single model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

import highnoon as hn
from highnoon.data import Files, PackedRows, StackedColumns, derive_columns, tokenize
from highnoon.experts.expert_columns import LOG_PROBS, expert_derivation
from highnoon.layers.graph_function import graph_function
from highnoon.tokenization import ByteTokenizer
from highnoon.training.frozen_model import FrozenModel
from lib.expert_texts import HELD_OUT, ROUTER, ExpertTexts

_BATCH_SIZE = 8
_COLUMN = "log_probs_of_models"

Floats = npt.NDArray[np.float64]


class _Said(NamedTuple):
    """What models said of the supervised tokens of one domain.

    Args:
        log_probs: (tokens, models), in nats.
        log_weights: (tokens, experts) of the router, or None.
        num_bytes: UTF-8 bytes of the text.
    """

    log_probs: Floats
    log_weights: Floats | None
    num_bytes: int

    def loss(self, log_probs: Floats) -> float:
        """Nats a byte."""
        return float(-log_probs.sum() / self.num_bytes)


def held_out_losses(
    experts: Sequence[str], single: str, router: str, texts: ExpertTexts, length: int, cache: str
) -> dict[str, float]:
    """Returns losses in nats a byte, means over the domains, and of each domain for the mixture.

    Args:
        experts: Paths of the experts, each in a folder of its name.
        single: Path of the single model.
        router: Path of the trained router.
        texts: The parts of the text.
        length: Tokens of a row.
        cache: Where tokens and columns are stored.
    """
    names = [path.split("/")[-2] for path in experts]
    count = len(names)
    model = hn.load_model(router)
    weigh = graph_function(lambda inputs: model(inputs, training=False))
    held_out = {d: _read([*experts, single], weigh, texts, HELD_OUT, d, length, cache) for d in texts.domains}
    others = [_read(experts, None, texts, ROUTER, domain, length, cache) for domain in texts.domains]
    constant = np.log(best_constant_weights(others))

    def mean(log_probs_of) -> float:
        return float(np.mean([said.loss(log_probs_of(said)) for said in held_out.values()]))

    def mixed(said: _Said, log_weights: Floats) -> Floats:
        return np.logaddexp.reduce(log_weights + said.log_probs[:, :count], axis=1)

    each = [mean(lambda said, k=k: said.log_probs[:, k]) for k in range(count)]
    losses = {f"{name}_loss": loss for name, loss in zip(names, each, strict=True)}
    losses |= {
        "best_expert": min(each),
        "mean_expert": float(np.mean(each)),
        "equal": mean(lambda said: mixed(said, np.full(count, -np.log(count)))),
        "constant": mean(lambda said: mixed(said, constant)),
        "mixture": mean(lambda said: mixed(said, said.log_weights)),
        "single": mean(lambda said: said.log_probs[:, count]),
    }
    for domain, said in held_out.items():
        of_domain = [said.loss(said.log_probs[:, k]) for k in range(count)]
        losses[f"{domain}_best_expert"] = min(of_domain)
        losses[f"{domain}_mixture"] = said.loss(mixed(said, said.log_weights))
        losses[f"{domain}_single"] = said.loss(said.log_probs[:, count])
        losses |= {
            f"{domain}_weight_{name}": float(np.exp(said.log_weights[:, k]).mean())
            for k, name in enumerate(names)
        }
    return losses


def best_constant_weights(parts: Sequence[_Said], rounds: int = 500) -> Floats:
    """Returns the weights (experts,) of least mean loss over some domains, which count alike, by EM.

    Dempster et al. 1977: the loss is convex in the weights, and every round lowers it.
    """
    counts = [np.full(len(said.log_probs), 1.0 / said.num_bytes) for said in parts]
    token_weights = np.concatenate(counts) / sum(count.sum() for count in counts)
    log_probs = np.concatenate([said.log_probs for said in parts])
    probs = np.exp(log_probs - log_probs.max(axis=1, keepdims=True))
    weights = np.full(probs.shape[1], 1.0 / probs.shape[1])
    for _ in range(rounds):
        parts_of_token = weights * probs
        weights = token_weights @ (parts_of_token / parts_of_token.sum(axis=1, keepdims=True))
    return weights


def _read(
    models: Sequence[str], weigh, texts: ExpertTexts, part: str, domain: str, length: int, cache: str
) -> _Said:
    store = tokenize(Files(texts.path(part, domain)), ByteTokenizer(), cache, validation_split=0.0)
    columns = []
    for path in models:
        frozen = FrozenModel(path)
        columns.append(derive_columns(store, expert_derivation(frozen, length)))
        frozen.release()
    rows = PackedRows(store, length, derived=[StackedColumns(_COLUMN, LOG_PROBS, columns)])
    view = rows.view(0)
    log_probs, log_weights = [], []
    for start in range(0, view.num_rows, _BATCH_SIZE):
        batch = view.read(start, _BATCH_SIZE)
        is_label = batch["loss_weights"] > 0
        log_probs.append(batch[_COLUMN][is_label])
        if weigh is not None:
            inputs = {name: batch[name] for name in ("token_ids", "segment_ids", "positions")}
            log_weights.append(np.asarray(weigh(inputs))[is_label])
    said = np.concatenate(log_probs).astype(np.float64)
    weights = np.concatenate(log_weights).astype(np.float64) if log_weights else None
    return _Said(said, weights, rows.num_bytes)
