"""The workers' watch against strangers, broken peers and its own failure, over plain sockets of loopback."""

from __future__ import annotations

import contextlib
import json
import math
import socket
import time
import warnings
from collections.abc import Callable, Iterator

import pytest

from highnoon.training.distributed import cluster_config
from highnoon.training.distributed.cluster_config import ClusterConfig
from highnoon.training.distributed.launching.launch_plan import free_ports
from highnoon.training.distributed.peer_link import LONGEST_MESSAGE, PeerLink
from highnoon.training.distributed.peer_watch import PeerWatch

TOKEN = "0123456789abcdef"
RUBBISH = (
    b"[" * 50_000 + b"\n",
    b"[" * 50_000 + b"]" * 50_000 + b"\n",
    b'{"a":' * 5_000 + b"\n",
    b"\n",
    b"\0\n",
    b"\xff\xfe\n",
    b"[]\n",
    b"{}\n",
    b"null\n",
    b"[null]\n",
    b"[[]]\n",
    b'["hello"]\n',
    b'["hello", 1]\n',
    b'["hello", 0, "x"]\n',
    b'["hello", true, "x"]\n',
    b'["hello", 1e999, "x"]\n',
    b'["hello", [1], {}]\n',
    b'["hello", 1, "0 elsewhere:1"]\n',
    b'["lost"]\n',
    b'["lost", 1, "x"]\n',
    b'["lost", 99, "x"]\n',
    b'["failed"]\n',
    b'["bye"]\n',
    b'["welcome"]\n',
    b'["wait"]\n',
    b'["beat"]\n',
    b"9" * 10_000 + b"\n",
    b'["\\ud800"]\n',
    b"x" * (3 * LONGEST_MESSAGE),
    b"GET / HTTP/1.1\r\n\r\n",
    b"",
)


@contextlib.contextmanager
def hub(token: str | None = None, **options) -> Iterator[PeerWatch]:
    """The watch of worker 0 of two, which stays alive on a loss."""
    cluster = ClusterConfig(["127.0.0.1:1", "127.0.0.1:2"], watch_port=free_ports(1)[0], token=token)
    with PeerWatch(cluster, exit_code=None, **options) as watch:
        yield watch


def connect(watch: PeerWatch) -> socket.socket:
    assert watch.cluster is not None
    return socket.create_connection(watch.cluster.watch_address, timeout=5.0)


def join(watch: PeerWatch, token: str | None = None) -> PeerLink:
    link = PeerLink(connect(watch), token=token)
    link.send("hello", 1, watch.greeting)
    return link


def wait_until(holds: Callable[[], object], seconds: float = 5.0) -> bool:
    ends_at = time.monotonic() + seconds
    while not holds() and time.monotonic() < ends_at:
        time.sleep(0.01)
    return bool(holds())


@pytest.mark.parametrize("token", [None, TOKEN])
def test_strangers_are_dropped_and_reported_once_and_the_worker_still_joins(token, capfd):
    with hub(token) as watch:
        for message in RUBBISH:
            with connect(watch) as stranger, contextlib.suppress(OSError):
                stranger.sendall(message)
        worker = join(watch, token)
        assert wait_until(lambda: watch.joined == {1})
        assert watch.lost is None
        worker.send("bye")
        worker.close()
    told = capfd.readouterr().err
    assert told.count("\n") == 1 and told.startswith("warning: the workers' watch dropped a connection from ")


@pytest.mark.parametrize("token", [None, "another"])
def test_who_does_not_know_the_token_cannot_join(token, capfd):
    with hub(TOKEN) as watch:
        link = join(watch, token)
        assert link.receive() is None
        assert watch.joined == set()
    assert "it does not know the token of this launch (HIGHNOON_TOKEN)" in capfd.readouterr().err


def test_a_signed_line_cannot_be_sent_again_or_changed():
    near, far = socket.socketpair()
    PeerLink(near, token=TOKEN).send("beat")
    line = far.recv(1000)
    assert TOKEN.encode() not in line
    for changed in (line + line, line.replace(b"beat", b"beaT")):
        near, far = socket.socketpair()
        far.sendall(changed)
        link = PeerLink(near, token=TOKEN)
        assert link.receive() is None and "token" in link.fault


