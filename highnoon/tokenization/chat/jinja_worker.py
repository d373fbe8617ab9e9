"""The process behind `ask_jinja`, which renders chat templates with limits on time and memory.

A time limit must act within one operation, such as a power of large numbers, which only the system can
stop. So the template runs in its own process, and the system limits the time and memory of each conversation.
"""

from __future__ import annotations

import json
import os
import pickle
import resource
import signal
import sys
from typing import IO, Any

from highnoon.tokenization.chat.chat_template import ChatTemplateError
from highnoon.tokenization.chat.jinja_chat import JinjaChat
from highnoon.tokenization.chat.jinja_process import LENGTH, MAX_BYTES, MAX_SECONDS
from highnoon.tokenization.marked_text import MarkedText

# A conversation may be long: its limits grow with its bytes, not with what a template makes of them.
_BYTES_A_SECOND = 1 << 18
_MEMORY_A_BYTE = 64
_TEXT_A_BYTE, _LEAST_TEXT = 16, 1 << 20

_LONGEST_ERROR = 300


def main() -> None:
    """Reads requests from standard input until it ends and writes an answer to each."""
    # Ctrl-C goes to all processes of a terminal; the requesting one decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _set_soft(resource.RLIMIT_CORE, 0)
    source = sys.stdin.buffer
    with os.fdopen(os.dup(1), "wb") as target:
        # Anything else that prints would end up among the answers.
        os.dup2(2, 1)
        chats: dict[tuple[Any, ...], JinjaChat] = {}
        while request := _read(source):
            _limit(len(request))
            answer = json.dumps(_answer(request, chats)).encode()
            target.write(LENGTH.pack(len(answer)) + answer)
            target.flush()


def _read(source: IO[bytes]) -> bytes:
    head = source.read(LENGTH.size)
    return source.read(LENGTH.unpack(head)[0]) if len(head) == LENGTH.size else b""


def _limit(num_bytes: int) -> None:
    """Sets what the next answer may use, on top of what the process has used so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    seconds = int(used.ru_utime + used.ru_stime) + MAX_SECONDS + num_bytes // _BYTES_A_SECOND
    _set_soft(resource.RLIMIT_CPU, seconds)
    if (used_bytes := _used_bytes()) is not None:
        _set_soft(resource.RLIMIT_AS, used_bytes + MAX_BYTES + _MEMORY_A_BYTE * num_bytes)


def _set_soft(kind: int, value: int) -> None:
    hard = resource.getrlimit(kind)[1]
    resource.setrlimit(kind, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))


def _used_bytes() -> int | None:
    """The address space of this process; None if the system does not report it."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[0]) * resource.getpagesize()
    except OSError:
        return None


def _answer(request: bytes, chats: dict[tuple[Any, ...], JinjaChat]) -> list[Any]:
    num_bytes = len(request)
    try:
        task, template, variables, messages, tools = pickle.loads(request)
        key = (template, *sorted(variables.items()))
        if key not in chats:
            chats.clear()
            chats[key] = JinjaChat(template, variables)
        chat = chats[key]
        chat.tools = tools
        found = MarkedText("") if task == "check" else getattr(chat, task)(messages)
        if len(found.text) > _LEAST_TEXT + _TEXT_A_BYTE * num_bytes:
            raise ChatTemplateError(
                f"the chat template writes {len(found.text):,} characters of a conversation of "
                f"{num_bytes:,} bytes; write less",
                "chat template without bound",
            )
        return ["text", *found]
    except ChatTemplateError as error:
        return ["error", str(error)[:_LONGEST_ERROR], error.reason, False]
    except MemoryError:
        return [
            "error",
            f"the chat template takes more than {MAX_BYTES >> 20} MB of memory; simplify it",
            "chat template without bound",
            True,
        ]
    except Exception as error:  # whatever a template can make Python raise is the template's fault
        words = " ".join(str(error).split())[:_LONGEST_ERROR]
        return [
            "error",
            f"the chat template fails with {type(error).__name__}: {words}; change it",
            "chat template fails",
            False,
        ]


if __name__ == "__main__":
    main()
