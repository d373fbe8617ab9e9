"""Held-out figures of datasets of which a sample holds nothing that counts."""

from __future__ import annotations

import highnoon as hn
from highnoon.tokenization import ByteTokenizer


def test_a_dataset_without_a_supervised_held_out_token_has_no_loss_and_the_run_continues(tmp_path):
    """One row of a long question is all that is read of the second dataset."""
    questions = [{"instruction": f"{number} " + "why " * 300, "response": "so"} for number in range(40)]
    texts = [f"{number} plain words of a text that is learned" for number in range(40)]
    shape = {"vocab_size": 263, "embedding_dim": 16, "num_reasoning_blocks": 1, "max_seq_length": 32}
    model = hn.create_model("highnoon-nano", num_heads=2, expert_dim=8, **shape)
    model.tokenizer = ByteTokenizer()
    trainer = hn.Trainer(model, batch_size=1, learning_rate=1e-3)
    trainer.add_curriculum_stage("mix", [texts, questions], steps=2)
    evaluations = []
    trainer.train(
        checkpoint_dir=tmp_path,
        save_checkpoints=False,
        validation_steps=1,
        callbacks=[lambda event: event["event"] == "evaluation" and evaluations.append(event["metrics"])],
    )
    of_datasets = [name for name in evaluations[-1] if name.startswith("val/loss/")]
    assert evaluations[-1]["val/loss"] > 0 and len(of_datasets) == 1
