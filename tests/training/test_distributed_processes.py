"""Real processes on loopback: they watch each other, train in step and share data."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence

import pytest

from highnoon.training.distributed.cluster_config import ClusterConfig
from highnoon.training.distributed.launching.launch_plan import LaunchPlan, free_ports
from highnoon.training.distributed.peer_link import PeerLink
from highnoon.training.distributed.peer_watch import EXIT_CODE, PeerWatch

# Joins the watch, then does what its rank's entry of DO says.
JOIN = """
import os, sys, time
from highnoon.training.distributed.cluster_config import ClusterConfig
from highnoon.training.distributed.peer_watch import PeerWatch
cluster = ClusterConfig.from_environment()
rank = cluster.rank
def joined(watch):
    expected = set(range(1, cluster.num_workers)) if cluster.is_chief else {0}
    while watch.joined != expected:
        time.sleep(0.02)
    print("joined at", cluster.addresses[rank], flush=True)
"""

WAIT = (
    JOIN
    + """
with PeerWatch(cluster, on_loss=lambda lost: print("noticed", lost.rank, flush=True), **OPTIONS) as watch:
    joined(watch)
    while True:
        time.sleep(0.1)
"""
)

# All-reduces forever; worker RESTS does no more after 20 steps, so that the others wait for it.
ALL_REDUCE = """
import sys, time
import tensorflow as tf
from highnoon.training.distributed import ClusterConfig, PeerWatch, resolve_strategy
strategy = resolve_strategy("auto")
cluster = ClusterConfig.from_environment()
@tf.function
def step():
    return strategy.run(lambda: tf.distribute.get_replica_context().all_reduce("sum", tf.ones([1000])))
with PeerWatch(cluster):
    for number in range(10**9):
        step()
        if number == 20:
            print("training", flush=True)
        if number >= 20 and cluster.rank == RESTS:
            time.sleep(1000)
        time.sleep(0.01)
"""


@contextlib.contextmanager
def start_workers(
    folder: pathlib.Path, program: str, num_workers: int
) -> Iterator[list[subprocess.Popen[str]]]:
    """Yields one process a worker that runs `program` and writes to `folder/RANK.txt`; kills what is left."""
    plan = LaunchPlan.on_this_host(num_workers)
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "", "TF_NUM_INTRAOP_THREADS": "1"}
    processes = []
    try:
        for rank in range(num_workers):
            with (folder / f"{rank}.txt").open("w") as output:
                processes.append(
                    subprocess.Popen(
                        [sys.executable, "-c", program],
                        env={**os.environ, **plan.environment(rank), **quiet},
                        stdout=output,
                        stderr=subprocess.STDOUT,
                        text=True,
                    )
                )
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.wait()


def output_of(folder: pathlib.Path, rank: int) -> str:
    return (folder / f"{rank}.txt").read_text()


def wait_for_lines(folder: pathlib.Path, ranks: Sequence[int], line: str, seconds: float = 120.0) -> None:
    """Waits until each worker has written `line`."""
    ends_at = time.monotonic() + seconds
    while not all(line in output_of(folder, rank) for rank in ranks):
        if time.monotonic() > ends_at:
            told = "\n".join(output_of(folder, rank) for rank in ranks)
            raise AssertionError(f"no {line!r} within {seconds:g} s; the workers wrote:\n{told}")
        time.sleep(0.05)


def wait_for_ends(processes: Sequence[subprocess.Popen[str]], seconds: float) -> list[int]:
    """Returns the exit codes, waiting for all."""
    ends_at = time.monotonic() + seconds
    return [process.wait(timeout=max(0.1, ends_at - time.monotonic())) for process in processes]


def waiting(**options: object) -> str:
    return WAIT.replace("OPTIONS", repr(options))


@pytest.mark.parametrize("victim", [0, 2])
def test_a_killed_worker_is_named_by_all_others_which_end(tmp_path, victim):
    with start_workers(tmp_path, waiting(grace_seconds=0.5), 3) as workers:
        wait_for_lines(tmp_path, range(3), "joined")
        killed_at = time.monotonic()
        workers[victim].send_signal(signal.SIGKILL)
        others = [worker for rank, worker in enumerate(workers) if rank != victim]
        assert wait_for_ends(others, 10) == [EXIT_CODE, EXIT_CODE]
        assert time.monotonic() - killed_at < 5
    address = output_of(tmp_path, victim).split("at ")[1].split()[0]
    for rank in {0, 1, 2} - {victim}:
        told = output_of(tmp_path, rank)
        assert f"error: worker {victim} ({address})" in told
        assert f"noticed {victim}" in told


@pytest.mark.slow
def test_a_worker_that_is_silent_is_lost(tmp_path):
    with start_workers(tmp_path, waiting(grace_seconds=0.2, silent_seconds=2.0), 2) as workers:
        wait_for_lines(tmp_path, range(2), "joined")
        workers[1].send_signal(signal.SIGSTOP)
        assert wait_for_ends(workers[:1], 10) == [EXIT_CODE]
    assert "error: worker 1 (127.0.0.1:" in output_of(tmp_path, 0)
    assert "nothing was heard of it for 2 seconds" in output_of(tmp_path, 0)


@pytest.mark.slow
def test_a_worker_that_pauses_for_less_is_not_lost(tmp_path):
    with start_workers(tmp_path, waiting(silent_seconds=4.0), 2) as workers:
        wait_for_lines(tmp_path, range(2), "joined")
        for worker in workers:
            worker.send_signal(signal.SIGSTOP)
            time.sleep(2)
            worker.send_signal(signal.SIGCONT)
        time.sleep(3)
        assert [worker.poll() for worker in workers] == [None, None]


@pytest.mark.parametrize("first", [0, 1])
def test_workers_that_leave_in_order_raise_no_alarm(tmp_path, first):
    program = (
        JOIN
        + f"""
