"""Spike-timing-dependent plasticity: a local rule that changes weights by the order of spikes."""

from __future__ import annotations

import math

from keras import ops

from highnoon.config import require_number
from highnoon.layers.recurrence.linear_recurrence import linear_recurrence


def spike_timing_sums(
    pre,
    post,
    segment_ids=None,
    *,
    tau_plus: float = 20.0,
    tau_minus: float = 20.0,
    a_plus: float = 0.01,
    a_minus: float = 0.0105,
    is_time_first: bool = False,
):
    """Sums the pair-based rule of spike timing over the tokens of a batch.

    ```
    pre_trace[t]  = exp(-1/tau_plus)  (pre_trace[t-1]  + pre[t-1])       0 at the start of a document
    post_trace[t] = exp(-1/tau_minus) (post_trace[t-1] + post[t-1])      0 at the start of a document
    sums          = sum over tokens t of  a_plus  pre_trace[t] post[t]^T     potentiation: pre before post
                                        - a_minus pre[t] post_trace[t]^T     depression: post before pre
    ```

    The traces hold earlier tokens of the same document alone: activity and spike at one token have no order
    and change nothing. `tau` and time are in tokens.

    The depression is summed from the other end, as `pre_later[t] post[t]^T` with the trace of later activity
    `pre_later[t] = exp(-1/tau_minus) (pre_later[t+1] + pre[t+1])`. That is the same sum, it needs traces of
    the d inputs and none of the n neurons, and all of it is one product. The cost is linear in the length.

    Args:
        pre: (b, t, d), activity before the weights; of any sign.
        post: (b, t, ..), activity after them: 1 where a neuron fires, else 0.
        segment_ids: (b, t) integers, the documents of a row; 0 marks padding, which takes no part. None for
            one document a row.
        tau_plus: Time constant of the trace of `pre`, above 0.
        tau_minus: Time constant of the trace of `post`, above 0.
        a_plus: Potentiation of a pair, at least 0.
        a_minus: Depression of a pair, at least 0.
        is_time_first: Whether `post` is (t, b, ..), as membranes give their spikes.

    Returns:
        float32 (d, ..), the sum over rows and tokens. It has no gradient.

    Raises:
        ConfigError: A constant is out of its range.

    Example:

    ```python
    import math
    import numpy as np
    from highnoon.layers.hatching.spike_timing import spike_timing_sums

    pre, post = np.array([[[1.0], [0.0]]]), np.array([[[0.0], [1.0]]])  # active at token 0, fires at token 1
    sums = spike_timing_sums(pre, post, tau_plus=20.0, a_plus=0.01)
    assert math.isclose(sums[0, 0], 0.01 * math.exp(-1 / 20), rel_tol=1e-6)
    ```

    Song, Miller, Abbott 2000, "Competitive Hebbian learning through spike-timing-dependent synaptic
    plasticity" (Nature Neuroscience 3), equation 1, on the token axis and with real-valued `pre`.
    """
    require_spike_timing(tau_plus, tau_minus, a_plus, a_minus)
    pre = ops.stop_gradient(ops.cast(pre, "float32"))
    post = ops.stop_gradient(ops.cast(post, "float32"))
    keeps = ops.ones_like(pre[..., :1])
    if segment_ids is not None:
        segment_ids = ops.cast(segment_ids, "int32")
        pre = pre * ops.cast(segment_ids > 0, "float32")[..., None]
        is_same = segment_ids[:, 1:] == segment_ids[:, :-1]
        keeps = ops.concatenate([keeps[:, :1], ops.cast(is_same, "float32")[..., None]], axis=1)
    pre_by_time, keeps = ops.swapaxes(pre, 0, 1), ops.swapaxes(keeps, 0, 1)
    earlier = _trace(pre_by_time, keeps, tau_plus, is_of_later=False)
    later = _trace(pre_by_time, keeps, tau_minus, is_of_later=True)
    timing = a_plus * earlier - a_minus * later
    if not is_time_first:
        timing = ops.swapaxes(timing, 0, 1)
    flat = ops.reshape(post, (-1, math.prod(post.shape[2:])))
    sums = ops.matmul(ops.transpose(ops.reshape(timing, (-1, pre.shape[-1]))), flat)
    # Stopped at the end too: XLA compiles no gradient of a loop whose length is not known.
    return ops.stop_gradient(ops.reshape(sums, (pre.shape[-1], *post.shape[2:])))


def require_spike_timing(tau_plus: float, tau_minus: float, a_plus: float, a_minus: float) -> None:
    """Raises ConfigError where a constant of spike timing is out of its range."""
    for name, tau in (("tau_plus", tau_plus), ("tau_minus", tau_minus)):
        require_number(name, tau, above=0)
    for name, amplitude in (("a_plus", a_plus), ("a_minus", a_minus)):
        require_number(name, amplitude, least=0)


def _trace(activity, keeps, tau: float, *, is_of_later: bool):
    """Returns the decayed sum of the earlier, or of the later, activity of a document.

    Args:
        activity: (t, b, d), 0 at padding.
        keeps: (t, b, 1), 0 where another document begins, else 1.
        tau: Time constant in tokens.
        is_of_later: Whether to sum later tokens.
    """
    decay = math.exp(-1.0 / tau) * keeps
    if not is_of_later:
        # What passes from a token to the next depends on whether the next one begins a document.
        decay = ops.concatenate([decay[1:], decay[:1]], axis=0)
    before, _ = linear_recurrence(decay, decay * activity, ops.zeros_like(activity[0]), reverse=is_of_later)
    return before
