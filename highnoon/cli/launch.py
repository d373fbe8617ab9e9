"""Starts several workers of one command, gathers what they print, and ends all when one fails.

  highnoon launch --workers 2 -- train --config run.yaml
  highnoon launch --workers 4 --log-dir logs -- my_program.py --steps 100
  highnoon launch --hosts hosts.txt -- train --config run.yaml

`train ...` (or another verb) after `--` is this package's; `x.py ...` is a program for the same Python;
anything else is run as it stands. Each worker finds its cluster in TF_CONFIG, and its place in RANK,
WORLD_SIZE and LOCAL_RANK; HIGHNOON_TOKEN is a new secret of this launch, with which the workers know each
other. Ctrl-C and SIGTERM are passed on to all and waited for. The exit code is that of
the first worker that failed, 75 where workers only lost each other.
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
        help="first of the ports to listen at; free ones on this machine, 20000 with --hosts",
    )
    parser.add_argument("--log-dir", metavar="DIR", help="keep the lines of worker R in DIR/worker_R.log too")
    parser.add_argument(
        "--grace-seconds",
        type=float,
        default=60.0,
        metavar="S",
        help="from the first failure to the kill of the workers that are left (default: 60)",
    )
    parser.add_argument(
        "--ssh",
        default="ssh -o BatchMode=yes",
        metavar="COMMAND",
        help="what runs a line on another host, as `COMMAND HOST LINE` (default: ssh -o BatchMode=yes)",
    )
    parser.add_argument(
        "--print-commands", action="store_true", help="print what each host has to run, and start nothing"
    )
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="-- COMMAND ...", help="what to start")


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
        for rank, place in enumerate(plan.places):
            print(f"# worker {rank} on {place.host}\n{shell_line(words, plan.environment(rank))}")
        print(
            "set HIGHNOON_TOKEN to one secret in the environment of all workers: it keeps others out",
            file=sys.stderr,
        )
        return 0
    check_cluster(plan, ssh)
    commands = [plan.command(rank, words, ssh, arguments.grace_seconds) for rank in range(len(plan.places))]
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
    """Places the workers as the options say.

    Raises:
        ConfigError: neither --workers nor --hosts, or values that do not fit.
    """
    if arguments.hosts is not None:
        return LaunchPlan.on_hosts(read_hosts(arguments.hosts), arguments.workers, arguments.base_port)
    if arguments.workers is None:
        raise ConfigError("give --workers N, or --hosts FILE")
    return LaunchPlan.on_this_host(arguments.workers, arguments.base_port)
