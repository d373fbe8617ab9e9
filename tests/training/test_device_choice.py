"""A device by name: which devices TensorFlow is restricted to, and errors that name those that there are."""

from __future__ import annotations

import collections
import re

import pytest
import tensorflow as tf

from highnoon.config import ConfigError
from highnoon.training.distributed import use_device

Physical = collections.namedtuple("Physical", ["name", "device_type"])
GPUS = [Physical(f"/physical_device:GPU:{number}", "GPU") for number in range(2)]
CPUS = [Physical("/physical_device:CPU:0", "CPU")]


@pytest.fixture
def chosen(monkeypatch):
    """A machine with two GPUs; collects what TensorFlow is restricted to."""
    calls = []
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: {"CPU": CPUS, "GPU": GPUS}[kind])
    monkeypatch.setattr(tf.config, "set_visible_devices", lambda devices, kind: calls.append((devices, kind)))
    return calls


@pytest.mark.parametrize(
    ("name", "gpus", "logical"),
    [
        ("cpu", [], "/CPU:0"),
        ("CPU:0", [], "/CPU:0"),
        ("cuda", [GPUS[0]], "/GPU:0"),
        ("gpu", [GPUS[0]], "/GPU:0"),
        ("cuda:0", [GPUS[0]], "/GPU:0"),
        ("cuda:1", [GPUS[1]], "/GPU:0"),
        ("gpu:1", [GPUS[1]], "/GPU:0"),
        ("/GPU:1", [GPUS[1]], "/GPU:0"),
        ("/device:GPU:1", [GPUS[1]], "/GPU:0"),
    ],
)
def test_a_device_is_the_only_one_that_tensorflow_sees(chosen, name, gpus, logical):
    assert use_device(name) == logical and chosen == [(gpus, "GPU")]


def test_auto_leaves_all_devices(chosen):
    assert use_device() == use_device("Auto") == "auto" and chosen == []


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("cuda:2", "there is no device 'cuda:2'; this machine has: cpu, cuda:0, cuda:1"),
        ("cpu:1", "there is no device 'cpu:1'; this machine has: cpu, cuda:0, cuda:1"),
        ("cudda", "there is no device 'cudda'; did you mean `cuda`? this machine has: cpu, cuda:0, cuda:1"),
        ("cuda:-1", "there is no device 'cuda:-1'; "),
        ("tpu", "there is no device 'tpu'; "),
        ("", "`device` must be a text"),
        (0, "`device` must be a text"),
    ],
)
def test_an_absent_device_is_an_error_that_names_those_there_are(chosen, name, words):
    with pytest.raises(ConfigError, match=re.escape(words)) as caught:
        use_device(name)
    assert chosen == [] and "\n" not in str(caught.value)


def test_a_gpu_on_a_machine_without_one_is_not_replaced_by_the_processor(monkeypatch):
    devices = {"CPU": CPUS, "GPU": []}
    monkeypatch.setattr(tf.config, "list_physical_devices", devices.__getitem__)
    with pytest.raises(ConfigError, match="there is no device 'cuda'; this machine has: cpu$"):
        use_device("cuda")


def test_a_choice_after_tensorflow_has_started_is_an_error(chosen, monkeypatch):
    def refuse(devices, kind):
        raise RuntimeError("Visible devices cannot be modified after being initialized")

    monkeypatch.setattr(tf.config, "set_visible_devices", refuse)
    with pytest.raises(ConfigError, match="must be chosen before TensorFlow starts"):
        use_device("cuda:1")


@pytest.mark.skipif(bool(tf.config.list_physical_devices("GPU")), reason="for a machine without a GPU")
def test_the_processor_can_be_named_at_any_time_where_it_is_the_only_device():
    assert tf.constant(1) + 1 == 2 and use_device("cpu") == "/CPU:0"
