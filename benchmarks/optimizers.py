"""How many steps Muon needs for the held-out loss that AdamW has at its end.

    python benchmarks/optimizers.py

Both train the same small model on the documentation that Python ships, with the same rows, the same
learning rates to choose from, each with a cosine over its own length. Muon gets 75 percent of AdamW's steps.
"""

from __future__ import annotations

import argparse
import tempfile

import keras
from lib.report import write_report

import highnoon as hn
from highnoon.tokenization import ByteTokenizer

FRACTION_OF_STEPS = 0.75
RATES = (1e-3, 2e-3, 4e-3, 8e-3, 1.6e-2)
MODEL = {
    "vocab_size": 263,
    "embedding_dim": 128,
    "num_reasoning_blocks": 2,
    "max_seq_length": 128,
    "num_heads": 4,
    "num_moe_experts": 4,
    "expert_dim": 176,
    "block_pattern": "attention+moe",
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=400, help="of AdamW")
    arguments = parser.parse_args()
    lengths = {"adamw": arguments.steps, "muon": int(FRACTION_OF_STEPS * arguments.steps)}
    figures: dict[str, object] = {f"{name}_steps": steps for name, steps in lengths.items()}
    for name, steps in lengths.items():
        losses = {rate: held_out_loss(name, rate, steps) for rate in RATES}
        best = min(losses, key=losses.__getitem__)
        figures |= {f"{name}_val_loss_at_{rate:g}": loss for rate, loss in losses.items()}
        figures |= {f"{name}_best_rate": best, f"{name}_val_loss": losses[best]}
    figures["muon_minus_adamw_nats"] = figures["muon_val_loss"] - figures["adamw_val_loss"]
    write_report("optimizers", figures)


def held_out_loss(optimizer: str, rate: float, steps: int) -> float:
    keras.utils.set_random_seed(0)
    model = hn.create_model(hn.ModelConfig(**MODEL))
    model.tokenizer = ByteTokenizer()
    trainer = hn.Trainer(
        model,
        learning_rate=rate,
        batch_size=16,
        max_seq_length=128,
        warmup_steps=20,
        optimizer=optimizer,
        weight_decay=0.1,
        adam_beta2=0.95,
        early_stopping_patience=None,
    )
    trainer.add_curriculum_stage("docs", "stdlib:docs", steps=steps)
    with tempfile.TemporaryDirectory() as folder:
        summary = trainer.train(
            save_checkpoints=False, log_dir=folder, verbose=False, eval_interval=10**9, log_interval=100
        )
    loss = summary["stages_completed"][0]["val_loss"]
    print(f"{optimizer} at {rate:g}: {loss:.4f} nats a byte held out after {steps} steps", flush=True)
    return loss


if __name__ == "__main__":
    main()
