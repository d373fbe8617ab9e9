"""A misspelled keyword is answered with the nearest one, and the signature stays explicit."""

import inspect
import re
from functools import partial

import pytest

import highnoon as hn
from highnoon import data, inference
from highnoon.config import ConfigError
from highnoon.evaluation import evaluate_model


@pytest.fixture(scope="module")
def model() -> hn.LanguageModel:
    return hn.create_model("highnoon-nano", embedding_dim=8, num_reasoning_blocks=1, vocab_size=300)


@pytest.mark.parametrize(
    "call, name, near",
    [
        (lambda model: hn.Trainer(model).train, "num_epochs", "epochs"),
        (lambda model: hn.Trainer(model).train, "checkpoint_folder", "checkpoint_dir"),
        (lambda model: partial(hn.Trainer, model), "cachedir", "cache_dir"),
        (lambda model: partial(hn.Trainer, model), "batchsize", "batch_size"),
        (lambda model: hn.Trainer, "modle", "model"),
        (lambda model: hn.Trainer(model).add_curriculum_stage, "dataset", "datasets"),
        (lambda model: hn.Trainer(model).add_curriculum_stage, "num_epochs", "epochs"),
        (lambda model: hn.Trainer(model).add_curriculum_stage, "batchsize", "batch_size"),
        (lambda model: hn.Trainer(model).plan, "epochs", "epochs_per_stage"),
        (lambda model: hn.Trainer(model).evaluate, "step", "steps"),
        (lambda model: hn.Trainer(model).preflight, "resume", "resume_from"),
        (lambda model: partial(hn.create_model, "highnoon-nano"), "num_layer", "n_layer"),
        (lambda model: partial(hn.create_model, "highnoon-nano"), "allow_oversized", "allow_oversize"),
        (lambda model: hn.LanguageModel, "vocab_siz", "vocab_size"),
        (lambda model: partial(hn.load_model, "nowhere"), "dtypes", "dtype"),
        (lambda model: partial(hn.save_model, model), "paths", "path"),
        (lambda model: partial(hn.export_model, model, "x"), "fromat", "format"),
        (lambda model: partial(model.generate, "x"), "temprature", "temperature"),
        (lambda model: partial(model.generate_batch, ["x"]), "temprature", "temperature"),
        (lambda model: model.enable_lora, "ranks", "rank"),
        (lambda model: partial(inference.generate, model, "x"), "topk", "top_k"),
        (lambda model: partial(inference.generate_beam, model, "x"), "num_beam", "num_beams"),
        (lambda model: partial(data.open_source, "x"), "textfield", "text_field"),
        (lambda model: data.prepare, "numworkers", "num_workers"),
        (lambda model: data.TextDataset, "tokeniser", "tokenizer"),
        (lambda model: evaluate_model, "batchsize", "batch_size"),
    ],
)
def test_a_misspelled_argument_is_answered_with_the_nearest(model, call, name, near):
    with pytest.raises(
        TypeError, match=rf"^\w+\(\) has no argument `{name}`; did you mean `{near}`\?$"
    ) as error:
        call(model)(**{name: 3})
    assert isinstance(error.value, ConfigError)


@pytest.mark.parametrize(
    "call, name, words",
    [
        (lambda model: partial(hn.Trainer, model), "callbacks", "give it to train()"),
        (lambda model: partial(hn.Trainer, model), "validation_data", "add_curriculum_stage() or train()"),
        (lambda model: hn.Trainer(model).train, "batch_size", "add_curriculum_stage()"),
        (lambda model: hn.Trainer(model).train, "warmup_steps", "give it to Trainer()"),
        (lambda model: hn.Trainer(model).add_curriculum_stage, "log_dir", "give it to train()"),
    ],
)
def test_an_argument_of_another_method_is_answered_with_that_method(model, call, name, words):
    with pytest.raises(TypeError, match=re.escape(words)):
        call(model)(**{name: 3})


def test_a_name_that_is_like_none_is_answered_with_all(model):
    with pytest.raises(TypeError, match=r"save_model\(\) has no argument `zzz`; it has: model, path$"):
        hn.save_model(zzz=1)


def test_the_trainer_takes_the_words_of_others(model):
    assert hn.Trainer(model, lr=0.5).config.learning_rate == 0.5


def test_the_signature_of_train_stays_explicit():
    parameters = inspect.signature(hn.Trainer.train).parameters
    assert "checkpoint_interval" in parameters
    assert not any(one.kind is one.VAR_KEYWORD for one in parameters.values())


@pytest.mark.parametrize(
    "call, name, words",
    [
        (lambda model: hn.Trainer(model).train, "datasets", r"give it to add_curriculum_stage\(\)"),
        (lambda model: partial(model.generate, "x"), "do_sample", "temperature=0"),
        (lambda model: partial(model.generate_batch, ["x"]), "do_sample", "temperature=0"),
        (lambda model: partial(inference.generate, model, "x"), "num_beams", "generate_beam"),
    ],
)
def test_an_argument_of_another_function_is_answered_with_where_it_belongs(model, call, name, words):
    with pytest.raises(ConfigError, match=rf"has no argument `{name}`; [^\n]*{words}"):
        call(model)(**{name: 3})


def test_data_given_to_train_or_to_an_evaluation_of_rows_is_answered_with_where_it_belongs(model):
    with pytest.raises(ConfigError, match=r"whole number; received [^\n]*add_curriculum_stage"):
        hn.Trainer(model).train(["Once upon a time."])
    with pytest.raises(TypeError, match=r"must be PackedRows; received [^\n]*Trainer\(model\)\.evaluate"):
        evaluate_model(model, ["Once upon a time."])
