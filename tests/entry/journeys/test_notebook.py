"""A notebook trains, with a bar that moves in place, tables, and a plot of the history."""

from __future__ import annotations

import pathlib
import re
from typing import Any

import pytest

pytestmark = pytest.mark.slow

NOTEBOOK = pathlib.Path(__file__).parents[3] / "examples" / "first_run.ipynb"


@pytest.fixture(scope="module")
def cells(tmp_path_factory) -> dict[str, list[Any]]:
    """The outputs of the example's cells, by the first line of their source, as a reader sees them."""
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    folder = tmp_path_factory.mktemp("notebook")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells)
    updates: list[str] = []

    class Client(nbclient.NotebookClient):
        def process_message(self, message, cell, cell_index):
            if message["msg_type"] == "update_display_data":
                updates.append(message["content"]["data"]["text/html"])
            return super().process_message(message, cell, cell_index)

    Client(
        notebook,
        timeout=300,
        kernel_name="python3",
        coalesce_streams=True,  # as Jupyter shows them
        resources={"metadata": {"path": folder}},
    ).execute()
    found = {cell.source.splitlines()[0]: cell.outputs for cell in notebook.cells if cell.cell_type == "code"}
    return {"updates": updates, "folder": [folder], **found}


def outputs_of(cells, beginning: str) -> list[Any]:
    return next(outputs for source, outputs in cells.items() if source.startswith(beginning))


def html_of(outputs) -> str:
    return next(output["data"]["text/html"] for output in outputs if "text/html" in output.get("data", {}))


def test_trainer_and_plan_are_tables(cells):
    trainer = html_of(outputs_of(cells, "import highnoon"))
    assert "<th>stage</th><th>data</th><th>length</th>" in trainer and "4 epochs" in trainer
    assert "<td>num_reasoning_blocks</td><td>1</td>" in trainer
    plan = html_of(outputs_of(cells, "trainer.plan()"))
    assert "<th>documents</th>" in plan and "<td>tales/*.txt</td>" in plan


def test_training_shows_one_bar_that_moved_and_few_lines(cells):
    outputs = outputs_of(cells, "summary = trainer.train(")
    displays = [output for output in outputs if output["output_type"] == "display_data"]
    bars = [output for output in displays if "<progress" in output["data"].get("text/html", "")]
    assert len(bars) == 1 and len(displays) == 2
    # The plan, the bar, and one block of lines each on stdout and stderr.
    assert len(outputs) <= 4
    (bar,) = bars
    value, largest = re.search(r'value="(\d+)" max="(\d+)"', bar["data"]["text/html"]).groups()
    assert value == largest and "tokens/s" in bar["data"]["text/html"]
    positions = [int(re.search(r'value="(\d+)"', update).group(1)) for update in cells["updates"]]
    assert len(positions) >= 2 and positions == sorted(positions) and positions[-1] == int(value)
    text = "".join(output["text"] for output in outputs if output["output_type"] == "stream")
    assert len(re.findall(r"^\[tales\] epoch \d: loss .* held-out loss .*$", text, re.MULTILINE)) == 4
    assert re.search(r"^training ended after .* \d+ steps and [\d,]+ tokens in all$", text, re.MULTILINE)
    assert "the model now has the weights of step" in text
    (logs,) = (cells["folder"][0] / "logs").iterdir()
    assert f"logs in {pathlib.Path('logs', logs.name)}" in text and logs.name.endswith("_first-run")


def test_the_history_is_plotted_and_the_model_continues_a_prompt(cells):
    plots = [
        output["data"]["image/png"]
        for output in outputs_of(cells, "import matplotlib")
        if "image/png" in output.get("data", {})
    ]
    assert len(plots) == 1 and len(plots[0]) > 1000
    (printed,) = outputs_of(cells, "print(model.generate")
    assert printed["text"].strip()
