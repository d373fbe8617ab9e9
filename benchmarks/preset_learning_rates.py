"""At which learning rate the two smallest presets learn best in a short run.

    python benchmarks/preset_learning_rates.py

Each trains on the documentation that Python ships, from the same weights and with the same rows, once at
every rate, with the warm-up and the cosine that a run has by default. Printed is the held-out loss in nats a
token, and for each preset the rate with the lowest. `highnoon.config.presets` holds what was chosen.
"""

from __future__ import annotations

import argparse

import keras
from lib.report import write_report

import highnoon as hn

RATES = (1e-4, 1e-3, 3e-3, 9e-3)
STEPS = {"highnoon-nano": 250, "highnoon-tiny": 120}
ROWS = {"highnoon-nano": (8, 256), "highnoon-tiny": (4, 512)}
"""Rows of a step, and tokens of a row."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.parse_args()
    figures: dict[str, object] = {}
    for preset, steps in STEPS.items():
        name = preset.removeprefix("highnoon-")
        losses = {rate: held_out_loss(preset, rate, steps) for rate in RATES}
        figures |= {f"{name}_steps": steps, f"{name}_tokens_per_step": ROWS[preset][0] * ROWS[preset][1]}
        figures |= {f"{name}_val_loss_at_{rate:g}": loss for rate, loss in losses.items()}
        figures |= {f"{name}_best_rate": min(losses, key=losses.__getitem__)}
    write_report("preset_learning_rates", figures)


def held_out_loss(preset: str, rate: float, steps: int) -> float:
    keras.utils.set_random_seed(0)
    rows, row_length = ROWS[preset]
    model = hn.create_model(preset)
    trainer = hn.Trainer(model, learning_rate=rate, batch_size=rows, max_seq_length=row_length)
    trainer.add_curriculum_stage("docs", "stdlib:docs", steps=steps)
    trainer.train(save_checkpoints=False, log_dir=None, verbose=False, eval_interval=10**9, log_interval=50)
    loss = trainer.evaluate()["loss"]
    print(f"{preset} at {rate:g}: {loss:.4f} nats a token held out after {steps} steps", flush=True)
    return loss


if __name__ == "__main__":
    main()
