"""`highnoon launch`: what workers find, how their lines are gathered, and how a group ends."""

from __future__ import annotations

import json
import os
import pathlib
import re
import shlex
import signal
import socket
import subprocess
import sys
import time

import pytest

from highnoon.cli.__main__ import VERBS, main
from highnoon.config import ConfigError
from highnoon.training.distributed.cluster_config import ClusterConfig
from highnoon.training.distributed.launching import cluster_check, launch_plan
from highnoon.training.distributed.launching.cluster_check import ClusterError, check_cluster
from highnoon.training.distributed.launching.launch_plan import LaunchPlan, parse_hosts, worker_words

# Says what it found, then obeys its rank's word: `exit CODE`, `sleep`, `deaf` (to SIGTERM) or `save`.
WORKER = """
import json, os, pathlib, signal, sys, time
rank = int(os.environ["RANK"])
word, *values = sys.argv[1 + rank].split()
def save(number, frame):
    time.sleep(0.5)
    print("saved on", signal.Signals(number).name)
    sys.exit(0)
if word == "deaf":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if word == "save":
    signal.signal(signal.SIGTERM, save)
    signal.signal(signal.SIGINT, save)
print("pid", os.getpid())
if word == "exit":
    time.sleep(0.3)
    sys.exit(int(values[0]))
if word == "raise":
    os.kill(os.getpid(), int(values[0]))
time.sleep(120)
"""

# Stands in for ssh: runs the line in a shell of this machine, as sshd would in one of the other.
SSH = f'{sys.executable} -c \'import os, sys; os.execvp("sh", ["sh", "-c", sys.argv[2]])\''


@pytest.fixture
def program(tmp_path) -> str:
    path = tmp_path / "worker.py"
    path.write_text(WORKER)
    return str(path)


@pytest.fixture
def elsewhere(monkeypatch) -> str:
    """The name of this host, taken for another's."""
    for module in (launch_plan, cluster_check):
        monkeypatch.setattr(module, "is_this_host", lambda host: False)
    return socket.gethostname()


