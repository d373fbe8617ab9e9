"""Trains one small model in several ways on logical CPU devices; writes weights and losses of each as .npz.

python replica_runs.py FOLDER NAME:REPLICAS:MICRO_BATCH[:DTYPE[:DROPOUT[:OPTIMIZER]]] ...
"""

import pathlib
import sys

import keras
import numpy as np
import tensorflow as tf

import highnoon as hn
from highnoon.config import TrainingConfig
from highnoon.training.optimizers import make_optimizer
from highnoon.training.steps.replicas import Replicas, all_variables
from highnoon.training.steps.run_schedule import RunSchedule
from highnoon.training.steps.step import TrainStep
from highnoon.training.steps.step_state import StepState

STEPS, ROWS, ROW_LENGTH, VOCAB = 20, 16, 16, 40
SHAPE = {
    "vocab_size": VOCAB,
    "embedding_dim": 16,
    "num_heads": 2,
    "num_reasoning_blocks": 1,
    "max_seq_length": ROW_LENGTH,
    "num_moe_experts": 4,
    "router_type": "sigmoid",
    "expert_dim": 16,
    "ffn_dim": 32,
}

OF_KERAS = TrainingConfig(
    optimizer={
        "class_name": "Nadam",
        "config": {"learning_rate": 1e-2, "use_ema": True, "clipnorm": 0.5, "weight_decay": 0.1},
    }
)


def batches():
    rng = np.random.default_rng(1)
    for _ in range(STEPS):
        shape = (ROWS, ROW_LENGTH)
        used = np.arange(ROW_LENGTH) < rng.integers(1, ROW_LENGTH, size=(ROWS, 1))
        yield {
            "token_ids": rng.integers(0, VOCAB, shape, dtype=np.int32),
            "labels": rng.integers(0, VOCAB, shape, dtype=np.int32),
            "loss_weights": used.astype(np.float32),
            "segment_ids": used.astype(np.int32),
            "positions": np.broadcast_to(np.arange(ROW_LENGTH, dtype=np.int32), shape).copy(),
        }


def run(replicas, micro_batch_size, dtype="float32", dropout=0.0, optimizer="adamw", name=""):
    pattern = "attention+moe" if "experts" in name else "attention+mlp"
    if "plastic" in name:
        pattern = f"spiking_bdh(multiplier=8, stdp={'off' not in name}, stdp_rate=1.0, stdp_clip=0.01, "
        pattern += "gain_update_rate=0.0)"
    # Adam divides by gradients, however small: a low rate leaves the changes of spike timing.
    rate = 1e-4 if "plastic" in name else 1e-2
    spoil = (3, 7) if "spoilt" in name else ()
    keras.utils.set_random_seed(0)
    options = {"block_pattern": pattern, "dropout": float(dropout), "dtype": dtype}
    model = hn.create_model("highnoon-nano", **SHAPE, **options)
    devices = [f"/cpu:{number}" for number in range(replicas)]
    strategy = None
    if replicas > 1:
        # One process may use one size of collective groups; the reduction to a device has no such limit.
        strategy = tf.distribute.MirroredStrategy(devices, tf.distribute.ReductionToOneDevice())
    group = Replicas(strategy)
    with group.strategy.scope():
        state = StepState()
        group.adopt(all_variables(model))
        config = TrainingConfig(ema_momentum=0.9, optimizer=optimizer) if optimizer == "adamw" else OF_KERAS
        built = make_optimizer(model, config, RunSchedule([rate], [STEPS], 2))
    step = TrainStep(
        model, built, micro_batch_size, gradient_clip=0.5, jit_compile=False, replicas=group, state=state
    )
    results = {"losses": [], "norms": [], "skipped": []}
    # A spike is there or not: over many steps, rounding decides about single ones.
    all_batches = list(batches())[: 3 if "plastic" in name else STEPS]
    for number in spoil:
        all_batches[number]["loss_weights"][ROWS - 1, 0] = np.nan  # the last replica's alone
    first = 1 if "several" in name else STEPS
    taken = [step(batch) for batch in all_batches[:first]]
    if all_batches[first:]:
        stacked = {key: np.stack([batch[key] for batch in all_batches[first:]]) for key in all_batches[0]}

        def rows(first_row, count):
            return {key: value[:, first_row : first_row + count] for key, value in stacked.items()}

        taken.append(step.several(group.read(rows, ROWS // replicas)))
    for metrics in taken:
        results["losses"].extend(np.atleast_1d(metrics["loss"]))
        results["norms"].extend(np.atleast_1d(metrics["grad_norm"]))
        results["skipped"].extend(np.atleast_1d(metrics["is_skipped"]))
    values = [*model.variables, *built.averages()]
    arrays = {f"weight {number}": variable.numpy() for number, variable in enumerate(values)}
    return {key: np.asarray(value) for key, value in results.items()} | arrays


def main():
    folder = pathlib.Path(sys.argv[1])
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 4)
    for spec in sys.argv[2:]:
        name, replicas, micro_batch, *rest = spec.split(":")
        results = run(int(replicas), int(micro_batch), *rest, name=name)
        np.savez(folder / f"{name}.npz", **results)


if __name__ == "__main__":
    main()
