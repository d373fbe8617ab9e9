"""Starts several workers of one command, prints their output, and stops all when one fails.

  highnoon launch --workers 2 -- train recipe.yaml
  highnoon launch --workers 4 --log-dir logs -- my_program.py --steps 100
  highnoon launch --workers 2 --max-restarts 3 -- train recipe.yaml
  highnoon launch --hosts hosts.txt -- train recipe.yaml

`train ...` (or another verb) after `--` is this package's; `x.py ...` is a program for the same Python;
any other command is run unchanged. Each worker finds its cluster in TF_CONFIG, and its rank in RANK,
WORLD_SIZE and LOCAL_RANK; HIGHNOON_TOKEN is a new secret of this launch, with which the workers authenticate
each other. Ctrl-C and SIGTERM are forwarded to all workers. The exit code is that of the first worker that
failed, 75 if workers only lost each other.

With --max-restarts all workers are started again when one is killed or crashes; a mistake (exit code 1 or 2)
ends the launch. `train` then resumes from its last checkpoint, and ends with the weights of an undisturbed
run. Another program finds the number of restarts so far in HIGHNOON_RESTART.
"""

from __future__ import annotations

import argparse
import dataclasses
import pathlib
import shlex
import shutil
import sys

from highnoon.config import (
    ConfigError,
    require_count,
    require_number,
    require_path,
    require_text,
    shown,
)
from highnoon.files.nearest_name import nearest_name
from highnoon.files.step_folders import step_folders
from highnoon.training.distributed.launching.cluster_check import check_cluster
from highnoon.training.distributed.launching.launch_plan import (
    MAX_PORT,
    MAX_WORKERS,
    LaunchPlan,
    read_hosts,
    shell_line,
    worker_words,
)
from highnoon.training.distributed.launching.restarts import run_with_restarts
from highnoon.training.distributed.launching.worker_group import WorkerGroup

LONGEST_GRACE = 86_400.0
ANSWERS_SIGNALS = True
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
        "--max-restarts",
        type=int,
        default=0,
        metavar="N",
        help="start all workers again, at most N times, when one is killed or crashes (default: 0)",
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
    require_count("--max-restarts", arguments.max_restarts, least=0)
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
    if arguments.hosts is None:
        require_program(words[0], list(VERBS))
    plan = make_plan(arguments)
    if arguments.print_commands:
        for rank, worker in enumerate(plan.workers):
            print(f"# worker {rank} on {worker.host}\n{shell_line(words, plan.environment(rank))}")
        print(
            "set HIGHNOON_TOKEN to the same secret in the environment of all workers",
            file=sys.stderr,
        )
        return 0
    resumed = ResumedWords(words, arguments.command) if arguments.max_restarts else None

    def start(restart: int) -> WorkerGroup:
        # Ports that a lost worker held may not be free at once.
        new = dataclasses.replace(make_plan(arguments) if restart else plan, restart=restart)
        check_cluster(new, ssh)
        words_now = resumed.words(restart) if resumed else words
        commands = [
            new.command(rank, words_now, ssh, arguments.grace_seconds) for rank in range(len(new.workers))
        ]
        return WorkerGroup(commands, arguments.log_dir, arguments.grace_seconds, appends_logs=restart > 0)

    return run_with_restarts(start, arguments.max_restarts)


class ResumedWords:
    """The words of a command that is started again: `train` resumes, another program decides itself.

    Checkpoints of an earlier run that are in the folder before the launch are no reason to resume: only once
    they are others than before, the run of this launch has begun.

    Args:
        words: Of the command.
        typed: The same as the user typed it, which begins with the verb of this package if there is one.
    """

    def __init__(self, words: list[str], typed: list[str]) -> None:
        self._words = words
        verb, *options = [word for word in typed if word != "--"] or [""]
        self._folder = _checkpoint_folder(options) if verb == "train" else None
        self._before = self._checkpoints()

    def words(self, restart: int) -> list[str]:
        """Returns the words of a start: 0 is the first."""
        if restart == 0 or self._folder is None:
            return self._words
        has_begun = not self._before or self._checkpoints() != self._before
        return [*self._words, "--resume"] if has_begun else self._words

    def _checkpoints(self) -> list[tuple[str, int]]:
        folders = [] if self._folder is None else step_folders(self._folder)
        return [(folder.name, folder.stat().st_ino) for folder in folders]


def _checkpoint_folder(options: list[str]) -> pathlib.Path | None:
    """The folder of the checkpoints of `train`; None where it is given what to resume from."""
    from highnoon.cli.__main__ import parse
    from highnoon.cli.train import read_recipe

    recipe = read_recipe(parse(["train", *options]))
    return None if recipe.resume_from is True else recipe.checkpoint_folder


def require_program(word: str, verbs: list[str]) -> None:
    """Refuses a misspelled verb, which would be taken for a program.

    Raises:
        ConfigError: there is no such program on this machine, and a verb is similar.
    """
    near = nearest_name(word, verbs)
    if near is not None and shutil.which(word) is None:
        raise ConfigError(
            f"there is neither a program nor a verb {shown(word)}; did you mean: highnoon launch -- {near}?"
        )


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
        raise ConfigError(
            "give --workers N, or --hosts FILE, as in: highnoon launch --workers 2 -- train run.yaml"
        )
    return LaunchPlan.on_this_host(arguments.workers, arguments.base_port)
