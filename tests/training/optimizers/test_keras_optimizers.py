"""Optimizers of Keras in a run: Keras's own weights, or a refusal before the first step."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

import highnoon as hn
from highnoon.config import ConfigError, TrainingConfig
from highnoon.config.optimizer_choice import KERAS_OPTIMIZERS
from highnoon.training.checkpoints.checkpoint import CheckpointError
from highnoon.training.optimizers import AdamW
from highnoon.training.optimizers.keras_optimizers import describe_optimizer, rebuild_optimizer
from highnoon.training.optimizers.keras_optimizers.require_exact import require_exact
from tests.training.optimizers.conftest import arrays_of, largest_difference, plain_model, train_as_keras

OPTIMIZERS = keras.optimizers
COSINE = {"initial_learning_rate": 1e-2, "decay_steps": 15, "warmup_target": 2e-2, "warmup_steps": 5}

IN_A_RUN = {
    "SGD with momentum": lambda: OPTIMIZERS.SGD(0.1, momentum=0.9),
    "SGD with Nesterov's momentum": lambda: OPTIMIZERS.SGD(0.1, momentum=0.9, nesterov=True),
    "Adam": lambda: OPTIMIZERS.Adam(1e-2),
    "AdamW, averaged and overwritten": lambda: OPTIMIZERS.AdamW(
        OPTIMIZERS.schedules.CosineDecay(**COSINE), use_ema=True, ema_momentum=0.9, ema_overwrite_frequency=7
    ),
}


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow) if name.startswith("SGD") else name for name in IN_A_RUN],
)
def test_a_run_gives_the_weights_of_keras(name, make_trainer):
    trainer = make_trainer(IN_A_RUN[name]())
    trainer.train(save_checkpoints=False, log_dir=None, verbose=False)
    assert largest_difference(trainer.model, train_as_keras(IN_A_RUN[name](), trainer)) < 1e-5
    assert largest_difference(trainer.model, plain_model()) > 1e-2


UPDATES = {
    "Adadelta": lambda: OPTIMIZERS.Adadelta(1.0),
    "Adafactor": lambda: OPTIMIZERS.Adafactor(1e-2),
    "Adagrad": lambda: OPTIMIZERS.Adagrad(0.1),
    "Adam": lambda: OPTIMIZERS.Adam(1e-2, amsgrad=True, weight_decay=0.1, clipnorm=0.5),
    "AdamW": lambda: OPTIMIZERS.AdamW(1e-2, weight_decay=0.1, global_clipnorm=0.5),
    "Adamax": lambda: OPTIMIZERS.Adamax(1e-2),
    "Ftrl": lambda: OPTIMIZERS.Ftrl(0.1, l1_regularization_strength=0.01),
    "Lamb": lambda: OPTIMIZERS.Lamb(1e-2),
    "Lion": lambda: OPTIMIZERS.Lion(1e-3),
    "Muon": lambda: OPTIMIZERS.Muon(1e-2),
    "Nadam": lambda: OPTIMIZERS.Nadam(1e-2, clipvalue=0.3),
    "RMSprop": lambda: OPTIMIZERS.RMSprop(1e-2, centered=True, momentum=0.5),
    "SGD": lambda: OPTIMIZERS.SGD(0.1, momentum=0.9, weight_decay=0.1, use_ema=True),
}
QUICK = {"Adafactor", "AdamW", "Muon", "SGD"}
"""One of each kind of update."""
REFUSED = {
    "LossScaleOptimizer": (lambda: OPTIMIZERS.LossScaleOptimizer(OPTIMIZERS.SGD(0.1)), "`inner_optimizer`"),
    "MultiOptimizer": (
        lambda: OPTIMIZERS.MultiOptimizer(OPTIMIZERS.OptimizerMap(default_optimizer=OPTIMIZERS.SGD(0.1))),
        "a run has one optimizer",
    ),
    "ScheduleFreeAdamW": (lambda: OPTIMIZERS.ScheduleFreeAdamW(1e-2), "gives other weights"),
}


def test_every_optimizer_of_keras_is_known_here():
    base = OPTIMIZERS.Optimizer
    classes = {name: getattr(OPTIMIZERS, name) for name in dir(OPTIMIZERS)}
    names = {name for name, cls in classes.items() if isinstance(cls, type) and issubclass(cls, base)}
    assert names - {"Optimizer"} == set(KERAS_OPTIMIZERS) == set(UPDATES) | set(REFUSED)


def _variables() -> list[keras.Variable]:
    generator = np.random.default_rng(0)
    return [
        keras.Variable(generator.normal(size=shape).astype("float32"), name=name)
        for name, shape in (("kernel", (5, 4)), ("bias", (4,)), ("embeddings", (6, 3)))
    ]


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in UPDATES]
)
def test_an_update_on_tensors_is_that_of_keras(name):
    ours, theirs, generator = _variables(), _variables(), np.random.default_rng(1)
    reference = UPDATES[name]()
    optimizer = rebuild_optimizer(describe_optimizer(reference, ours), ours)
    assert isinstance(optimizer, type(reference))
    optimizer.build(ours)
    variables = optimizer.variables
    update = tf.function(lambda *values: optimizer.updated(values[0], ours, values[1], values[2]))
    for _ in range(20):
        gradients = [tf.constant(generator.normal(size=v.shape).astype("float32")) for v in ours]
        before = [v.value.read_value() for v in ours], [v.value.read_value() for v in variables]
        new_weights, new_values = update(gradients, *before)
        reference.apply(gradients, theirs)
        for variable, value in zip([*ours, *variables], [*new_weights, *new_values], strict=True):
            variable.assign(value)
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_exact_is_refused_when_it_is_given(name, make_trainer):
    make, words = REFUSED[name]
    with pytest.raises(ConfigError, match=words):
        make_trainer(make())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"optimizer": "sgdd"}, "did you mean `sgd`"),
        ({"optimizer": OPTIMIZERS.SGD}, r"give SGD\(\.\.\.\)"),
        ({"optimizer": OPTIMIZERS.SGD(lambda: 0.1)}, "is a function, which cannot be saved"),
        ({"optimizer": {"class_name": "SGD", "config": {"momentun": 0.9}}}, "momentun"),
        ({"optimizer": {"class_name": "SGD", "momentum": 0.9}}, "`class_name` and `config`"),
        ({"optimizer": {"class_name": "someone>Else", "config": {}}}, "register its class"),
        ({"optimizer": OPTIMIZERS.SGD(gradient_accumulation_steps=2)}, "sums micro-batches"),
        ({"optimizer": OPTIMIZERS.SGD(loss_scale_factor=8.0)}, "loss of float16 itself"),
        ({"optimizer": OPTIMIZERS.SGD(0.1), "learning_rate": 1e-3}, "leave `learning_rate` out"),
        ({"optimizer": OPTIMIZERS.SGD(0.1), "warmup_steps": 10}, "leave `warmup_steps` out"),
        ({"optimizer": "adam", "schedule": "cosine"}, "leave `schedule` out"),
        ({"optimizer": OPTIMIZERS.SGD(0.1), "gradient_clip": 1.0}, "`global_clipnorm`"),
        (
            {"optimizer": OPTIMIZERS.SGD(0.1), "config": TrainingConfig(ema_momentum=0.9)},
            "leave `ema_momentum` out",
        ),
        ({"optimizer": AdamW(1e-3, clipvalue=1.0)}, "give `global_clipnorm`"),
    ],
)
def test_a_refusal_says_what_to_do(options, words, make_trainer):
    with pytest.raises(ConfigError, match=words) as caught:
        make_trainer(**options)
    assert "\n" not in str(caught.value)


class Signed(OPTIMIZERS.Optimizer):
    """A user's own optimizer, not registered."""

    def __init__(self, learning_rate=0.01, power=1.0, **options):
        super().__init__(learning_rate, **options)
        self.power = power

    def build(self, variables):
        super().build(variables)
        self.totals = self.add_optimizer_variables(variables, "total")

    def update_step(self, gradient, variable, learning_rate):
        total = self.totals[self._get_variable_index(variable)]
        total.assign(total + gradient)
        self.assign_sub(variable, learning_rate * self.power * keras.ops.sign(total))

    def get_config(self):
        return super().get_config() | {"power": self.power}


