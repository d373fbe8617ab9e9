"""Train a model with a mixer of your own: a sum over the past that decays at a rate for each channel.

python examples/custom_mixer.py --data stdlib:docs --steps 100
"""

from __future__ import annotations

import argparse

from keras import ops

import highnoon as hn
from highnoon.layers import Mixer
from highnoon.models.parts import MixerPart, register_part


class DecayingSum(Mixer):
    """y[t] = decay * y[t-1] + x[t], with decay in (0, 1) for each channel; quadratic in time, for brevity."""

    def build(self, x_shape):
        self.logit = self.add_weight((x_shape[-1],), initializer="ones", name="logit")

    def call(self, x, segment_ids=None, positions=None, training=None):
        time = ops.arange(ops.shape(x)[1])
        ages = time[:, None] - time[None, :]
        seen = (ages >= 0)[None]
        if segment_ids is not None:
            seen = ops.logical_and(seen, segment_ids[:, :, None] == segment_ids[:, None, :])
        powers = ops.cast(ops.maximum(ages, 0), x.dtype)[..., None]
        decays = ops.exp(powers * ops.log_sigmoid(ops.cast(self.logit, x.dtype)))
        return ops.sum(ops.cast(seen, x.dtype)[..., None] * decays[None] * x[:, None], axis=2)

    def initial_cache(self, batch_size, max_length, dtype=None):
        return {"y": ops.zeros((batch_size, 1, self.logit.shape[0]), dtype or self.compute_dtype)}

    def step(self, x, cache, index, padding=None):
        if padding is not None:
            x = ops.where((index + ops.arange(ops.shape(x)[1]) >= padding[:, None])[..., None], x, 0.0)
        y = self.call(ops.concatenate([cache["y"], x], axis=1))  # the last y acts as the first token
        return y[:, 1:], {"y": y[:, -1:]}


@register_part("decaying_sum")
class DecayingSumPart(MixerPart):
    def build(self, config, **kwargs):
        return DecayingSum(**kwargs)

    def parameters(self, config):
        return config.embedding_dim

    def cache_numbers(self, config):
        return config.embedding_dim


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="stdlib:docs", help="file, glob, folder or name of a dataset")
    parser.add_argument("--steps", type=int, default=100)
    arguments = parser.parse_args()

    model = hn.create_model("highnoon-nano", block_pattern="decaying_sum+mlp, attention+mlp")
    trainer = hn.Trainer(model, learning_rate=3e-3, max_seq_length=128)
    trainer.add_curriculum_stage("text", datasets=arguments.data, steps=arguments.steps)
    trainer.train(save_checkpoints=False, log_dir=None)
    print(model.generate("The ", max_length=40, temperature=0.8, seed=1))


if __name__ == "__main__":
    main()
