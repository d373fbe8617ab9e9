"""Which worker runs on which host, at which address, started by which command."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import secrets
import shlex
import socket
import sys
from collections.abc import Sequence

from highnoon.config import ConfigError, shown
from highnoon.files.foreign import read_text
from highnoon.training.distributed.cluster_config import TOKEN_VARIABLE, ClusterConfig
from highnoon.training.distributed.launching.worker_group import WorkerCommand

LOOPBACK = "127.0.0.1"
RESTART_VARIABLE = "HIGHNOON_RESTART"
"""How often all workers have been started again, 0 at first."""
REMOTE_BASE_PORT = 20000
MAX_WORKERS = 1024
MAX_PORT = 65535


@dataclasses.dataclass(frozen=True)
class Worker:
    """The host and the address of one worker."""

    host: str
    port: int
    local_rank: int
    num_local: int

    @property
    def is_here(self) -> bool:
        return is_this_host(self.host)


@dataclasses.dataclass(frozen=True)
class LaunchPlan:
    """The workers of a launch by rank, the port on which they watch each other, and their secret.

    The token is random. A worker receives it in its environment, or on its standard input through `ssh`; it
    is never part of a command line or of the output.

    Example:

    ```python
    plan = LaunchPlan.on_this_host(2)
    assert [worker.local_rank for worker in plan.workers] == [0, 1]
    ```
    """

    workers: tuple[Worker, ...]
    watch_port: int
    restart: int = 0
    token: str = dataclasses.field(default_factory=lambda: secrets.token_hex(32), repr=False, compare=False)

    @classmethod
    def on_this_host(cls, num_workers: int, base_port: int | None = None) -> LaunchPlan:
        """Puts all workers on loopback, at `base_port` and those that follow, or at free ports.

        Raises:
            ConfigError: fewer than one worker or more than `MAX_WORKERS`, or ports beyond 65535.
        """
        if not 1 <= num_workers <= MAX_WORKERS:
            raise ConfigError(
                f"--workers must be at least 1 and at most {MAX_WORKERS}; received {num_workers}"
            )
        number = num_workers + 1
        _require_ports(base_port, number)
        ports = free_ports(number) if base_port is None else range(base_port, base_port + number)
        workers = tuple(Worker(LOOPBACK, ports[rank], rank, num_workers) for rank in range(num_workers))
        return cls(workers, watch_port=ports[num_workers])

    @classmethod
    def on_hosts(cls, text: str, num_workers: int | None = None, base_port: int | None = None) -> LaunchPlan:
        """Puts workers on the hosts of a file, one `host [slots]` a line, the first host first.

        Args:
            text: Of the file; what follows a `#` is ignored.
            num_workers: None fills every slot.
            base_port: First port on every host; None takes 20000.

        Raises:
            ConfigError: a line that cannot be read, a host twice, more workers than slots, or a loopback
                name next to other hosts.
        """
        base_port = REMOTE_BASE_PORT if base_port is None else base_port
        hosts = parse_hosts(text)
        num_slots = sum(hosts.values())
        num_workers = num_slots if num_workers is None else num_workers
        if not 1 <= num_workers <= num_slots:
            raise ConfigError(f"the hosts have {num_slots} slots; received --workers {num_workers}")
        taken, left = {}, num_workers
        for host, slots in hosts.items():
            taken[host] = min(slots, left)
            left -= taken[host]
        taken = {host: number for host, number in taken.items() if number}
        if len(taken) > 1 and (loopback := [host for host in taken if _is_loopback(host)]):
            raise ConfigError(f"name {loopback[0]} as other hosts reach it; each has its own loopback")
        _require_ports(base_port, max(taken.values()) + 1)
        workers = tuple(
            Worker(host, base_port + local_rank, local_rank, number)
            for host, number in taken.items()
            for local_rank in range(number)
        )
        return cls(workers, watch_port=base_port + max(taken.values()))

    def ports_of(self, host: str) -> list[int]:
        """Returns the ports that the workers of a host listen at, that of the watch among them."""
        ports = [worker.port for worker in self.workers if worker.host == host]
        return [*ports, self.watch_port] if host == self.workers[0].host else ports

    def environment(self, rank: int) -> dict[str, str]:
        """Returns the variables that are added to the environment of one worker, except the token."""
        worker, first = self.workers[rank], self.workers[0]
        addresses = [f"[{p.host}]:{p.port}" if ":" in p.host else f"{p.host}:{p.port}" for p in self.workers]
        return {
            "TF_CONFIG": ClusterConfig(addresses, task_index=rank).to_json(),
            "RANK": str(rank),
            "WORLD_SIZE": str(len(self.workers)),
            RESTART_VARIABLE: str(self.restart),
            "LOCAL_RANK": str(worker.local_rank),
            "LOCAL_WORLD_SIZE": str(worker.num_local),
            "MASTER_ADDR": first.host,
            "MASTER_PORT": str(first.port),
            "HIGHNOON_WATCH_PORT": str(self.watch_port),
            "PYTHONUNBUFFERED": "1",
        }

    def command(
        self, rank: int, words: Sequence[str], ssh: Sequence[str], grace_seconds: float
    ) -> WorkerCommand:
        """Returns the command of one worker: `words` themselves, or `ssh` and a line for a remote shell."""
        worker, environment = self.workers[rank], self.environment(rank)
        if worker.is_here:
            # On another host the number of cores is not known; TensorFlow uses all of them.
            threads = max(1, num_cores() // worker.num_local)
            environment["TF_NUM_INTRAOP_THREADS"] = os.environ.get("TF_NUM_INTRAOP_THREADS", str(threads))
            return WorkerCommand(rank, words, {**environment, TOKEN_VARIABLE: self.token})
        line = remote_line(shell_line(words, environment), grace_seconds, secret_variable=TOKEN_VARIABLE)
        return WorkerCommand(
            rank, [*ssh, worker.host, line], {}, host=worker.host, ends_with_stdin=True, secret=self.token
        )


def worker_words(command: Sequence[str], verbs: Sequence[str]) -> list[str]:
    """Returns the command: `train ...` is a verb of this package, `x.py ...` a program for this Python.

    Raises:
        ConfigError: there is no command, it is not possible, or it is `launch` itself.
    """
    words = list(command[1:] if command[:1] == ["--"] else command)
    if not words:
        raise ConfigError(
            "nothing to start; give a command after `--`, as in: "
            "highnoon launch --workers 2 -- train run.yaml"
        )
    if not words[0].strip() or any("\0" in word for word in words):
        expected = "the command must be words without NUL, the first not empty"
        raise ConfigError(f"{expected}; received {shown(words)}")
    if words[0] == "launch":
        raise ConfigError("launch cannot start itself")
    if words[0] in verbs:
        return [sys.executable, "-m", "highnoon.cli", *words]
    return [sys.executable, *words] if words[0].endswith(".py") else words


def shell_line(words: Sequence[str], environment: dict[str, str]) -> str:
    """Returns a line for a POSIX shell that starts `words` in this folder of another host."""
    settings = [f"{name}={value}" for name, value in environment.items()]
    return f"cd {shlex.quote(os.getcwd())} && exec {shlex.join(['env', *settings, *words])}"


def remote_line(line: str, grace_seconds: float, *, secret_variable: str | None = None) -> str:
    """Returns a line that runs `line` until it ends or standard input closes.

    The launcher holds that standard input through `ssh`: when it closes it, or is killed, the worker gets a
    SIGTERM, and after the grace period a SIGKILL.

    Args:
        line: What to run.
        grace_seconds: From the SIGTERM to the SIGKILL.
        secret_variable: Variable of the environment that is set to the first line of standard input, or None:
            every user of both hosts can read `line`.
    """
    name = secret_variable
    secret = f"IFS= read -r {name} <&3; export {name}; " if name is not None else ""
    script = (
        f"exec 3<&0; {secret}( {line} ) </dev/null 3<&- & worker=$!; "
        f"( cat <&3; kill -TERM $worker; sleep {grace_seconds:g}; kill -KILL $worker ) >/dev/null 2>&1 & "
        f"watch=$!; "
        f"exec 3<&-; wait $worker; code=$?; kill $watch 2>/dev/null; exit $code"
    )
    return f"exec sh -c {shlex.quote(script)}"


def parse_hosts(text: str) -> dict[str, int]:
    """Returns the slots of each host, in order.

    Raises:
        ConfigError: no host, a host twice, or a line that is not `host [slots]`.
    """
    hosts: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.split("#")[0].split()
        if not words:
            continue
        host, slots = words[0], words[1] if len(words) > 1 else "1"
        if len(words) > 2 or not _is_slots(slots) or not _is_host(host) or host in hosts:
            raise ConfigError(
                f"line {number} of the hosts must be `host [slots]`, each host once, slots at least 1; "
                f"received {shown(line.strip())}"
            )
        hosts[host] = int(slots)
    if sum(hosts.values()) > MAX_WORKERS:
        raise ConfigError(f"the hosts must have at most {MAX_WORKERS} slots; received {sum(hosts.values())}")
    if not hosts:
        raise ConfigError("the file of hosts names none; write one `host [slots]` a line")
    return hosts


def _is_host(word: str) -> bool:
    return word.isprintable() and not word.startswith("-")


def _is_slots(word: str) -> bool:
    return word.isascii() and word.isdigit() and len(word) < 10 and int(word) >= 1


def _require_ports(base_port: int | None, number: int) -> None:
    if base_port is not None and not 1 <= base_port <= MAX_PORT + 1 - number:
        raise ConfigError(
            f"--base-port must be at least 1 and leave room for {number} ports up to {MAX_PORT}; "
            f"received {base_port}"
        )


def read_hosts(path: str) -> str:
    """Returns the text of a file of hosts.

    Raises:
        ForeignDataError: it is no UTF-8 text, no ordinary file, or has more than a MiB.
        OSError: it cannot be read.
    """
    return read_text(path, max_bytes=2**20)


def is_this_host(host: str) -> bool:
    return _is_loopback(host) or host in (socket.gethostname(), socket.getfqdn())


def _is_loopback(host: str) -> bool:
    return host in ("localhost", "::1") or host.startswith("127.")


def free_ports(number: int) -> list[int]:
    """Returns ports of loopback that are free at the moment."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server((LOOPBACK, 0))) for _ in range(number)]
        return [one.getsockname()[1] for one in sockets]


def num_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
