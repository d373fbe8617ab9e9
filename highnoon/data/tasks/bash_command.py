"""The task `bash_command`: a sentence to a shell command."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

from highnoon.data.tasks.synthetic.shell import shell_record
from highnoon.data.tasks.task_definition import TaskData, TaskDefinition
from highnoon.data.tasks.task_example import TaskExample
from highnoon.data.tasks.task_fields import text_field

_ASKED = ("instruction", "prompt", "nl")
_COMMAND = ("response", "bash", "command", "output")


class BashCommand(TaskDefinition):
    """A sentence to a shell command.

    The user's turn is the sentence; the answer is the command in a fenced block:

        ```bash
        find . -name '*.txt'
        ```

    Records have `instruction` and `response` (or `nl` and `bash`, as on the hub). Commands of equal sentences
    are all accepted.

    Lin et al. 2018, "NL2Bash: a corpus and semantic parser for natural language interface to the Linux
    operating system".
    """

    name = "bash_command"
    datasets = (
        TaskData("NL2Bash", ("nl2bash",), "jiacheng-ye/nl2bash"),
        TaskData("unix-commands", ("unix",)),
    )
    joins_expected = True
    fields = (*_ASKED, *_COMMAND)

    def example(self, record: Mapping[str, Any], location: str) -> TaskExample:
        asked = text_field(self.name, record, _ASKED, location)
        command = text_field(self.name, record, _COMMAND, location)
        turns = [{"role": "user", "content": asked}]
        return TaskExample(self.name, "", turns, f"```bash\n{command}\n```", [command])

    def synthesize(self, rng: random.Random) -> Mapping[str, Any]:
        return shell_record(rng)
