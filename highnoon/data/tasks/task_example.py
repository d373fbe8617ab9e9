"""One example of a task: a prompt, its answer, and what metrics score an answer against."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from highnoon.data.tokens.splitting import split_hash

SYNTHETIC = "synthetic"
"""The word in the label of everything that a generator made."""


@dataclasses.dataclass(frozen=True)
class TaskExample:
    """One example of a task.

    Its `answer` and `expected`, by task:

    - `text_completion`: the rest of the text, which continues `prompt`; None.
    - `function_call`: a JSON list, `[{"name": ..., "arguments": {...}}]`; the accepted calls in the form of
      BFCL, a list of `{name: {argument: [accepted values]}}`. `""` among the values of an argument says that
      the call may leave it out. The calls may be in any order.
    - `bash_command`: a fenced block of "bash" with the command; the accepted commands, a list of strings.
    - `chain_of_thought`: the steps, and a last line `#### 72`; the final answer as text, `"72"`.
    - `tool_use`: the calls in order, in the form of `function_call`; `{"calls": [...], "state": ...,
      "final_state": ...}`, where the states before and after the calls are null if the data has none.

    The default split holds examples out by a hash of the words of the user's turns, so that examples with
    equal prompts are on one side. See `split_hash`.

    Args:
        task: Name of the task.
        id: Name of the example, unique within its data.
        messages: The prompt: turns, each a mapping of `role` and `content`; empty for `text_completion`.
        answer: The text of the reference answer.
        expected: JSON value that metrics score an answer against.
        tools: The functions of the prompt, each a mapping of `name`, `description` and `parameters`, a JSON
            schema; a function of `tool_use` may have `effects` too, see `ToolManifest`.
        prompt: Text that `answer` continues, for a task without turns.
        is_synthetic: Whether a generator made the example.
        is_validation_only: Whether the example is always held out.

    Example:

    ```python
    from highnoon.data.tasks.task_example import TaskExample
    turns = [{"role": "user", "content": "List the files."}]
    example = TaskExample("bash_command", "0", turns, "```bash\\nls\\n```", ["ls"])
    assert example.label == "bash_command"
    assert example.split_hash == TaskExample("bash_command", "1", turns, "```bash\\nls .\\n```").split_hash
    ```
    """

    task: str
    id: str
    messages: Sequence[Mapping[str, Any]]
    answer: str
    expected: Any = None
    tools: Sequence[Mapping[str, Any]] = ()
    prompt: str = ""
    is_synthetic: bool = False
    is_validation_only: bool = False

    @property
    def label(self) -> str:
        """The task's name in reports and metrics; it begins with `synthetic_` if a generator made it."""
        return f"{SYNTHETIC}_{self.task}" if self.is_synthetic else self.task

    @property
    def split_hash(self) -> int:
        """The 64-bit number that determines the side of the split, see `tokens.splitting.split_hash`.

        It hashes the words of the user's turns without differences of case and white space; of an example
        without turns, the text. If the example is always held out, it is below 2^32 and so below the
        threshold of any fraction that is not 0.
        """
        asked = (str(turn["content"]) for turn in self.messages if turn["role"] == "user")
        words = " ".join("\n".join(asked).split()).casefold() if self.messages else self.prompt + self.answer
        return split_hash(words) >> 32 if self.is_validation_only else split_hash(words)

    def record(self) -> dict[str, Any]:
        """Returns the example as a record that `RecordRenderer` writes: the answer alone is supervised."""
        if not self.messages:
            return {"text": self.prompt + self.answer}
        context = [
            {**turn, "learn": False} if turn["role"] == "assistant" else dict(turn) for turn in self.messages
        ]
        return {"messages": [*context, {"role": "assistant", "content": self.answer}]}
