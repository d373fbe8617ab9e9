"""The workers of a distributed run, and which of them this process is."""

from __future__ import annotations

import dataclasses
import json
import os
import socket
from collections.abc import Mapping, Sequence
from typing import Any

from highnoon.config import ConfigError
from highnoon.files.foreign import ForeignDataError, parse_json
from highnoon.files.shown import shown

LOOPBACK = "127.0.0.1"
WATCH_PORT_DISTANCE = 1000
HIGHEST_PORT = 65535
TOKEN_VARIABLE = "HIGHNOON_TOKEN"
_LONGEST_NUMBER = 9
_TASK_TYPES = ("chief", "worker")
_NO_SERVERS = (
    "parameter servers apply gradients asynchronously, so runs cannot be repeated; list workers only, which "
    "train synchronously"
)


@dataclasses.dataclass(frozen=True)
class ClusterConfig:
    """The addresses of all workers, and the index of this process.

    Ranks number the chief, if there is one, and then the workers in order. The process of rank 0 writes
    checkpoints and logs.

    Args:
        workers: Addresses as `host:port`, the same list in the same order in every process.
        parameter_servers: Not supported: must be None.
        chief: Address of a separate chief; None if the first worker is the chief.
        task_type: `"worker"` or `"chief"`.
        task_index: Index of this process in `workers`; 0 for the chief.
        local_rank: Index among the workers of this host, which selects the GPU; None if unknown.
        num_local_workers: Number of workers on this host; None if unknown.
        watch_port: Port on the host of rank 0 over which the workers watch each other; None for the port of
            rank 0 plus 1000 (minus 1000 if that is above 65535).
        token: Secret with which the workers sign their messages; None for unsigned messages. It is never
            shown.

    Raises:
        ConfigError: There is no worker, an address has no port or is repeated, an index, port or local rank
            is out of range, or there are parameter servers.

    Example:

    ```python
    cluster = ClusterConfig(workers=("10.0.0.1:2222", "10.0.0.2:2222"), task_index=1)
    assert cluster.num_workers == 2 and not cluster.is_chief
    assert ClusterConfig.from_tf_config(cluster.to_json()) == cluster
    ```
    """

    workers: Sequence[str]
    parameter_servers: Sequence[str] | None = None
    chief: str | None = None
    task_type: str = "worker"
    task_index: int = 0
    local_rank: int | None = None
    num_local_workers: int | None = None
    watch_port: int | None = None
    token: str | None = dataclasses.field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        workers = [self.workers] if isinstance(self.workers, str) else self.workers
        object.__setattr__(self, "workers", tuple(workers))
        if self.parameter_servers or self.task_type == "ps":
            raise ConfigError(_NO_SERVERS)
        if self.task_type not in _TASK_TYPES:
            raise ConfigError(f"task type must be one of {_TASK_TYPES}; received {shown(self.task_type)}")
        if not self.addresses:
            raise ConfigError("a cluster needs at least one worker, as `host:port`; received none")
        for address in self.addresses:
            split_address(address)
        if len(set(self.addresses)) < len(self.addresses):
            raise ConfigError(f"each worker needs its own address; received {shown(list(self.addresses))}")
        num_tasks = len(self.workers) if self.task_type == "worker" else int(self.chief is not None)
        is_index = isinstance(self.task_index, int) and not isinstance(self.task_index, bool)
        if not is_index or not 0 <= self.task_index < num_tasks:
            raise ConfigError(
                f"task index must be between 0 and {num_tasks - 1}, as there are {num_tasks} tasks of type "
                f"{self.task_type!r}; received {shown(self.task_index)}"
            )
        if self.watch_port is not None and not 1 <= self.watch_port <= HIGHEST_PORT:
            raise ConfigError(
                f"the port of the watch must be from 1 to {HIGHEST_PORT}; received {shown(self.watch_port)}"
            )
        self._check_local_rank()

    def _check_local_rank(self) -> None:
        num_local = self.num_local_workers
        if num_local is not None and num_local < 1:
            raise ConfigError(f"LOCAL_WORLD_SIZE must be at least 1; received {shown(num_local)}")
        if self.local_rank is not None and num_local is not None and self.local_rank >= num_local:
            raise ConfigError(
                f"LOCAL_RANK must be below LOCAL_WORLD_SIZE={num_local}; received {shown(self.local_rank)}"
            )

    @property
    def addresses(self) -> tuple[str, ...]:
        """The addresses by rank."""
        return (*([self.chief] if self.chief else []), *self.workers)

    @property
    def num_workers(self) -> int:
        """Number of training processes, including the chief."""
        return len(self.addresses)

    @property
    def rank(self) -> int:
        """Index of this process in `addresses`."""
        return self.task_index + int(self.task_type == "worker" and self.chief is not None)

    @property
    def is_chief(self) -> bool:
        """Whether this process writes checkpoints and logs."""
        return self.rank == 0

    @property
    def watch_address(self) -> tuple[str, int]:
        """Host and port on which rank 0 listens; loopback if all workers are on one machine."""
        host, port = split_address(self.addresses[0])
        host = LOOPBACK if not is_loopback(host) and self.is_on_one_machine else host
        if self.watch_port is not None:
            return host, self.watch_port
        above = port + WATCH_PORT_DISTANCE
        return host, above if above <= HIGHEST_PORT else port - WATCH_PORT_DISTANCE

    @property
    def is_on_one_machine(self) -> bool:
        """Whether all workers are on this machine, because they have one host that is its own address."""
        hosts = {split_address(address)[0] for address in self.addresses}
        return len(hosts) == 1 and _is_own_address(hosts.pop())

    def to_tf_config(self) -> dict[str, Any]:
        """Returns the value of `TF_CONFIG` as a dict."""
        cluster: dict[str, list[str]] = {"worker": list(self.workers)}
        if self.chief:
            cluster["chief"] = [self.chief]
        return {"cluster": cluster, "task": {"type": self.task_type, "index": self.task_index}}

    def to_json(self) -> str:
        """Returns the value of `TF_CONFIG` as JSON."""
        return json.dumps(self.to_tf_config())

    @classmethod
    def from_tf_config(cls, text: str | None = None) -> ClusterConfig | None:
        """Parses `TF_CONFIG`, by default from the environment; returns None if it describes no cluster.

        Raises:
            ConfigError: It is not the JSON that TensorFlow expects, or the cluster is invalid.
        """
        text = os.environ.get("TF_CONFIG") if text is None else text
        if not text or not text.strip():
            return None
        try:
            values = parse_json(text, "its text", expected=object)
        except ForeignDataError as error:
            raise ConfigError(f"TF_CONFIG is not JSON of a cluster: {error}") from None
        cluster, task = _mapping(values, "TF_CONFIG").get("cluster"), values.get("task")
        if not cluster:
            return None
        jobs = {name: _addresses(name, entries) for name, entries in _mapping(cluster, "cluster").items()}
        task = _mapping(task, "task")
        if jobs.pop("ps", None) or task.get("type") == "ps":
            raise ConfigError(f"TF_CONFIG: {_NO_SERVERS}")
        if unknown := set(jobs) - set(_TASK_TYPES):
            names = ", ".join(sorted(unknown))
            raise ConfigError(f"TF_CONFIG: jobs can be chief and worker; received {shown(names)}")
        chiefs = jobs.get("chief", [])
        if len(chiefs) > 1:
            raise ConfigError(f"TF_CONFIG: there can be one chief; received {shown(chiefs)}")
        try:
            return cls(
                workers=jobs.get("worker", ()),
                chief=chiefs[0] if chiefs else None,
                task_type=task.get("type", "worker"),
                task_index=task.get("index", 0),
            )
        except ConfigError as error:
            raise ConfigError(f"TF_CONFIG: {error}") from None

    @classmethod
    def from_torchrun(cls, environment: Mapping[str, str] | None = None) -> ClusterConfig | None:
        """Reads the variables that `torchrun` sets, such as RANK and WORLD_SIZE; None for a single process.

        All workers are assumed to be on MASTER_ADDR, rank r at port MASTER_PORT + 1 + r: torchrun itself
        listens on MASTER_PORT.

        Raises:
            ConfigError: A variable is missing or is not a number, or the processes are on several hosts,
                whose names torchrun does not provide.
        """
        environment = os.environ if environment is None else environment
        if "RANK" not in environment or "WORLD_SIZE" not in environment:
            return None
        rank, world_size = _integer(environment, "RANK"), _integer(environment, "WORLD_SIZE")
        if world_size < 2:
            return None
        if world_size > HIGHEST_PORT:
            raise ConfigError(f"WORLD_SIZE must be at most {HIGHEST_PORT}; received {world_size}")
        num_local = _integer(environment, "LOCAL_WORLD_SIZE", default=world_size)
        local_rank = _integer(environment, "LOCAL_RANK", default=rank)
        if num_local != world_size or local_rank != rank:
            raise ConfigError(
                f"torchrun started {world_size} workers on several hosts and does not provide their names; "
                f"set TF_CONFIG on every host, or use `highnoon launch --hosts FILE`"
            )
        if missing := [name for name in ("MASTER_ADDR", "MASTER_PORT") if not environment.get(name)]:
            raise ConfigError(f"RANK and WORLD_SIZE={world_size} are set, but not {' and '.join(missing)}")
        host, first = environment["MASTER_ADDR"], _integer(environment, "MASTER_PORT") + 1
        return cls(
            workers=tuple(f"{host}:{first + other}" for other in range(world_size)),
            task_index=rank,
            local_rank=local_rank,
            num_local_workers=num_local,
            watch_port=first + world_size,
            token=environment.get(TOKEN_VARIABLE) or None,
        )

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> ClusterConfig | None:
        """Reads `TF_CONFIG`, or else torchrun's variables; None if neither describes several workers.

        `LOCAL_RANK`, `LOCAL_WORLD_SIZE` and `HIGHNOON_WATCH_PORT` are read together with `TF_CONFIG`, and
        `HIGHNOON_TOKEN` in both cases.

        Raises:
            ConfigError: The variables do not describe a valid cluster.
        """
        environment = os.environ if environment is None else environment
        cluster = cls.from_tf_config(environment.get("TF_CONFIG", ""))
        if cluster is None:
            return cls.from_torchrun(environment)
        if cluster.num_workers == 1:
            return None
        return dataclasses.replace(
            cluster,
            local_rank=_integer(environment, "LOCAL_RANK", default=None),
            num_local_workers=_integer(environment, "LOCAL_WORLD_SIZE", default=None),
            watch_port=_integer(environment, "HIGHNOON_WATCH_PORT", default=None),
            token=environment.get(TOKEN_VARIABLE) or None,
        )