def start_launcher(*words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "highnoon.cli", "launch", *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def wait_for_pids(launcher: subprocess.Popen[str], number: int) -> list[int]:
    assert launcher.stdout is not None
    pids: list[int] = []
    while len(pids) < number:
        line = launcher.stdout.readline()
        assert line, "the launcher ended early"
        if " pid " in line:
            pids.append(int(line.split()[-1]))
    return pids


def is_alive(pid: int) -> bool:
    try:
        status = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def wait_until_dead(pids: list[int], seconds: float) -> bool:
    ends_at = time.monotonic() + seconds
    while time.monotonic() < ends_at and any(map(is_alive, pids)):
        time.sleep(0.05)
    return not any(map(is_alive, pids))


def test_each_worker_finds_the_cluster_and_its_own_rank(capsys, monkeypatch):
    monkeypatch.delenv("TF_NUM_INTRAOP_THREADS", raising=False)
    program = "import json, os; print(json.dumps(dict(os.environ)))"
    assert main(["launch", "--workers", "2", "--", sys.executable, "-c", program]) == 0
    printed = capsys.readouterr().out.splitlines()
    for rank in range(2):
        [line] = [line for line in printed if line.startswith(f"[worker {rank}] {{")]
        found = json.loads(line.split("] ", 1)[1])
        cluster = ClusterConfig.from_environment(found)
        assert cluster is not None
        assert (cluster.rank, cluster.num_workers) == (rank, 2)
        assert [found[name] for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE")] == [str(rank), str(rank), "2"]
        assert found["TF_NUM_INTRAOP_THREADS"] == str(max(1, launch_plan.num_cores() // 2))
        assert cluster.watch_address[1] not in [int(address.split(":")[1]) for address in cluster.addresses]


def test_a_number_of_threads_that_is_set_stays(capsys, monkeypatch):
    monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", "7")
    program = "import os; print(os.environ['TF_NUM_INTRAOP_THREADS'])"
    assert main(["launch", "--workers", "1", "--", sys.executable, "-c", program]) == 0
    assert "[worker 0] 7" in capsys.readouterr().out


def test_the_lines_of_each_worker_are_kept_in_a_file_of_its_own(tmp_path, capsys):
    program = "import os, sys; print('out', os.environ['RANK']); sys.stderr.write('err\\n')"
    words = ["launch", "--workers", "2", "--log-dir", str(tmp_path / "logs")]
    assert main([*words, "--", sys.executable, "-c", program]) == 0
    assert "[worker 1] out 1" in capsys.readouterr().out
    for rank in range(2):
        kept = (tmp_path / "logs" / f"worker_{rank}.log").read_text()
        assert sorted(kept.splitlines()) == ["err", f"out {rank}"]


def test_a_worker_that_fails_ends_the_others_and_gives_its_exit_code(program, capsys):
    begun_at = time.monotonic()
    assert main(["launch", "--workers", "2", "--", program, "sleep", "exit 3"]) == 3
    assert time.monotonic() - begun_at < 20
    printed = capsys.readouterr().out
    assert "[launch] worker 1 failed with exit code 3" in printed
    assert "[launch] worker 0 was ended by SIGTERM" in printed


def test_a_worker_deaf_to_sigterm_is_killed_after_the_grace(program, capsys):
    words = ["launch", "--workers", "2", "--grace-seconds", "0.5", "--", program, "deaf", "exit 3"]
    assert main(words) == 3
    assert "[launch] worker 0 was ended by SIGKILL" in capsys.readouterr().out


def test_a_worker_that_ends_well_leaves_the_others_alone(capsys):
    program = "import os, time; time.sleep(float(os.environ['RANK'])); print('done', os.environ['RANK'])"
    assert main(["launch", "--workers", "2", "--", sys.executable, "-c", program]) == 0
    assert "[worker 1] done 1" in capsys.readouterr().out


def test_a_killed_worker_counts_as_128_plus_its_signal(program, capsys):
    assert main(["launch", "--workers", "2", "--", program, "sleep", "raise 9"]) == 137
    assert "[launch] worker 1 was ended by SIGKILL" in capsys.readouterr().out


def test_workers_that_only_lost_each_other_give_75(program):
    words = ["launch", "--workers", "2", "--grace-seconds", "0.5"]
    assert main([*words, "--", program, "exit 75", "deaf"]) == 75


def test_the_worker_that_was_lost_is_blamed_and_not_the_one_that_noticed():
    late = "import os, time; rank = int(os.environ['RANK']); time.sleep(0.5 * rank); exit([75, 4][rank])"
    assert main(["launch", "--workers", "2", "--", sys.executable, "-c", late]) == 4


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_passed_on_once_and_waited_for(program, number):
    launcher = start_launcher("--workers", "2", "--", program, "save", "save")
    wait_for_pids(launcher, 2)
    launcher.send_signal(number)
    printed, _ = launcher.communicate(timeout=20)
    assert launcher.returncode == 0
    for rank in range(2):
        assert printed.count(f"[worker {rank}] saved on {number.name}") == 1


def test_the_third_signal_kills(program):
    launcher = start_launcher("--workers", "1", "--", program, "deaf")
    pids = wait_for_pids(launcher, 1)
    for _ in range(3):
        launcher.send_signal(signal.SIGTERM)
        time.sleep(0.5)
    assert launcher.wait(timeout=10) == 137
    assert wait_until_dead(pids, 5)


def test_nothing_is_started_where_a_port_is_taken(tmp_path, capsys):
    with socket.create_server(("", 0)) as taken:
        port = taken.getsockname()[1]
        mark = tmp_path / "started"
        words = ["launch", "--workers", "1", "--base-port", str(port), "--", "touch", str(mark)]
        assert main(words) == 1
    assert f"port {port}" in capsys.readouterr().err
    assert not mark.exists()


def test_a_command_that_does_not_exist_is_a_mistake_of_the_user(capsys):
    assert main(["launch", "--workers", "2", "--", "no-such-program"]) == 1
    assert "no-such-program" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["--", "train", "--steps", "3"], [sys.executable, "-m", "highnoon.cli", "train", "--steps", "3"]),
        (["run.py", "--", "x"], [sys.executable, "run.py", "--", "x"]),
        (["--", "./train", "x"], ["./train", "x"]),
    ],
)
def test_the_first_word_decides_what_is_started(command, words):
    assert worker_words(command, list(VERBS)) == words


@pytest.mark.parametrize("command", [[], ["--"], ["--", "launch", "--workers", "2"]])
def test_a_command_that_starts_nothing_is_refused(command):
    with pytest.raises(ConfigError):
        worker_words(command, list(VERBS))


def test_workers_fill_the_slots_of_the_hosts_in_order():
    plan = LaunchPlan.on_hosts("one 2\n# a comment\ntwo 4  # fast\n", num_workers=5, base_port=3000)
    assert [(worker.host, worker.port, worker.local_rank) for worker in plan.workers] == [
        ("one", 3000, 0), ("one", 3001, 1), ("two", 3000, 0), ("two", 3001, 1), ("two", 3002, 2),
    ]  # fmt: skip
    assert plan.watch_port == 3003
    found = plan.environment(3)
    cluster = ClusterConfig.from_environment(found)
    assert cluster is not None
    assert cluster.addresses == ("one:3000", "one:3001", "two:3000", "two:3001", "two:3002")
    assert (cluster.rank, cluster.local_rank, cluster.num_local_workers) == (3, 1, 3)
    assert cluster.watch_address == ("one", 3003)


@pytest.mark.parametrize("text", ["", "one two", "one 0", "one\none 2", "-oProxyCommand=x", "one 1 2"])
def test_hosts_that_cannot_be_read_are_refused(text):
    with pytest.raises(ConfigError):
        parse_hosts(text)


def test_more_workers_than_slots_are_refused():
    with pytest.raises(ConfigError, match="3 slots"):
        LaunchPlan.on_hosts("one 3", num_workers=4)


def test_loopback_next_to_other_hosts_is_refused():
    with pytest.raises(ConfigError, match="loopback"):
        LaunchPlan.on_hosts("localhost\nother")


def test_commands_for_other_hosts_can_be_printed_and_run_by_hand(tmp_path, capsys):
    hosts = tmp_path / "hosts.txt"
    hosts.write_text("node1\nnode2\n")
    odd = "a 'quoted' $HOME; word"
    program = "import os, sys; print(os.environ['TF_CONFIG'], sys.argv[1])"
    words = ["launch", "--hosts", str(hosts), "--print-commands", "--", sys.executable, "-c", program, odd]
    assert main(words) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0::2] == ["# worker 0 on node1", "# worker 1 on node2"]
    told = subprocess.run(["sh", "-c", printed[3]], capture_output=True, text=True, check=True).stdout
    assert '"index": 1' in told and told.rstrip().endswith(odd)