@pytest.mark.parametrize(
    "message", [b"[" * 50_000 + b"\n", b"rubbish\n", b"[1, 2]\n", b"x" * (3 * LONGEST_MESSAGE)]
)
def test_a_worker_that_has_joined_and_sends_rubbish_is_lost(message):
    with hub() as watch:
        worker = join(watch)
        assert wait_until(lambda: watch.joined == {1})
        with contextlib.suppress(OSError):
            worker.connection.sendall(message)
        assert wait_until(lambda: watch.lost is not None)
        assert watch.lost.rank == 1 and "it sent a line" in watch.lost.reason


@pytest.mark.parametrize("values", [[], [1], [9, "x"], ["1", "x"], [[], {}], [True, "x"]])
def test_a_loss_that_names_no_worker_is_a_loss_of_the_sender(values):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        cluster = ClusterConfig(["127.0.0.1:1", "127.0.0.1:2"], task_index=1, watch_port=port)
        with PeerWatch(cluster, exit_code=None) as watch:
            other = PeerLink(server.accept()[0])
            other.send("welcome")
            assert wait_until(lambda: watch.joined == {0})
            other.send("lost", *values)
            assert wait_until(lambda: watch.lost is not None)
            assert watch.lost.rank == 0


def test_a_connection_that_drips_is_dropped_in_time(capfd):
    with hub() as watch:
        watch._unknown.hello_seconds = 0.3
        with connect(watch) as stranger:
            stranger.sendall(b"[")
            assert stranger.recv(10) == b""
        assert "did not say who it is within 0.3 seconds" in capfd.readouterr().err


def test_connections_are_bounded_in_number_and_a_worker_joins_between_them():
    with hub() as watch, contextlib.ExitStack() as stack:
        watch._unknown.max_waiting = 4
        for _ in range(40):
            stack.enter_context(connect(watch))
        worker = join(watch)
        assert wait_until(lambda: watch.joined == {1})
        assert wait_until(lambda: len(watch._links) <= 5)
        worker.send("bye")
        worker.close()


@pytest.mark.parametrize("error", [RecursionError("too deep"), MemoryError(), SystemExit(3)])
def test_a_watch_that_fails_is_a_loss_that_is_told_to_all(error, capfd):
    noticed = []

    def fail():
        raise error

    with hub(on_loss=noticed.append) as watch:
        worker = join(watch)
        assert wait_until(lambda: watch.joined == {1})
        watch._find_silent = fail
        assert wait_until(lambda: noticed)
        assert noticed == [watch.lost] and watch.lost.rank == 0
        told: list[str] = []
        assert wait_until(lambda: told.extend(line[0] for line in worker.receive() or ()) or "lost" in told)
        worker.close()
    assert f"its watch of the other workers failed with {type(error).__name__}" in capfd.readouterr().err


def test_a_worker_that_is_refused_for_long_does_not_train_unwatched():
    with hub(TOKEN) as watch:
        port = watch.cluster.watch_port
        cluster = ClusterConfig(["127.0.0.1:1", "127.0.0.1:2"], task_index=1, watch_port=port, token="other")
        with PeerWatch(cluster, exit_code=None, silent_seconds=1.1) as worker:
            assert wait_until(lambda: worker.lost is not None)
            assert worker.lost.rank == 0 and "HIGHNOON_TOKEN" in worker.lost.reason
        assert watch.lost is None


def test_a_worker_that_is_ahead_waits_for_the_watch_of_rank_0():
    with hub(TOKEN) as watch:
        link = PeerLink(connect(watch), token=TOKEN)
        number, _, addresses = watch.greeting.partition(" ")
        link.send("hello", 1, f"{int(number) + 1} {addresses}")
        assert link.receive() == [["wait"]]
        assert watch.joined == set()


