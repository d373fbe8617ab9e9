"""What a layer of a reasoning block returns alongside its output."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class Report(NamedTuple):
    """A loss and metrics of one layer for one batch.

    A mixer or feed-forward returns `y`, or `(y, Report(aux_loss, metrics))`. The model adds up the losses of
    its layers. Layers that report a metric of the same name share it: the model logs their mean.

    Args:
        aux_loss: Float32 scalar that is added to the training loss, a mean over the tokens that are not
            padding, weighted already. 0.0 for none.
        metrics: Float32 scalars by full name, such as `"activation/firing_rate"`, also token means.

    Example:

    ```python
    from highnoon.layers.report import Report, split_report

    y, report = split_report(("y", Report(0.1, {"activation/firing_rate": 0.2})))
    assert y == "y" and report.aux_loss == 0.1
    assert split_report("y") == ("y", None)
    ```
    """

    aux_loss: Any = 0.0
    metrics: Mapping[str, Any] = {}


def split_report(outputs: Any) -> tuple[Any, Report | None]:
    """Returns a layer's output and its report, or None where it returned the output alone."""
    if isinstance(outputs, tuple) and len(outputs) == 2 and isinstance(outputs[1], Report):
        return outputs
    return outputs, None