def test_workers_of_other_hosts_run_through_ssh_and_end_with_the_group(tmp_path, program, elsewhere, capsys):
    hosts = tmp_path / "hosts.txt"
    hosts.write_text(f"{elsewhere} 2\n")
    base = launch_plan.free_ports(1)[0]
    words = ["launch", "--hosts", str(hosts), "--base-port", str(base), "--ssh", SSH]
    assert main([*words, "--", sys.executable, program, "sleep", "exit 3"]) == 3
    printed = capsys.readouterr().out
    pids = [int(line.split()[-1]) for line in printed.splitlines() if " pid " in line]
    assert len(pids) == 2
    assert wait_until_dead(pids, 5)
    assert "[launch] worker 1 failed with exit code 3" in printed


# Says how long its token is, and how many command lines of this machine hold it.
TELL_TOKEN = """
import os, pathlib
token, number = os.environ["HIGHNOON_TOKEN"].encode(), 0
for file in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
    try:
        number += token in file.read_bytes()
    except OSError:  # that process has ended
        pass
print("token of", len(token), "in", number)
"""


def test_each_launch_has_a_new_token_in_the_environment_of_its_workers(tmp_path, capsys):
    (tmp_path / "tell.py").write_text(TELL_TOKEN)
    assert main(["launch", "--workers", "2", "--", str(tmp_path / "tell.py")]) == 0
    told = capsys.readouterr().out
    assert all(f"[worker {rank}] token of 64 in 0" in told for rank in range(2)), told
    plan = LaunchPlan.on_this_host(2)
    assert plan.token != LaunchPlan.on_this_host(2).token
    assert plan.token not in repr(plan) + launch_plan.shell_line(["true"], plan.environment(0))


