"""How the bound of block diffusion falls with its steps on real text, and its distance from the exact value.

    python benchmarks/diffusion_bound.py --model path/to/model --data path/to/held_out.jsonl

Without `--model` a small one is trained by `objective="block_diffusion"` on the text, a tenth of whose
documents is held out. In blocks of `--block` tokens every set of masked tokens is computed, which gives the
exact likelihood of the process with any number of steps, as a sum over all its paths, and the bound with all
sets. Next to them is the estimate of the package, which draws sets. For longer blocks there are estimates
alone; for blocks of one token there is the exact loss. All are nats a token of the same rows of text.

Checked: no bound is below the exact value; the bound falls as steps are added; the estimate is within 2
percent of the bound.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import itertools
import math
import os
import tempfile
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import numpy.typing as npt
from lib.report import write_report

import highnoon as hn
from highnoon.data import PackedRows, StandardLibrary, open_source, tokenize
from highnoon.data.sequences.block_noise import BlockLayout, block_layout
from highnoon.evaluation.diffusion_bound import bound_sums, step_weights
from highnoon.inference.block_diffusion.diffusion_outputs import mask_id_of
from highnoon.inference.block_diffusion.next_token_model import without_mask
from highnoon.layers.graph_function import graph_function
from highnoon.tokenization import ByteTokenizer
from highnoon.training.objectives.block_diffusion.block_inputs import noisy_inputs

LENGTH, ROWS = 256, 8
STEPS = (1, 2, 4, 8, 16, 64)
LONGER, LONGER_STEPS = 16, (1, 4, 16, 64)
TOLERANCE = 0.02

Floats = npt.NDArray[np.float64]
Batch = dict[str, npt.NDArray[Any]]


def subsets(members: int) -> list[int]:
    """Returns the subsets of a set, each as the bits of a number, the empty one included."""
    return [number for number in range(members + 1) if number & members == number]


def exact_log_likelihood(log_probs: Floats, counts: npt.NDArray[np.int64], num_steps: int) -> float:
    """Returns the log-likelihood of some blocks under the process with `num_steps` steps.

    ```
    p[left, S] = sum over R in S of  chance(R, S) * prod over i in R of p_i(S) * p[left - 1, S - R]
    chance(R, S) = (1 / left)^|R| (1 - 1 / left)^(|S| - |R|)
    ```

    Args:
        log_probs: (sets, blocks, tokens): of each token when the tokens of the set are masked.
        counts: Tokens of each block.
        num_steps: T.
    """
    probs = np.exp(log_probs)
    num_sets, num_blocks, _ = log_probs.shape
    reached = np.zeros((num_sets, num_blocks))
    reached[0] = 1.0
    for left in range(1, num_steps + 1):
        after = np.zeros_like(reached)
        for masked in range(num_sets):
            for revealed in subsets(masked):
                size, rest = revealed.bit_count(), (masked & ~revealed).bit_count()
                tokens = [index for index in range(masked.bit_length()) if revealed >> index & 1]
                chance = (1 / left) ** size * (1 - 1 / left) ** rest
                after[masked] += chance * probs[masked][:, tokens].prod(axis=1) * reached[masked & ~revealed]
        reached = after
    return float(np.log(reached[2**counts - 1, np.arange(num_blocks)]).sum())


def all_sets_bound(log_probs: Floats, counts: npt.NDArray[np.int64], num_steps: int) -> float:
    """Returns the bound of some blocks in nats, with all sets of masked tokens."""
    total = 0.0
    for count in np.unique(counts).tolist():
        weights = step_weights(count, num_steps)
        for m in range(1, count + 1):
            sets = list(itertools.combinations(range(count), m))
            for masked in sets:
                of_set = log_probs[sum(1 << index for index in masked)][counts == count]
                total -= weights[m] * float(of_set[:, list(masked)].sum()) / len(sets)
    return total


def block_log_probs(model: Any, batches: list[Batch], block: int) -> tuple[Floats, npt.NDArray[np.int64]]:
    """Returns the log-probabilities (sets, blocks, tokens) for every set of masked tokens, and the counts."""
    mask_id, end_id = mask_id_of(model), model.tokenizer.eos_token_id

    def label_log_probs(batch: dict[str, Any]) -> Any:
        length = batch["noisy_labels"].shape[1]
        logits = without_mask(model(noisy_inputs(batch, mask_id), training=False)[:, :length], mask_id)
        log_probs = keras.ops.log_softmax(keras.ops.cast(logits, "float32"), axis=-1)
        return keras.ops.take_along_axis(log_probs, batch["noisy_labels"][:, :, None], axis=-1)[:, :, 0]

    compiled = graph_function(label_log_probs)
    tables, counts = [], []
    rows = [
        {name: array[row] for name, array in batch.items()}
        for batch in batches
        for row in range(len(batch["token_ids"]))
    ]
    for row in rows:
        layout = block_layout(row, block, end_id)
        inputs, index = _noisy(row, layout, block)
        num_blocks = int(layout.blocks[-1]) + 1
        table = np.zeros((2**block, num_blocks, block))
        for masked in range(1, 2**block):
            is_masked = np.zeros((1, inputs["noisy_labels"].shape[1]), np.int32)
            is_masked[0, : len(index)] = masked >> index & 1
            said = np.asarray(compiled({**inputs, "is_masked": is_masked}))[0]
            table[masked, layout.blocks, index] = said[: len(index)]
        tables.append(table)
        counts.append(np.bincount(layout.blocks, minlength=num_blocks))
    return np.concatenate(tables, axis=1), np.concatenate(counts)


def _noisy(row: Batch, layout: BlockLayout, block: int) -> tuple[dict[str, Any], npt.NDArray[np.int64]]:
    """The inputs of one row but for what is masked, and the index of each token in its block."""
    room = LENGTH + -(-max(0, len(layout.labels) - LENGTH) // 64) * 64

    def padded(array: Any) -> Any:
        return np.pad(array, (0, room - len(array)))[None]

    names = ("token_ids", "segment_ids", "positions")
    inputs = {name: padded(row[name]) for name in names}
    inputs |= {
        f"noisy_{name}": padded(getattr(layout, name)) for name in ("labels", "positions", "segment_ids")
    }
    inputs["block_lengths"] = np.full(1, block, np.int32)
    firsts = np.searchsorted(layout.blocks, layout.blocks)
    return inputs, np.arange(len(layout.blocks)) - firsts


def train(source: Any, steps: int, folder: str) -> Any:
    keras.utils.set_random_seed(0)
    tokenizer = ByteTokenizer()
    shape = {"embedding_dim": 64, "num_reasoning_blocks": 2, "num_heads": 2, "max_seq_length": LENGTH}
    model = hn.create_model(
        "highnoon-nano", vocab_size=tokenizer.vocab_size, block_pattern="attention+mlp", **shape
    )
    model.tokenizer = tokenizer
    options = {"batch_size": 8, "max_seq_length": LENGTH, "learning_rate": 3e-3, "warmup_steps": 20}
    trainer = hn.Trainer(model, objective="block_diffusion", seed=0, cache_dir=folder, **options)
    trainer.add_curriculum_stage("all", source, steps=steps)
    with contextlib.redirect_stdout(io.StringIO()):
        trainer.train(log_dir=None, save_checkpoints=False, verbose=False)
    return trainer.model


def compare(model: Any, batches: list[Batch], block: int) -> tuple[dict[str, float], list[str]]:
    """Returns the figures, and which checks fail."""
    log_probs, counts = block_log_probs(model, batches, block)
    exact_sum, tokens = bound_sums(model, batches, 1, 1)
    figures: dict[str, float] = {"tokens": tokens, "block": block, "block_1_exact": exact_sum / tokens}
    failed: list[str] = []
    before = math.inf
    for steps in STEPS:
        exact = -exact_log_likelihood(log_probs, counts, steps) / tokens
        bound = all_sets_bound(log_probs, counts, steps) / tokens
        estimate = bound_sums(model, batches, block, steps)[0] / tokens
        names = {"exact": exact, "at_most": bound, "at_most_estimated": estimate}
        figures |= {f"block_{block}_steps_{steps}_{name}": value for name, value in names.items()}
        wrong = {
            "the bound is below the exact value": bound < exact - 1e-6,
            "the bound does not fall": bound >= before,
            "the estimate is off": abs(estimate / bound - 1) > TOLERANCE,
        }
        failed += [f"{steps} steps: {what}" for what, is_so in wrong.items() if is_so]
        before = bound
    for steps in LONGER_STEPS:
        found = bound_sums(model, batches, LONGER, steps)[0] / tokens
        figures[f"block_{LONGER}_steps_{steps}_at_most_estimated"] = found
    return figures, failed


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", help="a saved model of block diffusion")
    parser.add_argument("--data", help="a name or path of text; default: Python's documentation")
    parser.add_argument("--block", type=int, default=4, choices=(2, 3, 4), help="tokens of the exact blocks")
    parser.add_argument("--steps", type=int, default=300, help="of training, without --model")
    parser.add_argument("--rows", type=int, default=40, help=f"rows of {LENGTH} tokens that are compared")
    arguments = parser.parse_args()
    source = open_source(arguments.data) if arguments.data else StandardLibrary(("docs",))
    with tempfile.TemporaryDirectory() as folder:
        model = hn.load_model(arguments.model) if arguments.model else train(source, arguments.steps, folder)
        split = 0.0 if arguments.model else 0.1
        store = tokenize(source, model.tokenizer, folder, validation_split=split)
        view = PackedRows(store, LENGTH, split="train" if arguments.model else "validation").view(0)
        starts = range(0, min(arguments.rows, view.num_rows), ROWS)
        figures, failed = compare(model, [view.read(start, ROWS) for start in starts], arguments.block)
    write_report("diffusion_bound", {**figures, "checks_failed": len(failed)})
    if failed:
        raise SystemExit("not so: " + "; ".join(failed))


if __name__ == "__main__":
    main()
