"""A warning of retracing is one of a function that is traced again, not of many functions."""

import logging

import numpy as np
import pytest
import tensorflow as tf

import highnoon as hn
from highnoon.layers.graph_function import graph_function


@pytest.fixture
def warnings():
    """What TensorFlow logs."""
    found = []

    class Found(logging.Handler):
        def emit(self, record):
            found.append(record.getMessage())

    handler = Found(logging.WARNING)
    tf.get_logger().addHandler(handler)
    yield found
    tf.get_logger().removeHandler(handler)


def test_functions_that_are_traced_once_each_are_no_retracing(warnings):
    for number in range(12):
        double = graph_function(lambda x: 2 * x)
        assert double(tf.constant(float(number))).numpy() == 2 * number
    assert not [line for line in warnings if "retracing" in line]
    for number in range(12):
        double(tf.ones(number + 1))
    assert [line for line in warnings if "retracing" in line]


def test_evaluations_of_fresh_models_are_no_retracing(warnings):
    tokenizer = hn.tokenization.ByteTokenizer()
    for seed in range(6):
        model = hn.LanguageModel(263, 8, 16, 1, "attention+mlp", num_heads=2, tokenizer=tokenizer)
        rows = hn.data.TextDataset(["a b c d e f"] * 4, tokenizer, max_length=8).rows
        assert np.isfinite(hn.evaluation.evaluate_model(model, rows, batch_size=2 + seed % 2).loss)
    assert not [line for line in warnings if "retracing" in line]