def test_a_worker_of_another_host_gets_the_token_and_no_command_line_holds_it(tmp_path, elsewhere, capsys):
    hosts = tmp_path / "hosts.txt"
    hosts.write_text(f"{elsewhere} 2\n")
    (tmp_path / "tell.py").write_text(TELL_TOKEN)
    base = str(launch_plan.free_ports(1)[0])
    words = ["launch", "--hosts", str(hosts), "--base-port", base, "--ssh", SSH]
    assert main([*words, "--", sys.executable, str(tmp_path / "tell.py")]) == 0
    told = capsys.readouterr().out
    assert all(f"[worker {rank}] token of 64 in 0" in told for rank in range(2)), told


@pytest.mark.parametrize(
    "words",
    [
        ["--workers", "1000000000"],
        ["--workers", "2", "--base-port", "65535"],
        ["--workers", "2", "--base-port", "-5"],
        ["--hosts", "HOSTS"],
        ["--hosts", "."],
        ["--hosts", "/dev/zero"],
    ],
)
def test_a_launch_that_cannot_be_is_refused_at_once(words, tmp_path, capsys):
    (tmp_path / "hosts").write_text("one 999999999\n")
    words = [str(tmp_path / "hosts") if word == "HOSTS" else word for word in words]
    assert main(["launch", *words, "--", "true"]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_a_worker_of_another_host_ends_when_its_launcher_is_killed(tmp_path):
    line = launch_plan.remote_line("echo pid $$; exec sleep 100", grace_seconds=1)
    launcher = subprocess.Popen(
        [*shlex.split(SSH), "host", line], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert launcher.stdout is not None and launcher.stdin is not None
    launcher.stdout.readline()
    children = pathlib.Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text().split()
    launcher.stdin.close()
    assert launcher.wait(timeout=10) == 128 + signal.SIGTERM
    assert wait_until_dead([int(child) for child in children], 5)


def test_a_host_that_does_not_answer_is_named_before_anything_starts(elsewhere):
    plan = LaunchPlan.on_hosts("other-host")
    refuses = [sys.executable, "-c", "import sys; sys.exit('Permission denied')"]
    with pytest.raises(ClusterError, match="other-host is not ready: Permission denied"):
        check_cluster(plan, refuses)


def test_a_taken_port_of_another_host_is_found(elsewhere):
    with socket.create_server(("", 0)) as taken:
        plan = LaunchPlan.on_hosts(elsewhere, base_port=taken.getsockname()[1])
        with pytest.raises(ClusterError, match="in use"):
            check_cluster(plan, shlex.split(SSH))


def test_the_launcher_does_not_load_tensorflow():
    program = (
        "import sys; from highnoon.cli.__main__ import main\n"
        "main(['launch', '--workers', '1', '--', 'true'])\n"
        "sys.exit('tensorflow' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], env=dict(os.environ)).returncode == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--workers", "1", "--", ""], "the command must be words"),
        (["--workers", "1", "--ssh", "ssh '", "--", "true"], "`--ssh` must be words.*No closing quotation"),
        (["--hosts", "", "--", "true"], "`--hosts` must be a path; received ''"),
    ],
)
def test_words_that_cannot_start_anything_are_refused_by_name(capsys, words, message):
    assert main(["launch", *words]) == 1
    assert re.search(message, capsys.readouterr().err)


def test_a_host_whose_shell_ends_is_not_said_to_be_silent(elsewhere):
    plan = LaunchPlan.on_hosts(elsewhere)
    with pytest.raises(ClusterError, match="the command ended with exit code 1 and printed nothing"):
        check_cluster(plan, ["false"])


def test_a_host_name_has_no_control_characters():
    with pytest.raises(ConfigError, match="line 1 of the hosts"):
        parse_hosts("\x1b[31mhost 1")
