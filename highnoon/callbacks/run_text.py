"""Sends a text about a run, which TensorBoard shows."""

from __future__ import annotations

from typing import Any

from highnoon.callbacks.event_callback import EventCallback
from highnoon.config import require_text


class RunText(EventCallback):
    """Sends a text as an event `text` when the run begins or resumes: its recipe, or a note.

    `TensorBoardLog` writes it into TensorBoard's text tab.

    Args:
        name: Tag of the text, such as `note`.
        text: Markdown.

    Raises:
        ConfigError: If one of them is empty, or no text.

    Example:

    ```python
    from highnoon.callbacks import RunText

    note = RunText("note", "**Question**: does a larger batch help?")
    ```
    """

    def __init__(self, name: str, text: str) -> None:
        super().__init__()
        self._name, self._text = require_text("name", name), require_text("text", text)

    def on_event(self, event: dict[str, Any]) -> None:
        if event["event"] == "train_begin":
            self.send("text", step=event["step"], tag=self._name, text=self._text)