class Forgetful(Signed):
    def get_config(self):
        return {key: value for key, value in super().get_config().items() if key != "power"}


class Counting(Signed):
    calls = 0

    def update_step(self, gradient, variable, learning_rate):
        self.calls += 1
        super().update_step(gradient / self.calls, variable, learning_rate)


def test_an_optimizer_of_ones_own_works_too(make_trainer):
    trainer = make_trainer(Signed(0.02, power=0.5))
    trainer.train(save_checkpoints=False, log_dir=None, verbose=False)
    assert largest_difference(trainer.model, train_as_keras(Signed(0.02, power=0.5), trainer)) < 1e-5
    with pytest.raises(ConfigError, match="let `get_config` return `power`"):
        make_trainer(Forgetful(0.02, power=0.5))
    with pytest.raises(ConfigError, match="counts in its attribute `calls`"):
        make_trainer(Counting(0.02))


def test_an_optimizer_that_took_steps_or_is_a_runs_is_refused(make_trainer):
    used = OPTIMIZERS.SGD(0.1)
    used.apply([keras.ops.ones((2,))], [keras.Variable(keras.ops.ones((2,)))])
    with pytest.raises(ConfigError, match="has taken 1 steps already"):
        make_trainer(used)


def test_weights_are_excluded_from_decay_by_name_and_by_variable(make_trainer):
    def exclude(model: keras.Model) -> keras.optimizers.Optimizer:
        optimizer = OPTIMIZERS.AdamW(1e-2, weight_decay=5.0)
        head = model.get_layer("head").kernel
        optimizer.exclude_from_weight_decay(var_list=[head], var_names=["bias"])
        return optimizer

    model = plain_model()
    described = describe_optimizer(exclude(model), model.trainable_variables)
    again = rebuild_optimizer(described, model.trainable_variables)
    decayed = {v.path for v in model.trainable_variables if again._use_weight_decay(v)}
    assert decayed == {"embedding/embeddings", "hidden/kernel"}
    require_exact(exclude(model), described)


