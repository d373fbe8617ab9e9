"""The task `text_completion`: a text without turns, continued from its first words."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

from highnoon.data.records.record_kind import TEXT_FIELDS, first_field
from highnoon.data.records.record_values import is_absent
from highnoon.data.tasks.synthetic.stories import story_record
from highnoon.data.tasks.task_definition import TaskData, TaskDefinition
from highnoon.data.tasks.task_example import TaskExample
from highnoon.data.tasks.task_fields import text_field

_PROMPT_CHARACTERS = 64


class TextCompletion(TaskDefinition):
    """A text without turns.

    A run trains on the whole text. For metrics, `prompt` is its beginning, whole words of at most 64
    characters and at most half of the text, and `answer` is the rest. Equal texts are on one side of the
    split.

    The data are the domain folders, `<data_dir>/domains/*`; records have `text`, and
    empty ones are skipped. A copy of TinyStories or
    WikiText-103 is a domain, such as `domains/tinystories/`.

    Eldan, Li 2023, "TinyStories: how small can language models be and still speak coherent English?"
    """

    name = "text_completion"
    folders = ("domains",)
    datasets = (
        TaskData("TinyStories", ("tinystories",), "roneneldan/TinyStories"),
        TaskData("WikiText-103", ("wikitext103",), "Salesforce/wikitext:wikitext-103-raw-v1"),
    )

    def example(self, record: Mapping[str, Any], location: str) -> TaskExample | None:
        field = first_field(record, TEXT_FIELDS)
        if field is not None and is_absent(record[field]):
            return None
        text = text_field(self.name, record, TEXT_FIELDS, location, is_stripped=False)
        head = text[: min(_PROMPT_CHARACTERS, len(text) // 2)]
        start = len(head.rpartition(" ")[0])
        return TaskExample(self.name, "", (), text[start:], prompt=text[:start])

    def synthesize(self, rng: random.Random) -> Mapping[str, Any]:
        return story_record(rng)
