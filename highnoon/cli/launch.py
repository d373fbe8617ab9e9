"""Starts several workers of one command, prints their output, and stops all when one fails.

  highnoon launch --workers 2 -- train recipe.yaml
  highnoon launch --workers 4 --log-dir logs -- my_program.py --steps 100
  highnoon launch --hosts hosts.txt -- train recipe.yaml

`train ...` (or another verb) after `--` is this package's; `x.py ...` is a program for the same Python;
any other command is run unchanged. Each worker finds its cluster in TF_CONFIG, and its rank in RANK,
WORLD_SIZE and LOCAL_RANK; HIGHNOON_TOKEN is a new secret of this launch, with which the workers authenticate
each other. Ctrl-C and SIGTERM are forwarded to all workers. The exit code is that of the first worker that
failed, 75 if workers only lost each other.
"""

from __future__ import annotations

import argparse
import shlex
import sys

from highnoon.config import (
    ConfigError,
    require_count,
    require_number,
    require_path,
    require_text,
    shown,
)
from highnoon.training.distributed.launching.cluster_check import check_cluster
from highnoon.training.distributed.launching.launch_plan import (
    MAX_PORT,
    MAX_WORKERS,
    LaunchPlan,
    read_hosts,
    shell_line,
    worker_words,
)
from highnoon.training.distributed.launching.worker_group import WorkerGroup

LONGEST_GRACE = 86_400.0
SUMMARY = "start a command as several workers that train together"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--workers", type=int, metavar="N", help="number of workers; with --hosts, all slots")
    parser.add_argument("--hosts", metavar="FILE", help="one `host [slots]` a line; the first has worker 0")
    parser.add_argument(
        "--base-port",
        type=int,
        metavar="P",
        help="first port to listen at; by default free ports on this machine, 20000 with --hosts",
    )
    parser.add_argument(
        "--log-dir", metavar="DIR", help="also write the output of worker R to DIR/worker_R.log"
    )
    parser.add_argument(
        "--grace-seconds",
        type=float,
        default=60.0,
        metavar="S",
        help="seconds from the first failure until the other workers are killed (default: 60)",
    )
    parser.add_argument(
        "--ssh",
        default="ssh -o BatchMode=yes",
        metavar="COMMAND",
        help="runs a line on another host, as `COMMAND HOST LINE` (default: ssh -o BatchMode=yes)",
    )
    parser.add_argument(
        "--print-commands", action="store_true", help="print the command of each host, and start nothing"
    )
    parser.add_argument(
        "command", nargs=argparse.REMAINDER, metavar="-- COMMAND ...", help="the command to start"
    )


def run(arguments: argparse.Namespace) -> int:
    from highnoon.cli.__main__ import VERBS

    require_number("--grace-seconds", arguments.grace_seconds, least=0, most=LONGEST_GRACE)
    if arguments.workers is not None:
        require_count("--workers", arguments.workers, most=MAX_WORKERS)
    if arguments.base_port is not None:
        require_count("--base-port", arguments.base_port, most=MAX_PORT)
    if arguments.log_dir is not None:
        require_path("--log-dir", arguments.log_dir)
    if arguments.hosts is not None:
        require_path("--hosts", arguments.hosts)
    ssh = ssh_words(arguments.ssh)
    words = worker_words(arguments.command, list(VERBS))
    plan = make_plan(arguments)
    if arguments.print_commands:
        for rank, worker in enumerate(plan.workers):
            print(f"# worker {rank} on {worker.host}\n{shell_line(words, plan.environment(rank))}")
        print(
            "set HIGHNOON_TOKEN to the same secret in the environment of all workers",
            file=sys.stderr,
        )
        return 0
    check_cluster(plan, ssh)
    commands = [plan.command(rank, words, ssh, arguments.grace_seconds) for rank in range(len(plan.workers))]
    return WorkerGroup(commands, arguments.log_dir, arguments.grace_seconds).run()


def ssh_words(text: str) -> list[str]:
    """Returns the words of the --ssh option.

    Raises:
        ConfigError: it is empty, or a quotation in it does not end.
    """
    require_text("--ssh", text)
    try:
        return shlex.split(text)
    except ValueError as error:
        raise ConfigError(
            f"`--ssh` must be words as a shell reads them: {error}; received {shown(text)}"
        ) from None


def make_plan(arguments: argparse.Namespace) -> LaunchPlan:
    """Assigns the workers to hosts.

    Raises:
        ConfigError: neither --workers nor --hosts, or values that do not fit together.
    """
    if arguments.hosts is not None:
        return LaunchPlan.on_hosts(read_hosts(arguments.hosts), arguments.workers, arguments.base_port)
    if arguments.workers is None:
        raise ConfigError("give --workers N, or --hosts FILE")
    return LaunchPlan.on_this_host(arguments.workers, arguments.base_port)