@pytest.mark.parametrize("name", ["SGD", pytest.param("Nadam", marks=pytest.mark.slow)])
def test_a_killed_run_resumes_bit_for_bit(name, make_trainer, tmp_path):
    def make() -> hn.Trainer:
        schedule = OPTIMIZERS.schedules.ExponentialDecay(1e-2, 4, 0.5)
        options = {"momentum": 0.9, "use_ema": True} if name == "SGD" else {}
        return make_trainer(getattr(OPTIMIZERS, name)(schedule, **options), steps=8)

    straight = make()
    straight.train(save_checkpoints=False, log_dir=None, verbose=False)

    def kill(event):
        if event["event"] == "step_end" and event["step"] == 5:
            raise RuntimeError("killed")

    killed = make()
    killed.add_callback(kill)
    with pytest.raises(RuntimeError, match="killed"):
        killed.train(log_dir=None, verbose=False)
    resumed = make()
    resumed.train(resume_from=True, log_dir=None, verbose=False)
    assert arrays_of(resumed) == arrays_of(straight)
    other = make_trainer(OPTIMIZERS.Adam(1e-2), steps=8)
    with pytest.raises(
        CheckpointError,
        match=f"optimizer is Adam of Keras now, {name} of Keras in",
    ):
        other.train(resume_from=True, log_dir=None, verbose=False)


@pytest.mark.slow
def test_micro_batches_make_one_update(make_trainer):
    trainers = [
        make_trainer(OPTIMIZERS.Adam(1e-2), steps=4, batch_size=size, gradient_accumulation_steps=count)
        for size, count in ((4, 1), (1, 4))
    ]
    for trainer in trainers:
        trainer.train(save_checkpoints=False, log_dir=None, verbose=False)
    assert largest_difference(*(trainer.model for trainer in trainers)) < 1e-5


