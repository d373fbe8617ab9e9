"""The figures of a log point are those of what was supervised."""

from __future__ import annotations

import highnoon as hn
from highnoon.tokenization import ByteTokenizer


def test_steps_without_a_supervised_token_log_no_loss(tmp_path, capsys):
    """Rows of a long question have none: only answers are supervised."""
    records = [{"instruction": f"{number} " + "why " * 40, "response": "because"} for number in range(12)]
    shape = {"vocab_size": 263, "embedding_dim": 16, "num_reasoning_blocks": 1, "max_seq_length": 32}
    model = hn.create_model("highnoon-nano", num_heads=2, expert_dim=8, **shape)
    model.tokenizer = ByteTokenizer()
    trainer = hn.Trainer(model, batch_size=1, learning_rate=1e-3)
    trainer.add_curriculum_stage("answers", records, steps=24)
    logged = []
    trainer.train(
        checkpoint_dir=tmp_path,
        log_interval=1,
        eval_interval=10**9,
        save_checkpoints=False,
        callbacks=[lambda event: event["event"] == "log" and logged.append(event["metrics"])],
    )
    losses = [metrics["train/loss"] for metrics in logged if "train/loss" in metrics]
    assert 0 < len(losses) < len(logged) == 24 and min(losses) > 0
    assert "no supervised token" in capsys.readouterr().out
