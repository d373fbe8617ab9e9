"""Checks before a launch that the workers can be reached."""

from __future__ import annotations

import contextlib
import shlex
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence

from highnoon.training.distributed.launching.launch_plan import LOOPBACK, LaunchPlan, is_this_host

ANSWER_SECONDS = 30.0
CONNECT_SECONDS = 5.0

# Listens at the ports of its arguments until standard input closes.
PROBE = """
import socket, sys
listeners = [socket.create_server(("", int(port))) for port in sys.argv[1:]]
print("ready", flush=True)
sys.stdin.read()
"""


class ClusterError(OSError):
    """A host of the cluster cannot be used."""


def check_cluster(plan: LaunchPlan, ssh: Sequence[str]) -> None:
    """Checks that every port is free, and that those of the other hosts can be reached from here.

    On each other host the probe runs with this Python's path, as the workers will.

    Raises:
        ClusterError: names the host, the port and the reason.
    """
    for host in dict.fromkeys(worker.host for worker in plan.workers):
        ports = plan.ports_of(host)
        if is_this_host(host):
            for port in ports:
                _check_free(host, port)
        else:
            _check_remote(host, ports, ssh)


def _check_free(host: str, port: int) -> None:
    # A launch on this machine alone listens at loopback, and so does its check.
    address = LOOPBACK if host == "localhost" or host.startswith("127.") else ""
    try:
        socket.create_server((address, port)).close()
    except (OSError, OverflowError) as error:
        reason = f"port {port} of {host} cannot be used ({error}); choose others with --base-port"
        raise ClusterError(reason) from None


def _check_remote(host: str, ports: Sequence[int], ssh: Sequence[str]) -> None:
    line = shlex.join([sys.executable, "-c", PROBE, *map(str, ports)])
    probe = subprocess.Popen(
        [*ssh, host, line], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    timer = threading.Timer(ANSWER_SECONDS, probe.kill)
    timer.start()
    try:
        assert probe.stdout is not None
        if probe.stdout.readline().strip() != "ready":
            _, output = probe.communicate()
            no_output = (
                f"no answer in {ANSWER_SECONDS:g} seconds"
                if probe.returncode < 0
                else f"the command ended with exit code {probe.returncode} and printed nothing"
            )
            last = output.strip().splitlines()[-1:] or [no_output]
            tried = shlex.join([*ssh, host, sys.executable])
            raise ClusterError(f"{host} is not ready: {last[0]}; tried: {tried}")
        for port in ports:
            try:
                socket.create_connection((host, port), timeout=CONNECT_SECONDS).close()
            except OSError as error:
                raise ClusterError(f"port {port} of {host} cannot be reached from here: {error}") from None
    finally:
        timer.cancel()
        with contextlib.suppress(OSError):
            probe.communicate()
