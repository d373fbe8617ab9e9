"""The plan as text, Markdown and HTML: plain heads, and text of others shown literally."""

from __future__ import annotations

import dataclasses

from highnoon.training.plans.plan import TrainingPlan
from highnoon.training.plans.stage_plan import StagePlan

STAGE = StagePlan(
    name="<script>a|b`",
    datasets=["tales/*.txt"],
    documents=1200,
    validation_documents=130,
    tokens=45_000,
    rows=703,
    row_length=64,
    rows_per_step=8,
    epochs=2,
    steps=176,
    is_upper_bound=False,
    learning_rate=3e-3,
    loss_weight=1.0,
    order="shuffled",
    data_key="k",
    mix=[],
    overrides={},
    timeline=[],
    least_seconds=300.0,
)


def plan(**changes) -> TrainingPlan:
    return TrainingPlan([dataclasses.replace(STAGE, **changes)], 17, ["note: <b>"])


def test_a_time_that_is_a_lower_bound_says_so_in_its_cell():
    head, row, total, note = str(plan()).splitlines()
    assert head.split()[-1] == "time" and row.endswith("at least 5 min 0 s")
    assert total == "176 steps in all, warm-up 17" and note == "note: <b>"
    assert str(plan(least_seconds=None)).splitlines()[1].endswith(" -")


def test_text_of_others_is_literal_in_html_and_markdown():
    html = plan()._repr_html_()
    assert "<script>" not in html and "&lt;script&gt;a|b`" in html and "note: &lt;b&gt;" in html
    assert "<th>batch size</th>" in html and "<td>at least 5 min 0 s</td>" in html
    head, rule, row, *below = plan().to_markdown().splitlines()
    assert head.count("|") == rule.count("|") == row.replace("\\|", "").count("|") == 12
    assert "\\<script\\>a\\|b\\`" in row and below[-1] == "    note: <b>"