def split_address(address: str) -> tuple[str, int]:
    """Returns host and port of `host:port`, without the brackets of an IPv6 address.

    Raises:
        ConfigError: There is no host, or no port from 1 to 65535.
    """
    host, _, port = address.rpartition(":") if isinstance(address, str) else ("", "", "")
    is_port = port.isdecimal() and len(port) <= _LONGEST_NUMBER and 1 <= int(port) <= HIGHEST_PORT
    if not host or not is_port or any(one.isspace() or not one.isprintable() for one in host):
        raise ConfigError(
            f"an address must be `host:port` with a port of 1 to 65535; received {shown(address)}"
        )
    return host.strip("[]"), int(port)


def is_loopback(host: str) -> bool:
    """Returns whether a host name is a loopback address."""
    return host in ("localhost", "::1") or host.startswith("127.")


def _is_own_address(host: str) -> bool:
    """Whether a socket can bind to the address on this machine: a published container name cannot be."""
    if is_loopback(host):
        return True
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.bind(address)
    except (OSError, UnicodeError):
        return False
    return True


def _mapping(value: Any, name: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ConfigError(f"TF_CONFIG: `{name}` must be an object; received {shown(value)}")
    return value


def _addresses(job: str, entries: Any) -> list[str]:
    if not isinstance(entries, list):
        expected = f"`cluster.{shown(job)[1:-1]}` must be a list of `host:port`"
        raise ConfigError(f"TF_CONFIG: {expected}; received {shown(entries)}")
    return entries


def _integer(environment: Mapping[str, str], name: str, default: int | None = -1) -> Any:
    value = environment.get(name)
    if value is None and default != -1:
        return default
    if value is None or not value.isdecimal() or len(value) > _LONGEST_NUMBER:
        raise ConfigError(f"{name} must be an integer; received {shown(value)}")
    return int(value)
