"""A pairwise ranking and a distillation, written as a user would; run as a program it trains with one.

own_objectives.py {ranking|distillation} CORPUS FOLDER STOP_AFTER
"""

import dataclasses
import os
import signal
import sys

import keras
import numpy as np
from keras import ops

import highnoon as hn
from highnoon.tokenization import ByteTokenizer
from highnoon.training.objective import Column, Metric, Objective, Terms, register_objective

VOCAB, LENGTH = 263, 24


@register_objective("test/own_ranking")
class Ranking(Objective):
    """Bradley-Terry: the log-odds that the better text of a pair has the higher score."""

    columns = {
        "better": Column("int32", ("token",)),
        "worse": Column("int32", ("token",)),
        "weight": Column("float32"),
    }

    def weight(self, batch):
        return ops.sum(batch["weight"])

    def num_tokens(self, batch):
        return ops.sum(ops.cast(batch["better"] > 0, "float32"))

    def terms(self, model, batch, training):
        better, worse = (model(batch[name], training=training)[:, 0] for name in ("better", "worse"))
        losses = ops.softplus(worse - better) * batch["weight"]
        hits = ops.cast(better > worse, "float32") * batch["weight"]
        metrics = {"ranking/accuracy": Metric(ops.sum(hits), self.weight(batch))}
        return Terms(ops.sum(losses), ops.zeros(()), metrics)

    def sequences(self, sources, preparation):
        rows = preparation.packed(sources)
        train = PairRows(rows.train)
        validation = None if rows.validation is None else PairRows(rows.validation)
        return dataclasses.replace(rows, train=train, validation=validation)


class PairRows:
    """Pairs of a row and a worse one, which has other tokens."""

    def __init__(self, rows):
        self._rows = rows

    def __getattr__(self, name):
        return getattr(self._rows, name)

    def only(self, store):
        return PairRows(self._rows.only(store))

    def view(self, epoch, documents=None):
        return PairView(self._rows.view(epoch, documents))


class PairView:
    def __init__(self, view):
        self._view, self.num_rows, self.epoch = view, view.num_rows, view.epoch

    def __getattr__(self, name):
        return getattr(self._view, name)

    def read(self, start, count):
        better = self._view.read(start, count)["token_ids"]
        weight = np.ones(len(better), np.float32)
        return {"better": better, "worse": worse_than(better), "weight": weight}


@register_objective("test/own_distillation")
class OwnDistillation(Objective):
    """Kullback-Leibler divergence of the student's next-token distribution from the teacher's."""

    def __init__(self, teacher):
        self._teacher = teacher

    def frozen_models(self):
        return {"teacher": self._teacher}

    def weight(self, batch):
        return ops.sum(batch["loss_weights"])

    def terms(self, model, batch, training):
        inputs = {
            "token_ids": batch["token_ids"],
            "padding_mask": ops.cast(batch["segment_ids"] > 0, "int32"),
        }
        teacher = ops.log_softmax(ops.stop_gradient(self._teacher(inputs, training=False)))
        student = ops.log_softmax(model(inputs, training=training))
        losses = ops.sum(ops.exp(teacher) * (teacher - student), axis=-1) * batch["loss_weights"]
        weight = self.weight(batch)
        return Terms(ops.sum(losses), ops.zeros(()), {"own/divergence": Metric(ops.sum(losses), weight)})

    @classmethod
    def from_config(cls, config):
        return cls(make_teacher())


def worse_than(better):
    return np.where(better > 0, VOCAB - better, 0).astype("int32")


def embedding():
    return keras.layers.Embedding(
        VOCAB, 8, embeddings_initializer=keras.initializers.RandomNormal(stddev=1.0), name="embedding"
    )


def make_ranking():
    return Ranking()


def make_distillation():
    return OwnDistillation(make_teacher())


def make_scorer(seed=0):
    keras.utils.set_random_seed(seed)
    ids = keras.Input((None,), dtype="int32", name="token_ids")
    vectors = embedding()(ids)
    mask = ops.expand_dims(ops.cast(ids > 0, "float32"), -1)
    mean = ops.sum(vectors * mask, axis=1) / ops.maximum(ops.sum(mask, axis=1), 1.0)
    hidden = keras.layers.Dense(8, activation="tanh", name="hidden")(mean)
    return keras.Model(ids, keras.layers.Dense(1, bias_initializer="ones", name="head")(hidden))


def make_language_model(seed):
    keras.utils.set_random_seed(seed)
    ids = keras.Input((None,), dtype="int32", name="token_ids")
    mask = keras.Input((None,), dtype="int32", name="padding_mask")
    hidden = embedding()(ids) * ops.expand_dims(ops.cast(mask, "float32"), -1)
    hidden = keras.layers.Dense(8, activation="gelu", name="hidden")(hidden)
    logits = keras.layers.Dense(VOCAB, name="head")(hidden)
    return keras.Model({"token_ids": ids, "padding_mask": mask}, logits)


def make_student():
    return make_language_model(seed=1)


def make_teacher():
    return make_language_model(seed=2)


def token_batch():
    rng = np.random.default_rng(0)
    used = np.arange(LENGTH) < rng.integers(3, LENGTH, size=(8, 1))
    ids = rng.integers(1, VOCAB, (8, LENGTH + 1)).astype("int32")
    return {
        "token_ids": ids[:, :-1] * used,
        "labels": ids[:, 1:] * used,
        "segment_ids": used.astype("int32"),
        "positions": np.tile(np.arange(LENGTH, dtype="int32"), (8, 1)),
        "loss_weights": used.astype("float32"),
    }


def pair_batch():
    ids = token_batch()["token_ids"]
    return {"better": ids, "worse": worse_than(ids), "weight": np.ones(8, "float32")}


def train(name, corpus, folder, stop_after=0):
    """Trains with one of the objectives, resumed from the folder; may kill the process after a step."""
    model = make_scorer() if name == "ranking" else make_student()
    trainer = hn.Trainer(
        model,
        tokenizer=ByteTokenizer(),
        learning_rate=1e-2,
        batch_size=2,
        gradient_accumulation_steps=2,
        max_seq_length=LENGTH,
        jit_compile=False,
    )
    objective = make_ranking() if name == "ranking" else make_distillation()
    trainer.add_curriculum_stage("own", corpus, steps=12, objective=objective)

    def stop(event):
        if event["event"] == "step_end" and event["step"] == stop_after:
            os.kill(os.getpid(), signal.SIGKILL)

    trainer.add_callback(stop)
    trainer.train(
        resume_from=True,
        checkpoint_dir=f"{folder}/checkpoints",
        checkpoint_interval=5,
        log_interval=1,
        eval_interval=4,
        log_dir=None,
        verbose=False,
    )


if __name__ == "__main__":
    train(*sys.argv[1:4], stop_after=int(sys.argv[4]))
