"""The task `chain_of_thought`: a question of school arithmetic to steps and a final answer."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from typing import Any

from highnoon.data.tasks.synthetic.arithmetic import arithmetic_record
from highnoon.data.tasks.task_definition import TaskData, TaskDefinition
from highnoon.data.tasks.task_example import TaskExample
from highnoon.data.tasks.task_fields import field_error, text_field

_ASKED = ("instruction", "question")
_ANSWER = ("response", "answer")
_FINAL = re.compile(r"####\s*(\S[^\n]*?)\s*$")


class ChainOfThought(TaskDefinition):
    """A question of school arithmetic to steps and a final answer, in the form of GSM8K.

    The user's turn is the question. The answer has one step a line, with calculations as `<<48/2=24>>`, and
    ends with a line `#### 72`. `expected` is the text after `####`, without the commas of thousands.

    Records have `instruction` and `response`, or `question` and `answer`.

    Cobbe et al. 2021, "Training verifiers to solve math word problems".
    """

    name = "chain_of_thought"
    datasets = (TaskData("GSM8K", ("gsm8k",), "openai/gsm8k:main"),)
    fields = (*_ASKED, *_ANSWER)

    def example(self, record: Mapping[str, Any], location: str) -> TaskExample:
        asked = text_field(self.name, record, _ASKED, location)
        answer = text_field(self.name, record, _ANSWER, location)
        final = _FINAL.search(answer)
        if final is None:
            raise field_error(location, "response", "steps that end with a line `#### ANSWER`", answer[-40:])
        turns = [{"role": "user", "content": asked}]
        return TaskExample(self.name, "", turns, answer, final[1].replace(",", ""))

    def synthesize(self, rng: random.Random) -> Mapping[str, Any]:
        return arithmetic_record(rng)
