"""Tasks: published data by name, one template a task, a generator of each, and the tools that calls use.

- `task_example`: a prompt, its answer and what metrics score against.
- `task_definition`, `task_registry`: what a task is; tasks by name, also those of other packages.
- `open_task`, `find_task_data`: a task with its data open, from local copies, the hub or its generator.
- `task`, `task_source`, `synthetic_records`: its examples, and the source of its documents.
- `task_fields`: fields of records, with one-line errors.
- `hub_records`: records on the Hugging Face hub.
- `function_text`, `glaive_chat`: functions and calls as text, and the conversations of Glaive v2.
- `tool_manifest`, `tool_schema`, `tool_effects`: tools, schemas of functions, and their simulated state.
- `synthetic`: the generators.
- `text_completion`, `function_call`, `bash_command`, `tool_use`, `chain_of_thought`: the tasks.

`open_source("task:NAME")` and `open_source("synthetic:NAME")` open the same data.
"""

from highnoon.data.sources.source_kinds import register_source_kind
from highnoon.data.tasks.open_task import open_synthetic_source, open_task, open_task_source
from highnoon.data.tasks.task import Task
from highnoon.data.tasks.task_definition import TaskData, TaskDefinition
from highnoon.data.tasks.task_example import TaskExample
from highnoon.data.tasks.task_registry import register_task, task_definition, task_names
from highnoon.data.tasks.tool_manifest import ToolExecutionError, ToolManifest, ToolRegistration

register_source_kind("task", open_task_source)
register_source_kind("synthetic", open_synthetic_source)

__all__ = [
    "Task",
    "TaskData",
    "TaskDefinition",
    "TaskExample",
    "ToolExecutionError",
    "ToolManifest",
    "ToolRegistration",
    "open_task",
    "register_task",
    "task_definition",
    "task_names",
]
