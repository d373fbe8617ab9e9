"""The cluster as the environment describes it, the choice of a strategy, its data, rates and threads."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from highnoon.config import ConfigError
from highnoon.training import distributed
from highnoon.training.distributed import (
    ClusterConfig,
    create_cpu_strategy,
    get_distributed_dataset,
    get_worker_info,
    resolve_strategy,
    scaled_learning_rate,
    validate_tf_config,
)
from highnoon.training.distributed.multi_worker import own_gpus

TWO = ["10.0.0.1:2222", "10.0.0.2:2222"]
TORCHRUN = {
    "RANK": "1",
    "WORLD_SIZE": "3",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "3",
    "MASTER_ADDR": "127.0.0.1",
    "MASTER_PORT": "29500",
}
CLUSTER_VARIABLES = ("TF_CONFIG", "HIGHNOON_WATCH_PORT", *TORCHRUN)


@pytest.fixture(autouse=True)
def _no_cluster(monkeypatch):
    for name in CLUSTER_VARIABLES:
        monkeypatch.delenv(name, raising=False)


def tf_config(task_type: str = "worker", index: object = 0, **cluster: object) -> str:
    return json.dumps({"cluster": cluster or {"worker": TWO}, "task": {"type": task_type, "index": index}})


def test_every_exported_name_resolves():
    for name in distributed.__all__:
        assert callable(getattr(distributed, name)), name


def test_a_cluster_survives_tf_config():
    cluster = ClusterConfig(TWO, task_index=1)
    assert ClusterConfig.from_tf_config(cluster.to_json()) == cluster
    assert json.loads(cluster.to_json()) == cluster.to_tf_config() == json.loads(tf_config(index=1))


def test_a_chief_of_its_own_comes_first():
    text = tf_config("worker", 0, chief=["10.0.0.9:1"], worker=TWO)
    cluster = ClusterConfig.from_tf_config(text)
    assert cluster is not None
    assert cluster.addresses == ("10.0.0.9:1", *TWO)
    assert (cluster.rank, cluster.num_workers, cluster.is_chief) == (1, 3, False)
    chief = ClusterConfig.from_tf_config(tf_config("chief", 0, chief=["10.0.0.9:1"], worker=TWO))
    assert chief is not None and chief.is_chief and chief.rank == 0
    assert ClusterConfig.from_tf_config(chief.to_json()) == chief


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ("[]", "must be an object"),
        (tf_config(worker="a:1"), "must be a list"),
        (tf_config(worker=["a:1", "b"]), "host:port.*'b'"),
        (tf_config(worker=["a:1", "b:70000"]), "65535"),
        (tf_config(worker=["a:1", "a:1"]), "its own address"),
        (tf_config(index=2), "between 0 and 1.*received 2"),
        (tf_config(index="1"), "received '1'"),
        (tf_config(index=-1), "received -1"),
        (tf_config("chief"), "tasks of type 'chief'"),
        (tf_config("evaluator"), "task type"),
        (tf_config(worker=TWO, evaluator=["c:1"]), "chief and worker"),
        (tf_config(worker=TWO, ps=["c:1"]), "parameter servers"),
        (tf_config(worker=TWO, chief=["c:1", "d:1"]), "one chief"),
        (json.dumps({"cluster": {"worker": TWO}}), "`task` must be"),
    ],
)
def test_a_tf_config_that_cannot_work_is_refused_with_the_reason(text, message, monkeypatch):
    with pytest.raises(ConfigError, match=message):
        ClusterConfig.from_tf_config(text)
    monkeypatch.setenv("TF_CONFIG", text)
    is_valid, told = validate_tf_config()
    assert not is_valid and told


@pytest.mark.parametrize("text", [None, "", "{}", tf_config(worker=["a:1"])])
def test_without_several_workers_there_is_one_process(text, monkeypatch):
    if text is not None:
        monkeypatch.setenv("TF_CONFIG", text)
    assert ClusterConfig.from_environment() is None
    assert validate_tf_config()[0]
    assert get_worker_info() == {
        "is_distributed": False,
        "is_chief": True,
        "worker_index": 0,
        "num_workers": 1,
        "address": None,
        "cluster_spec": None,
    }


def test_a_worker_knows_its_rank(monkeypatch):
    monkeypatch.setenv("TF_CONFIG", tf_config(index=1))
    assert validate_tf_config() == (True, "TF_CONFIG names 2 workers; this is worker 1")
    info = get_worker_info()
    assert (info["is_distributed"], info["is_chief"], info["worker_index"]) == (True, False, 1)
    assert (info["num_workers"], info["address"]) == (2, TWO[1])
    assert info["cluster_spec"] == json.loads(tf_config(index=1))


def test_torchrun_on_one_host_gives_ports_after_its_own():
    cluster = ClusterConfig.from_environment(TORCHRUN)
    assert cluster is not None
    assert cluster.addresses == ("127.0.0.1:29501", "127.0.0.1:29502", "127.0.0.1:29503")
    assert (cluster.rank, cluster.local_rank, cluster.num_local_workers) == (1, 1, 3)
    assert cluster.watch_address == ("127.0.0.1", 29504)


def test_tf_config_goes_before_torchrun():
    cluster = ClusterConfig.from_environment({**TORCHRUN, "TF_CONFIG": tf_config(index=0)})
    assert cluster is not None and cluster.addresses == tuple(TWO) and cluster.rank == 0


def test_torchrun_of_one_process_is_no_cluster():
    assert ClusterConfig.from_environment({**TORCHRUN, "RANK": "0", "WORLD_SIZE": "1"}) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"LOCAL_WORLD_SIZE": "2"}, "several hosts"),
        ({"LOCAL_RANK": "0"}, "several hosts"),
        ({"MASTER_ADDR": ""}, "MASTER_ADDR"),
        ({"MASTER_PORT": "x"}, "MASTER_PORT must be an integer"),
        ({"MASTER_PORT": "65534"}, "65535"),
        ({"RANK": "3", "LOCAL_RANK": "3"}, "between 0 and 2"),
    ],
)
def test_a_torchrun_environment_that_cannot_work_is_refused_with_the_reason(change, message):
    with pytest.raises(ConfigError, match=message):
        ClusterConfig.from_environment({**TORCHRUN, **change})


def test_the_watch_port_is_never_over_65535():
    assert ClusterConfig(["a:2222"]).watch_address == ("a", 3222)
    assert ClusterConfig(["a:65000"]).watch_address == ("a", 64000)
    assert ClusterConfig(["[::1]:2222"]).watch_address == ("::1", 3222)


@pytest.mark.parametrize(("rule", "rate"), [("none", 0.1), ("linear", 0.4), ("sqrt", 0.2)])
def test_the_rate_grows_by_rule(rule, rate):
    assert scaled_learning_rate(0.1, 4, rule=rule) == pytest.approx(rate)
    assert scaled_learning_rate(0.1, 1, rule=rule) == 0.1


@pytest.mark.parametrize(
    ("rate", "num_replicas", "rule"), [(0.1, 2, "cubic"), (0.0, 2, "none"), (0.1, 0, "none")]
)
def test_a_rate_that_cannot_be_scaled_is_refused(rate, num_replicas, rule):
    with pytest.raises(ConfigError):
        scaled_learning_rate(rate, num_replicas, rule)


def test_alone_auto_is_the_default_strategy():
    assert resolve_strategy("auto") is tf.distribute.get_strategy()
    assert resolve_strategy(None) is tf.distribute.get_strategy()
    assert create_cpu_strategy().num_replicas_in_sync == 1


def test_the_open_scope_wins_over_the_environment(monkeypatch):
    monkeypatch.setenv("TF_CONFIG", tf_config())
    strategy = tf.distribute.OneDeviceStrategy("/cpu:0")
    with strategy.scope():
        assert resolve_strategy("auto") is strategy
        assert resolve_strategy(None) is strategy


def test_a_strategy_object_is_taken_as_it_is():
    strategy = tf.distribute.OneDeviceStrategy("/cpu:0")
    assert resolve_strategy(strategy) is strategy


def test_central_storage_is_refused_with_the_reason():
    strategy = tf.distribute.experimental.CentralStorageStrategy(["/cpu:0"], "/cpu:0")
    with pytest.raises(ConfigError, match="Keras 3 optimizers fail.*MirroredStrategy"):
        resolve_strategy(strategy)
    with strategy.scope(), pytest.raises(ConfigError, match="CentralStorageStrategy"):
        resolve_strategy("auto")
    with pytest.raises(ConfigError, match="CentralStorageStrategy"):
        create_cpu_strategy("central_storage")


def test_parameter_servers_are_refused_with_the_reason(monkeypatch):
    with pytest.raises(ConfigError, match="no run can be repeated.*MultiWorkerMirroredStrategy"):
        create_cpu_strategy("parameter_server", num_ps=2, variable_partitioner="min_max")
    strategy = tf.distribute.ParameterServerStrategy.__new__(tf.distribute.ParameterServerStrategy)
    with pytest.raises(ConfigError, match="ParameterServerStrategy"):
        resolve_strategy(strategy)


@pytest.mark.parametrize("strategy", ["mirrored", 3])
def test_what_is_no_strategy_is_refused(strategy):
    with pytest.raises(ConfigError, match='must be "auto", a tf.distribute.Strategy or None'):
        resolve_strategy(strategy)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"strategy_type": "mirror"}, "strategy_type must be one of"),
        ({"communication": "mpi"}, "communication must be one of"),
        ({"strategy_type": "multi_worker"}, "highnoon launch"),
    ],
)
def test_a_strategy_that_cannot_be_made_is_refused(arguments, message):
    with pytest.raises(ConfigError, match=message):
        create_cpu_strategy(**arguments)


def run_program(program: str) -> str:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_workers_that_join_too_late_are_told_what_to_do(monkeypatch):
    monkeypatch.setenv("TF_CONFIG", tf_config())
    tf.ones(1)
    with pytest.raises(ConfigError, match=r"before TensorFlow's first operation.*resolve_strategy\(\)"):
        resolve_strategy("auto")


def test_nccl_without_gpus_is_refused(monkeypatch):
    monkeypatch.setenv("TF_CONFIG", tf_config())
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [])
    with pytest.raises(ConfigError, match="needs GPUs"):
        create_cpu_strategy("multi_worker", communication="nccl")


@pytest.mark.parametrize(("num_gpus", "own"), [(4, ["gpu2", "gpu3"]), (2, ["gpu1"]), (0, [])])
def test_workers_of_one_host_share_its_gpus(num_gpus, own, monkeypatch):
    cluster = ClusterConfig(TWO, task_index=1, local_rank=1, num_local_workers=2)
    visible = []
    gpus = [f"gpu{number}" for number in range(num_gpus)]
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: gpus)
    monkeypatch.setattr(tf.config, "set_visible_devices", lambda devices, kind: visible.extend(devices))
    assert own_gpus(cluster) == visible == own


@pytest.mark.parametrize("num_gpus", [1, 3])
def test_gpus_that_cannot_be_shared_evenly_are_refused(num_gpus, monkeypatch):
    cluster = ClusterConfig(TWO, task_index=1, local_rank=1, num_local_workers=2)
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["gpu"] * num_gpus)
    with pytest.raises(ConfigError, match=f"cannot share {num_gpus} GPUs evenly"):
        own_gpus(cluster)


@pytest.mark.slow
def test_threads_are_set_before_the_first_operation_or_refused():
    printed = run_program("""
