"""The summaries of TensorBoard's tabs: scalars, texts, histograms and hyperparameters."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from highnoon.files.markdown import markdown_code

_HISTOGRAM_AXES = 3  # left edge, right edge, count


def scalar_summary(name: str, value: float) -> Any:
    """Returns a number for the Scalars tab."""
    from tensorboard.plugins.scalar.summary_v2 import scalar_pb

    return scalar_pb(name, value)


def text_summary(name: str, markdown: str) -> Any:
    """Returns a text for the Text tab."""
    from tensorboard.plugins.text.summary_v2 import text_pb

    return text_pb(name, markdown.encode("utf-8", "replace"))


def histogram_summary(name: str, rows: np.ndarray) -> Any:
    """Returns a histogram for the Histograms tab.

    Args:
        name: The tag.
        rows: (buckets, 3) left edges, right edges and counts.
    """
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.histogram.metadata import create_summary_metadata
    from tensorboard.util.tensor_util import make_tensor_proto

    rows = np.asarray(rows, np.float64).reshape(-1, _HISTOGRAM_AXES)
    summary = Summary()
    metadata = create_summary_metadata(display_name=None, description=None)
    summary.value.add(tag=name, metadata=metadata, tensor=make_tensor_proto(rows))
    return summary


def session_start_summary(hparams: Mapping[str, Any], run_id: str) -> Any:
    """Returns the hyperparameters of a run for the HParams tab.

    Args:
        hparams: By name; lists and mappings become texts, None is left out.
        run_id: Tells the run from others with the same hyperparameters.
    """
    from tensorboard.plugins.hparams.summary_v2 import hparams_pb

    values = {name: _as_hparam(value) for name, value in hparams.items() if value is not None}
    return hparams_pb(values, trial_id=run_id)


def session_end_summary() -> Any:
    """Returns that a run has ended, for the HParams tab."""
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.hparams import metadata
    from tensorboard.plugins.hparams.api_pb2 import STATUS_SUCCESS
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo

    end = SessionEndInfo(status=STATUS_SUCCESS, end_time_secs=time.time())
    summary = Summary()
    summary.value.add(
        tag=metadata.SESSION_END_INFO_TAG,
        metadata=metadata.create_summary_metadata(HParamsPluginData(session_end_info=end)),
        tensor=metadata.NULL_TENSOR,
    )
    return summary


def sample_text(sample: Mapping[str, str]) -> str:
    """Returns a prompt and its continuation as Markdown, each literally."""
    return f"prompt\n\n{markdown_code(sample['prompt'])}\n\ncontinuation\n\n{markdown_code(sample['text'])}"


def _as_hparam(value: Any) -> bool | float | str:
    return value if isinstance(value, (bool, int, float, str)) else str(value)
