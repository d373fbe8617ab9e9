"""Executes generated shell commands in a sandbox, and refuses where there is none."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import io
import os
import pathlib
import shutil
import subprocess
import tarfile
import tempfile
import threading

from highnoon.config import ConfigError, require_number

MAX_OUTPUT_BYTES = 64 * 2**20
"""What is read of a sandbox; more is a failed command."""

_SIZE = 16 * 2**20
_MAX_COMMAND_CHARACTERS = 16_384
_SECONDS_AROUND = 5.0
# Address space in KiB, size of a file in blocks of 1,024 bytes, processes, open files, seconds of processor.
_LIMITS = "ulimit -v 262144 -f 16384 -u 48 -n 128 -t 10"
_SCRIPT = (
    f"{_LIMITS}; cp -a /seed/. /tree && cd /tree || exit 125; "
    'timeout --signal=KILL "$SECONDS_LEFT" bash --noprofile --norc -c "$COMMAND" '
    "</dev/null >/out/stdout 2>/dev/null; "
    'echo "$?" >/out/code; exec tar -C / -cf - tree out'
)
_FILES = {
    "README.md": "# Sample\n\nA tree of small files.\n",
    "notes.txt": "alpha 3\nbeta 1\ngamma 2\nbeta 1\n",
    "data.csv": "name,count\nann,4\nbob,7\ncleo,2\n",
    "src/main.c": "int main(void) {\n  return 0;\n}\n",
    "src/old.c": "/* TODO */\n",
    "src/run.sh": "#!/bin/sh\necho run\n",
    "logs/one.log": "error: disk\ninfo: ok\nerror: net\n",
    "logs/two.log": "info: ok\n",
    "logs/empty.log": "",
    "docs/a/deep/page.html": "<p>page</p>\n",
    "docs/image.jpg": "not an image\n",
}


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a command did.

    Args:
        has_succeeded: Whether it ended within its limits with exit code 0.
        output: Hash of what it printed.
        files: Path, mode and hash of each file that it left.
    """

    has_succeeded: bool
    output: str = ""
    files: frozenset[tuple[str, int, str]] = frozenset()


class CommandSandbox:
    """Executes commands in a tree of sample files, with bubblewrap.

    A command sees read-only programs of the system, the tree and empty temporary folders in memory, of 16 MiB
    each: no file of the user, no network, no process outside, no variable of the environment. Time, memory,
    processes and file sizes are limited. Nothing that it writes remains.

    Args:
        seconds: The longest that a command may run.

    Raises:
        ConfigError: There is no `bwrap`, or it cannot make a sandbox on this machine.

    Example:

    ```text
    sandbox = CommandSandbox()
    sandbox.run("sort notes.txt") == sandbox.run("cat notes.txt | sort")
    ```
    """

    def __init__(self, seconds: float = 5.0) -> None:
        self.seconds = require_number("seconds", seconds, above=0.0)
        program = shutil.which("bwrap")
        if program is None:
            raise ConfigError(
                "executing commands needs a sandbox and there is no `bwrap`; install it with apt install "
                "bubblewrap, or leave out --execute"
            )
        self._program = program
        if not self.run("true").has_succeeded:
            raise ConfigError(
                f"{program} cannot make a sandbox on this machine (user namespaces may be forbidden); leave "
                "out --execute"
            )
        self.repeatable = functools.lru_cache(maxsize=4096)(self._repeatable)

    def run(self, command: str) -> Outcome:
        """Returns what a command does to the tree, and what it prints.

        Args:
            command: For `bash -c`.
        """
        if len(command) > _MAX_COMMAND_CHARACTERS or "\0" in command:
            return Outcome(False)
        with tempfile.TemporaryDirectory(prefix="highnoon-seed-") as seed:
            _write_files(pathlib.Path(seed))
            content = self._output_of(self._words(seed), command)
        return Outcome(False) if content is None else _read_outcome(content)

    def _repeatable(self, command: str) -> Outcome | None:
        """The outcome of a command that succeeds and does the same twice, else None."""
        outcome = self.run(command)
        return outcome if outcome.has_succeeded and self.run(command) == outcome else None

    def _words(self, seed: str) -> list[str]:
        words = [self._program, "--unshare-all", "--die-with-parent", "--new-session", "--clearenv"]
        words += ["--cap-drop", "ALL", "--uid", "1000", "--gid", "1000", "--hostname", "sandbox"]
        words += ["--ro-bind", "/usr", "/usr", "--proc", "/proc", "--dev", "/dev", "--ro-bind", seed, "/seed"]
        for folder in ("bin", "sbin", "lib", "lib64"):
            if pathlib.Path("/", folder).is_symlink():
                words += ["--symlink", f"usr/{folder}", f"/{folder}"]
            elif pathlib.Path("/", folder).is_dir():
                words += ["--ro-bind", f"/{folder}", f"/{folder}"]
        for folder in ("tree", "out", "tmp"):
            words += ["--size", str(_SIZE), "--tmpfs", f"/{folder}"]
        for name, value in {"PATH": "/usr/bin:/bin", "HOME": "/tree", "LC_ALL": "C", "TZ": "UTC"}.items():
            words += ["--setenv", name, value]
        return words

    def _output_of(self, words: list[str], command: str) -> bytes | None:
        """What the sandbox writes, or None if it fails, takes too long or writes too much."""
        words = [
            *words,
            "--setenv",
            "COMMAND",
            command,
            "--setenv",
            "SECONDS_LEFT",
            str(self.seconds),
            "bash",
            "--noprofile",
            "--norc",
            "-c",
            _SCRIPT,
        ]
        process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        timer = threading.Timer(self.seconds + _SECONDS_AROUND, process.kill)
        timer.start()
        try:
            with process.stdout as stream:  # type: ignore[union-attr]
                content = stream.read(MAX_OUTPUT_BYTES + 1)
        finally:
            timer.cancel()
            process.kill()
            process.wait()
        return content if len(content) <= MAX_OUTPUT_BYTES else None


def _write_files(folder: pathlib.Path) -> None:
    for name, text in _FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        path.chmod(0o755 if name.endswith(".sh") else 0o644)
        os.utime(path, (1_700_000_000, 1_700_000_000))


def _read_outcome(content: bytes) -> Outcome:
    files, output, code = set(), "", None
    try:
        with tarfile.open(fileobj=io.BytesIO(content)) as tar:
            for member in tar:
                file = tar.extractfile(member) if member.isreg() else None
                body = file.read() if file is not None else member.linkname.encode()
                found = hashlib.sha256(body).hexdigest()
                if member.name == "out/code":
                    code = body.strip()
                elif member.name == "out/stdout":
                    output = found
                else:
                    files.add((member.name, member.mode, found))
    except tarfile.TarError:
        return Outcome(False)
    return Outcome(code == b"0", output, frozenset(files))