def test_workers_of_one_machine_watch_each_other_over_loopback_alone(monkeypatch):
    monkeypatch.setattr(cluster_config, "_is_own_address", lambda host: host == "here")
    assert ClusterConfig(["here:2222", "here:2223"]).watch_address == ("127.0.0.1", 3222)
    assert ClusterConfig(["there:2222", "there:2223"]).watch_address == ("there", 3222)
    assert ClusterConfig(["here:2222", "there:2222"]).watch_address == ("here", 3222)
    cluster = ClusterConfig(["here:2222", "here:2223"], watch_port=free_ports(1)[0])
    with warnings.catch_warnings(), PeerWatch(cluster, exit_code=None) as watch:
        warnings.simplefilter("error")
        assert watch._listener.getsockname()[0] == "127.0.0.1"


def test_an_address_of_this_machine_is_known():
    assert cluster_config._is_own_address("0.0.0.0") and cluster_config._is_own_address("localhost")
    assert not cluster_config._is_own_address("203.0.113.1")  # of documentation (RFC 5737): nobody's


@pytest.mark.parametrize(("token", "warns"), [(None, True), (TOKEN, False)])
def test_several_machines_without_a_token_are_warned_of(token, warns, monkeypatch):
    monkeypatch.setattr(cluster_config, "_is_own_address", lambda host: False)
    cluster = ClusterConfig(["a:2222", "b:2222"], watch_port=free_ports(1)[0], token=token)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with PeerWatch(cluster, exit_code=None):
            pass
    assert [("HIGHNOON_TOKEN" in str(one.message)) for one in caught] == [True] * warns


def test_the_token_comes_from_the_environment_and_is_never_shown():
    environment = {"TF_CONFIG": ClusterConfig(["a:1", "b:1"]).to_json(), "HIGHNOON_TOKEN": TOKEN}
    cluster = ClusterConfig.from_environment(environment)
    assert cluster.token == TOKEN
    assert TOKEN not in repr(cluster) + cluster.to_json()


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"cluster": {"worker": ["a:1"]}, "task": ' + "[" * 50_000,
        '{"cluster": {"worker": [["a:1"]]}}',
        '{"cluster": {"worker": ["a:' + "9" * 5000 + '"]}, "task": {}}',
        '{"cluster": {"worker": {"a": 1}}}',
        '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"index": true}}',
        "[1]",
        '{"cluster": [1]}',
        "\0",
        '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"index": ' + "9" * 400 + "}}",
        '{"cluster": {"worker": ["\\ud800:1", "b:1"]}, "task": {"index": [], "type": {}}}',
    ],
)
def test_a_tf_config_that_cannot_be_read_is_a_one_line_error(text):
    with pytest.raises(cluster_config.ConfigError) as failure:
        ClusterConfig.from_environment({"TF_CONFIG": text})
    assert "\n" not in str(failure.value) and len(str(failure.value)) < 500
    str(failure.value).encode()


@pytest.mark.parametrize(
    "change",
    [
        {"HIGHNOON_WATCH_PORT": "65536"},
        {"HIGHNOON_WATCH_PORT": "0"},
        {"HIGHNOON_WATCH_PORT": "9" * 5000},
        {"LOCAL_RANK": "2", "LOCAL_WORLD_SIZE": "2"},
        {"LOCAL_RANK": "-1"},
        {"LOCAL_WORLD_SIZE": "0"},
    ],
)
def test_ports_and_local_ranks_out_of_range_are_refused(change):
    text = json.dumps({"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 0}})
    with pytest.raises(cluster_config.ConfigError):
        ClusterConfig.from_environment({"TF_CONFIG": text, **change})


def test_a_torchrun_of_very_many_workers_is_refused_at_once():
    with pytest.raises(cluster_config.ConfigError, match="WORLD_SIZE"):
        ClusterConfig.from_torchrun({"RANK": "1", "WORLD_SIZE": "999999999", "MASTER_ADDR": "a"})


@pytest.mark.parametrize(
    "name, value",
    [
        ("silent_seconds", math.nan),
        ("silent_seconds", 1.0),
        ("grace_seconds", math.nan),
        ("grace_seconds", -1.0),
    ],
)
def test_a_time_that_no_comparison_can_reach_is_refused(name, value):
    with pytest.raises(ValueError, match=f"`{name}` must"):
        PeerWatch(None, **{name: value})