for turn in range(3):
    with PeerWatch(cluster, grace_seconds=0.1) as watch:
        joined(watch)
        time.sleep(1.0 * (rank != {first}))
print("all well", flush=True)
"""
    )
    with start_workers(tmp_path, program, 3) as workers:
        assert wait_for_ends(workers, 30) == [0, 0, 0]
    for rank in range(3):
        assert "error" not in output_of(tmp_path, rank)
        assert "all well" in output_of(tmp_path, rank)


@pytest.mark.parametrize("failing", [0, 1])
def test_the_others_are_told_by_which_error_a_worker_ended(tmp_path, failing):
    program = (
        JOIN
        + f"""
with PeerWatch(cluster, grace_seconds=0.2) as watch:
    joined(watch)
    time.sleep(0.5)
    if rank == {failing}:
        raise ValueError("no such row")
    time.sleep(60)
"""
    )
    with start_workers(tmp_path, program, 3) as workers:
        codes = wait_for_ends(workers, 20)
    assert codes == [1 if rank == failing else EXIT_CODE for rank in range(3)]
    for rank in {0, 1, 2} - {failing}:
        assert f"error: worker {failing} (" in output_of(tmp_path, rank)
        assert "it ended with ValueError: no such row" in output_of(tmp_path, rank)


def test_work_that_is_done_before_the_grace_ends_is_kept(tmp_path):
    program = (
        JOIN
        + """
with PeerWatch(cluster, grace_seconds=2.0) as watch:
    joined(watch)
    time.sleep(1.0 if rank == 0 else 60)