import tensorflow as tf
from highnoon.config import ConfigError
from highnoon.training.distributed import setup_cpu_threading
setup_cpu_threading(intra_op_threads=3)
threading = tf.config.threading
print(threading.get_intra_op_parallelism_threads(), threading.get_inter_op_parallelism_threads())
tf.ones(1)
for threads in (1, 0):
    try:
        setup_cpu_threading(intra_op_threads=threads)
    except ConfigError as error:
        print(error)
""")
    lines = printed.splitlines()
    assert lines[0] == "3 2"
    assert "before TensorFlow's first operation" in lines[1]
    assert "at least 1 thread" in lines[2]


REPLICAS = """
import numpy as np
import tensorflow as tf
from highnoon.training.distributed import create_cpu_strategy, get_distributed_dataset
processor = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(processor, [tf.config.LogicalDeviceConfiguration()] * 2)
strategy = create_cpu_strategy("mirrored")
assert strategy.num_replicas_in_sync == 2
def shares(dataset):
    batches = map(strategy.experimental_local_results, dataset)
    return [[part.numpy().tolist() for part in batch] for batch in batches]
"""


@pytest.mark.slow
def test_every_replica_gets_its_part_of_each_global_batch():
    run_program(
        REPLICAS
        + """
rows = tf.data.Dataset.range(10)
by_batches = get_distributed_dataset(rows.batch(4), strategy)
assert shares(by_batches) == [[[0, 1], [2, 3]], [[4, 5], [6, 7]], [[8], [9]]]
by_rows = get_distributed_dataset(rows, strategy, batch_size=2, shuffle=False)
assert shares(by_rows) == [[[0, 1], [2, 3]], [[4, 5], [6, 7]]]
shuffled = shares(get_distributed_dataset(rows, strategy, batch_size=5, seed=1))
assert sorted(sum(shuffled[0], [])) == list(range(10)) and shuffled != [[[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]]
assert shuffled == shares(get_distributed_dataset(rows, strategy, batch_size=5, seed=1))
own = get_distributed_dataset(lambda context: tf.data.Dataset.range(4).batch(1), strategy)
assert shares(own) == [[[0], [1]], [[2], [3]]]
"""
    )


def test_a_function_of_batches_and_a_batch_size_exclude_each_other():
    with pytest.raises(ConfigError, match="leave out `batch_size`"):
        get_distributed_dataset(lambda context: tf.data.Dataset.range(4), batch_size=2)
    with pytest.raises(ConfigError, match="at least 1"):
        get_distributed_dataset(tf.data.Dataset.range(4), batch_size=0)


def test_one_device_reads_the_batches_as_they_are():
    batches = get_distributed_dataset(tf.data.Dataset.range(5).batch(2))
    assert np.concatenate([batch.numpy() for batch in batches]).tolist() == [0, 1, 2, 3, 4]