def test_a_skipped_step_leaves_weights_and_slots_alone(make_trainer):
    from highnoon.training.learner import Learner
    from highnoon.training.objective import NextToken

    trainer = make_trainer(OPTIMIZERS.Adam(1e-2))
    learner = Learner(trainer.model, trainer.config, None)
    ids = np.ones((4, 8), np.int32)
    batch = {"token_ids": ids, "labels": ids, "segment_ids": ids, "positions": ids * 0}
    weights = np.ones((4, 8), np.float32)
    learner.step({**batch, "loss_weights": weights}, NextToken())
    variables = [*trainer.model.weights, *learner.optimizer.variables]
    before = [keras.ops.convert_to_numpy(variable) for variable in variables]
    metrics = learner.step({**batch, "loss_weights": weights * np.inf}, NextToken())
    assert bool(metrics["is_skipped"])
    changed = [
        variable.path
        for variable, value in zip(variables, before, strict=True)
        if not np.array_equal(keras.ops.convert_to_numpy(variable), value)
    ]
    assert [path.split("/")[-1] for path in changed] == ["iteration"]


def test_a_name_with_a_learning_rate_is_that_optimizer(make_trainer):
    trainer = make_trainer("SGD", learning_rate=0.05)
    assert trainer.config.optimizer["class_name"] == "SGD"
    assert trainer.config.optimizer["config"]["learning_rate"] == pytest.approx(0.05)
    assert trainer.config.gradient_clip is None and trainer.config.warmup_steps == 0
    assert "SGD of Keras brings a constant learning rate" in str(trainer.plan())
    assert TrainingConfig(**trainer.config.to_dict()) == trainer.config


@pytest.mark.slow
def test_an_optimizer_object_of_this_package_works(make_trainer):
    trainer = make_trainer(AdamW(1e-2, weight_decay=0.1, global_clipnorm=1.0))
    trainer.train(save_checkpoints=False, log_dir=None, verbose=False)
    named = make_trainer("adamw", learning_rate=1e-2, weight_decay=0.1, schedule="constant", warmup_steps=0)
    named.train(save_checkpoints=False, log_dir=None, verbose=False)
    assert largest_difference(trainer.model, named.model) == 0.0


@pytest.mark.slow
def test_a_part_of_the_weights_is_trained_by_keras_too(make_trainer, lines):
    trainer = make_trainer(OPTIMIZERS.Adam(1e-2), stage={"steps": 2, "trainable": ["*head*"]})
    trainer.add_curriculum_stage("all", lines, steps=2)
    embeddings = keras.ops.convert_to_numpy(trainer.model.get_layer("embedding").embeddings)
    seen = []

    def look(event):
        if event["event"] == "stage_complete":
            seen.append(keras.ops.convert_to_numpy(trainer.model.get_layer("embedding").embeddings))

    trainer.add_callback(look)
    trainer.train(save_checkpoints=False, log_dir=None, verbose=False)
    np.testing.assert_array_equal(seen[0], embeddings)
    assert not np.array_equal(seen[1], embeddings)
    with pytest.raises(ConfigError, match="averages all of them"):
        make_trainer(OPTIMIZERS.Adam(1e-2, use_ema=True), stage={"steps": 2, "trainable": ["*head*"]})


def test_a_stage_cannot_override_what_the_optimizer_brings(make_trainer):
    with pytest.raises(ConfigError, match="leave `learning_rate` out"):
        make_trainer(OPTIMIZERS.Adam(1e-2), stage={"steps": 2, "learning_rate": 1e-3})
    with pytest.raises(ConfigError, match='use weight_mode="loss"'):
        make_trainer(OPTIMIZERS.Adam(1e-2), stage={"steps": 2, "weight": 2.0}, weight_mode="learning_rate")


def test_a_recipe_names_an_optimizer_of_keras(lines, tmp_path):
    recipe = hn.Recipe(
        preset="highnoon-nano",
        model={"max_seq_length": 32, "vocab_size": 300, "num_reasoning_blocks": 1},
        training={"optimizer": {"class_name": "SGD", "config": {"learning_rate": 0.1, "momentum": 0.9}}},
        stages=[{"name": "one", "datasets": lines, "steps": 2}],
        output=str(tmp_path / "run"),
    )
    again = hn.Recipe.from_dict(recipe.to_dict())
    assert again.config().training == recipe.config().training
    assert again.config().training.learning_rate == 0.1
    short = recipe.with_overrides(["training.optimizer=rmsprop", "training.learning_rate=0.01"])
    assert short.config().training.optimizer == {"class_name": "RMSprop", "config": {"learning_rate": 0.01}}
    with pytest.raises(ConfigError, match="leave `warmup_steps` out"):
        recipe.with_overrides({"training.warmup_steps": 7}).config()
