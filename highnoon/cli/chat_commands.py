"""The commands of `highnoon chat`: lines that begin with a slash, which the model never sees."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Callable
from typing import Any

from highnoon.cli.model_options import SAMPLING
from highnoon.config import require_path, shown
from highnoon.files.nearest_name import nearest_name
from highnoon.inference import StatefulWrapper

HELP = '''\
/help                 this list
/exit, /quit, exit    end; so do Ctrl-D, and Ctrl-C twice
/reset                forget the conversation
/system TEXT          set the system message; without TEXT there is none
/retry, /regenerate   answer the last message again
/save FILE            write the conversation as a JSON record with `messages`, which training reads
/settings             show the settings
/temperature 0.7      a setting; so are {settings}
//text                a message that begins with a slash
\\                     at the end of a line continues the message in the next line
"""                   begins and ends a message of several lines'''

_INTEGERS = ("max_length", "top_k", "seed")


class ChatCommands:
    """Carries out the commands of a conversation.

    Args:
        conversation: The conversation.
        sampling: Arguments of `generate`, which settings change.
        answer: Answers a message of the user and prints the answer.
        say: Prints a line that is not the model's.
    """

    def __init__(
        self,
        conversation: StatefulWrapper,
        sampling: dict[str, Any],
        answer: Callable[[str], object],
        say: Callable[[str], object],
    ) -> None:
        self._conversation, self.sampling = conversation, sampling
        self._answer, self._say = answer, say
        self.is_over = False
        self._commands: dict[str, Callable[[str], object]] = {
            "help": self._help,
            "exit": self._exit,
            "quit": self._exit,
            "reset": self._reset,
            "system": self._system,
            "retry": self._retry,
            "regenerate": self._retry,
            "save": self._save,
            "settings": self._settings,
        }

    def take(self, line: str) -> bool:
        """Carries out a line that is a command; returns whether it was one."""
        if line in ("exit", "quit"):
            line = f"/{line}"
        if not line.startswith("/") or line.startswith("//"):
            return False
        word, _, value = line[1:].partition(" ")
        name, value = word.replace("-", "_").lower(), value.strip()
        try:
            if name in self._commands:
                self._commands[name](value)
            elif name in SAMPLING:
                self._set(name, value)
            else:
                self._refuse(word)
        except (ValueError, OSError) as error:
            self._say(f"error: {error}")
        return True

    def _refuse(self, word: str) -> None:
        known = [*self._commands, *map(_typed, SAMPLING)]
        near = nearest_name(word, known)
        hint = f"did you mean /{near}?" if near is not None else "/help lists the commands."
        self._say(f"there is no command /{word}; {hint} A message that begins with a slash needs two, //.")

    def _help(self, value: str) -> None:
        self._say(HELP.format(settings=", ".join(f"/{_typed(name)}" for name in SAMPLING[:1] + SAMPLING[2:])))

    def _exit(self, value: str) -> None:
        self.is_over = True

    def _reset(self, value: str) -> None:
        self._conversation.reset()
        self._say("the conversation is forgotten")

    def _system(self, value: str) -> None:
        self._conversation.system_prompt = value or None
        self._say("the system message is set" if value else "there is no system message now")

    def _retry(self, value: str) -> None:
        message = self._conversation.take_back()
        if message is None:
            raise ValueError("there is no message to answer again; type one")
        if self.sampling.get("seed") is not None:
            self.sampling["seed"] += 1  # the same seed would give the same answer
        if self.sampling.get("temperature") == 0:
            self._say("the temperature is 0, so the answer is the same; /temperature 0.8 makes it vary")
        self._answer(message)

    def _save(self, value: str) -> None:
        path = pathlib.Path(require_path("FILE", value))
        messages = self._conversation.get_history()
        if self._conversation.system_prompt is not None:
            messages = [{"role": "system", "content": self._conversation.system_prompt}, *messages]
        with path.open("x", encoding="utf-8") as stream:
            stream.write(json.dumps({"messages": messages}, ensure_ascii=False) + "\n")
        self._say(f"saved {len(messages)} messages to {path}")

    def _settings(self, value: str) -> None:
        for name in SAMPLING:
            self._say(f"/{_typed(name)} {self.sampling.get(name, 'not set')}")

    def _set(self, name: str, value: str) -> None:
        if not value:
            self._say(f"/{_typed(name)} {self.sampling.get(name, 'not set')}")
            return
        try:
            number = int(value) if name in _INTEGERS else float(value)
        except ValueError:
            raise ValueError(f"/{_typed(name)} must be a number; received {shown(value)}") from None
        self._conversation.require_options(**{**self.sampling, name: number})
        self.sampling[name] = number
        self._say(f"/{_typed(name)} is {number}")


def _typed(name: str) -> str:
    return name.replace("_", "-")
