"""Renders chat templates in a separate process, so that no template can crash this one."""

from __future__ import annotations

import atexit
import json
import os
import pickle
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from highnoon.tokenization.chat.chat_template import ChatTemplateError, Message
from highnoon.tokenization.marked_text import MarkedText

# A plain interpreter, not a child of `multiprocessing`: that would run the caller's script once more where it
# has no `if __name__ == "__main__"`.
_START = (
    "import sys; sys.path[:] = {path!r}; from highnoon.tokenization.chat.jinja_worker import main; main()"
)
_MOST_FAILURES = 3
_SECONDS_TO_END = 2

LENGTH = struct.Struct("<Q")
MAX_SECONDS = 3
MAX_BYTES = 512 << 20


def ask_jinja(
    task: str,
    template: str,
    variables: Mapping[str, str],
    messages: Sequence[Message],
    tools: Sequence[Any] | None = None,
) -> MarkedText:
    """Returns a conversation as a template writes it.

    Args:
        task: `"check"`, `"render"` or `"prompt"`; see `ChatTemplate`.
        template: In Jinja.
        variables: Further names for the template.
        messages: The conversation.
        tools: The tools that may be called; None leaves the name `tools` undefined.

    Raises:
        ChatTemplateError: the template is not Jinja, fails, or takes too much time or memory.
    """
    try:
        request = pickle.dumps((task, template, dict(variables), list(messages), list(tools or ())))
    except RecursionError:
        raise ChatTemplateError("a turn is nested too deeply; expected less", "nested too deep") from None
    return _client.ask(request, (template, *sorted(variables.items())))


class _Client:
    """One process, used by one thread at a time; it starts at the first request, and again after it ended."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self._failed: Any = None
        self._num_failures = 0

    def ask(self, request: bytes, key: Any) -> MarkedText:
        with self._lock:
            if key == self._failed and self._num_failures >= _MOST_FAILURES:
                raise ChatTemplateError(
                    f"the chat template took too much time or memory for {_MOST_FAILURES} conversations in "
                    f"a row; simplify it",
                    "chat template without bound",
                )
            kind, *parts = self._exchange(request)
            if kind == "error":
                message, reason, is_costly = parts
                is_same = key == self._failed
                self._failed, self._num_failures = key, is_costly * (1 + is_same * self._num_failures)
                raise ChatTemplateError(message, reason)
            self._failed = None
            text, supervised, marks = parts
            return MarkedText(text, tuple(map(tuple, supervised or ())), tuple(map(tuple, marks)))

    def _exchange(self, request: bytes) -> list[Any]:
        process = self._process = self._process or _started()
        assert process.stdin is not None and process.stdout is not None
        try:
            process.stdin.write(LENGTH.pack(len(request)) + request)
            process.stdin.flush()
            head = process.stdout.read(LENGTH.size)
            answer = process.stdout.read(LENGTH.unpack(head)[0]) if len(head) == LENGTH.size else b""
            found: list[Any] = json.loads(answer)
            return found
        except (OSError, ValueError):
            # The system ends the process when it exceeds a limit.
            code = self.end(_SECONDS_TO_END)
            ending = f"{'signal' if code < 0 else 'exit code'} {abs(code)}"
            reason = (
                f"takes more than {MAX_SECONDS} seconds"
                if code == -signal.SIGXCPU
                else f"ended its process with {ending}, which may be for lack of memory"
            )
            return ["error", f"the chat template {reason}; simplify it", "chat template without bound", True]
        except BaseException:
            # Ctrl-C: the pending answer must not be mistaken for that of the next request.
            self.end()
            raise

    def end(self, seconds: float = 0) -> int:
        """Ends the process, if it does not end by itself within `seconds`, and returns its exit code."""
        process, self._process = self._process, None
        if process is None:
            return 0
        assert process.stdin is not None and process.stdout is not None
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
        for stream in (process.stdin, process.stdout):
            try:
                stream.close()
            except BrokenPipeError:
                # Nobody reads the rest any more.
                continue
        return code


def _started() -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", _START.format(path=sys.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
    )


def _use_new_client() -> None:
    global _client
    _client = _Client()


_client = _Client()
atexit.register(lambda: _client.end())
# The process of a parent answers only the parent.
os.register_at_fork(after_in_child=_use_new_client)