time.sleep(3.0)
print("saved", flush=True)
"""
    )
    with start_workers(tmp_path, program, 2) as workers:
        wait_for_lines(tmp_path, range(2), "joined")
        workers[1].send_signal(signal.SIGKILL)
        assert wait_for_ends(workers[:1], 20) == [0]
    assert "saved" in output_of(tmp_path, 0)


def test_a_failing_on_loss_does_not_keep_the_process_alive(tmp_path):
    program = waiting(grace_seconds=0.2).replace('print("noticed", lost.rank, flush=True)', "1 / 0")
    with start_workers(tmp_path, program, 2) as workers:
        wait_for_lines(tmp_path, range(2), "joined")
        workers[1].send_signal(signal.SIGKILL)
        assert wait_for_ends(workers[:1], 10) == [EXIT_CODE]


def test_strangers_at_the_port_change_nothing(tmp_path):
    program = JOIN + "print('port', cluster.watch_address[1], flush=True)\n" + waiting()
    with start_workers(tmp_path, program, 2) as workers:
        wait_for_lines(tmp_path, range(2), "joined")
        port = int(output_of(tmp_path, 0).split("port ")[1].split()[0])
        rubbish = (b"GET / HTTP/1.1\r\n\r\n", b"{}\n", b"[[]]\n", b'["hello"]\n', b'["hello", [], "x"]\n')
        for message in (*rubbish, b'["lost", 1, "x"]\n', b'["hello", 1, "another run"]\n'):
            with socket.create_connection(("127.0.0.1", port)) as stranger:
                stranger.sendall(message)
        time.sleep(1.5)
        assert [worker.poll() for worker in workers] == [None, None]
        assert "error" not in output_of(tmp_path, 0)


@pytest.mark.parametrize(("run", "is_welcome"), [("the same", True), ("another", False)])
def test_only_workers_of_the_same_run_can_join(run, is_welcome):
    cluster = ClusterConfig(["127.0.0.1:1", "127.0.0.1:2"], watch_port=free_ports(1)[0])
    address = cluster.watch_address
    with PeerWatch(cluster, exit_code=None) as watch, socket.create_connection(address) as other:
        other.sendall(json.dumps(["hello", 1, watch.greeting if run == "the same" else run]).encode() + b"\n")
        assert other.recv(100).startswith(b'["welcome"]\n') == is_welcome
        assert watch.joined == ({1} if is_welcome else set())
        other.sendall(b'["bye"]\n')


def test_one_process_needs_no_watch():
    with PeerWatch(None) as watch:
        assert watch.lost is None
    with PeerWatch(ClusterConfig(["localhost:1"])):
        pass


def test_a_taken_watch_port_is_an_error_that_says_what_to_set():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        cluster = ClusterConfig(["127.0.0.1:1", "127.0.0.1:2"], watch_port=taken.getsockname()[1])
        with pytest.raises(OSError, match="HIGHNOON_WATCH_PORT"), PeerWatch(cluster):
            pass


def test_a_link_puts_split_messages_together_and_ends_at_rubbish():
    near, far = socket.socketpair()
    link = PeerLink(far)
    near.sendall(b'["be')
    assert link.receive() == []
    near.sendall(b'at"]\n["bye"]\n')
    assert link.receive() == [["beat"], ["bye"]]
    near.sendall(b"rubbish\n")
    assert link.receive() is None


@pytest.mark.slow
def test_a_worker_killed_in_training_stops_the_others_within_a_minute(tmp_path, victim=0, rests=1):
    with start_workers(tmp_path, ALL_REDUCE.replace("RESTS", str(rests)), 3) as workers:
        wait_for_lines(tmp_path, range(3), "training")
        time.sleep(1)
        killed_at = time.monotonic()
        workers[victim].send_signal(signal.SIGKILL)
        others = [worker for rank, worker in enumerate(workers) if rank != victim]
        assert wait_for_ends(others, 60) == [EXIT_CODE, EXIT_CODE]
        print(f"the others stopped after {time.monotonic() - killed_at:.1f} s")
    for rank in {0, 1, 2} - {victim}:
        assert f"error: worker {victim} (127.0.0.1:" in output_of(tmp_path, rank)


@pytest.mark.slow
def test_a_worker_that_leaves_before_the_others_is_named(tmp_path):
    program = ALL_REDUCE.replace("time.sleep(1000)", "break").replace("RESTS", "1")
    with start_workers(tmp_path, program, 2) as workers:
        assert wait_for_ends(workers, 90) == [EXIT_CODE, 0]
    assert "it left training before the others" in output_of(tmp_path, 0)


def test_the_watch_loads_no_tensorflow():
    program = "import sys, highnoon.training.distributed.peer_watch; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0


IN_STEP = """
import os
if os.environ.get("LIKE_TORCHRUN"):
    del os.environ["TF_CONFIG"]
import tensorflow as tf
from highnoon.training.distributed import get_distributed_dataset, get_worker_info, resolve_strategy
strategy = resolve_strategy("auto")
assert resolve_strategy("auto") is strategy
with strategy.scope():
    weight = tf.Variable(0.0, aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA)
rows = get_distributed_dataset(tf.data.Dataset.range(16), strategy, batch_size=2, seed=3)
@tf.function
def step(batch):
    def one(share):
        own = tf.cast(tf.reduce_sum(share), tf.float32)
        weight.assign_add(tf.distribute.get_replica_context().all_reduce("sum", own))
        return share
    return strategy.run(one, (batch,))
read = [int(row) for batch in rows for row in strategy.experimental_local_results(step(batch))[0]]
print("rows", *read, flush=True)
rank = get_worker_info()["worker_index"]
print("weight", float(weight.numpy()), "of", strategy.num_replicas_in_sync, "rank", rank, flush=True)
"""


@pytest.mark.slow
def test_two_workers_of_torchrun_train_in_step_on_parts_that_make_the_whole(tmp_path, monkeypatch):
    monkeypatch.setenv("LIKE_TORCHRUN", "yes")
    with start_workers(tmp_path, IN_STEP, 2) as workers:
        assert wait_for_ends(workers, 120) == [0, 0], output_of(tmp_path, 0) + output_of(tmp_path, 1)
    read = []
    for rank in range(2):
        told = output_of(tmp_path, rank)
        assert f"weight 120.0 of 2 rank {rank}" in told
        read.append([int(word) for word in told.split("rows ")[1].splitlines()[0].split()])
    assert len(read[0]) == len(read[1]) == 8
    assert sorted(read[0] + read[1]) == list(range(16))
