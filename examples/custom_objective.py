"""Train with an objective of your own: the focal loss, which weighs tokens that the model knows less.

python examples/custom_objective.py --data stdlib:docs --steps 100 --gamma 2
"""

from __future__ import annotations

import argparse

from keras import ops

import highnoon as hn
from highnoon.training.objective import Metric, NextToken, Terms, register_objective


@register_objective("focal")
class Focal(NextToken):
    """-(1 - p)^gamma log p of the next token, where p is its probability (arXiv:1708.02002, equation 4)."""

    def __init__(self, gamma=2.0):
        self.gamma = gamma

    def get_config(self):
        return {"gamma": self.gamma}

    def terms(self, model, batch, training):
        inputs = {name: batch[name] for name in ("token_ids", "segment_ids", "positions")}
        log_probs = ops.log_softmax(model(inputs, training=training))
        log_p = ops.take_along_axis(log_probs, batch["labels"][..., None], axis=-1)[..., 0]
        losses = -((1 - ops.exp(log_p)) ** self.gamma) * log_p
        # The step divides the sum by the supervised tokens of the global batch, whatever the micro-batches.
        weights = batch["loss_weights"]
        metrics = {"focal/cross_entropy": Metric(-ops.sum(log_p * weights), ops.sum(weights))}
        return Terms(ops.sum(losses * weights), ops.zeros(()), metrics)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="stdlib:docs", help="file, glob, folder or name of a dataset")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--gamma", type=float, default=2.0)
    arguments = parser.parse_args()

    model = hn.create_model("highnoon-nano", block_pattern="transformer")
    trainer = hn.Trainer(model, learning_rate=3e-3, max_seq_length=128)
    objective = Focal(arguments.gamma)
    trainer.add_curriculum_stage("text", arguments.data, steps=arguments.steps, objective=objective)
    trainer.train(save_checkpoints=False, log_dir=None)
    print(trainer.evaluate())


if __name__ == "__main__":
    main()
