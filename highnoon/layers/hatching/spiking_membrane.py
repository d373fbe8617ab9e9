"""The membrane of leaky integrate-and-fire neurons over the tokens of a row."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from keras import ops

from highnoon.config import require_choice, require_number
from highnoon.layers.hatching.surrogate_gradients import SURROGATES, spike, surrogate_slope
from highnoon.layers.recurrence.chunks import from_chunks, to_chunks
from highnoon.layers.recurrence.linear_scan import linear_scan
from highnoon.layers.recurrence.loop_over_time import loop_over_time
from highnoon.layers.recurrence.segment_restarts import count_restarts

RESETS = ("hard", "soft", "none")


class Membrane(NamedTuple):
    """The constants of a neuron.

    Args:
        mem_decay: exp(-1 / tau_mem), what is left of the membrane potential after a token.
        syn_decay: exp(-1 / tau_syn), what is left of the synaptic current.
        threshold: Above it a neuron fires.
        rest: The potential at the start of a document and, with a hard reset, after a spike.
        reset: `"hard"`: to `rest`; `"soft"`: by `threshold` minus `rest`; `"none"`.
        surrogate: A key of `SURROGATES`.
        sharpness: Of the surrogate; None takes its own.
        detaches_reset: Whether the reset is a constant in the backward pass, as Zenke and Vogels 2021 (Neural
            Computation 33) advise; otherwise its spike has the surrogate's slope too.
    """

    mem_decay: float
    syn_decay: float
    threshold: float = 1.0
    rest: float = 0.0
    reset: str = "hard"
    surrogate: str = "fast_sigmoid"
    sharpness: float | None = None
    detaches_reset: bool = True

    @classmethod
    def of_neuron(
        cls,
        tau_mem: float,
        tau_syn: float,
        v_threshold: float,
        v_reset: float,
        reset: str,
        surrogate: str = "fast_sigmoid",
        sharpness: float | None = None,
        detaches_reset: bool = True,
    ) -> Membrane:
        """Returns the constants of a neuron from its time constants, in tokens.

        Raises:
            ValueError: a time constant or threshold that is not above 0, a `v_reset` that does not stay below
                the threshold, or a name that is not known.
        """
        require_choice("reset", reset, RESETS)
        require_choice("surrogate", surrogate, tuple(SURROGATES))
        if sharpness is not None:
            sharpness = require_number("sharpness", sharpness, above=0)
        v_threshold = require_number("v_threshold", v_threshold, above=0)
        v_reset = require_number("v_reset", v_reset, below=v_threshold)
        if reset == "none" and v_reset:
            raise ValueError(f"`v_reset` must be 0 with reset='none', which never resets; received {v_reset}")
        return cls(
            math.exp(-1.0 / require_number("tau_mem", tau_mem, above=0)),
            math.exp(-1.0 / require_number("tau_syn", tau_syn, above=0)),
            v_threshold,
            v_reset,
            reset,
            surrogate,
            sharpness,
            detaches_reset,
        )


def sequential_spikes(membrane: Membrane, drive, keeps, state):
    """Runs neurons token by token, with their resets.

    ```
    i[t] = syn_decay i[t-1] + drive[t]
    u[t] = mem_decay v[t-1] + (1 - mem_decay) i[t]
    s[t] = 1 where u[t] > threshold, else 0
    v[t] = u[t] after its reset
    ```

    In the backward pass the spike has the slope of the surrogate.

    Args:
        membrane: The constants.
        drive: (t, b, ..) float32.
        keeps: (t, b, 1, ..) float32, of the rank of `drive`: 0 where a document begins, else 1.
        state: v and i before the first token, (b, ..) each.

    Returns:
        spikes (t, b, ..), and the last state.
    """

    @ops.custom_gradient
    def run(drive, keeps, *state):
        def advance(carried, inputs):
            (potential, current), (drive, keep) = carried, inputs
            before = keep * potential + (1.0 - keep) * membrane.rest
            current = membrane.syn_decay * keep * current + drive
            potential = membrane.mem_decay * before + (1.0 - membrane.mem_decay) * current
            return (_after_reset(membrane, potential), current), (potential,)

        if drive.shape[0] == 1:  # a decoded token needs no loop
            last, (potential,) = advance(tuple(state), (drive[0], keeps[0]))
            potentials = potential[None]
        else:
            last, (potentials,) = loop_over_time(advance, tuple(state), (drive, keeps), (drive[0],))
        spikes = ops.cast(potentials > membrane.threshold, drive.dtype)

        def gradient(*upstreams):
            grads = upstreams if len(upstreams) == 3 else upstreams[0]
            # All that does not depend on a later token is computed at once, the loop has what is left.
            slopes = surrogate_slope(potentials - membrane.threshold, membrane.surrogate, membrane.sharpness)
            passed = _passed_by_reset(membrane, potentials, spikes, slopes)

            def retreat(carried, inputs):
                (grad_after, grad_current), (direct, passed, keep) = carried, inputs
                grad_potential = direct + grad_after * passed
                grad_drive = (1.0 - membrane.mem_decay) * grad_potential + grad_current
                return (
                    keep * (membrane.mem_decay * grad_potential),
                    keep * (membrane.syn_decay * grad_drive),
                ), (grad_drive,)

            grad_state, (grad_drive,) = loop_over_time(
                retreat,
                (grads[1], grads[2]),
                (grads[0] * slopes, passed, keeps),
                (drive[0],),
                reverse=True,
            )
            return grad_drive, ops.zeros_like(keeps), *grad_state

        return (spikes, *last), gradient

    spikes, *last = run(drive, keeps, *state)
    return spikes, tuple(last)


def keeps_of_segments(x, segment_ids):
    """Returns (t, b, 1) float32 of rows (b, t, ..): 0 where a segment begins, else 1."""
    batch = ops.shape(x)[0]
    time = x.shape[1] if x.shape[1] is not None else ops.shape(x)[1]
    if segment_ids is None:
        is_later = ops.cast(ops.arange(time) > 0, "float32")[:, None, None]
        return is_later * ops.ones((1, batch, 1), "float32")
    counts = count_restarts(segment_ids)
    same = ops.cast(counts[:, 1:] == counts[:, :-1], "float32")
    first = ops.zeros((batch, 1), "float32")
    return ops.transpose(ops.concatenate([first, same], axis=1))[..., None]


def keeps_of_step(x, index, padding):
    """Returns (t, b, 1) float32 of new tokens (b, t, ..) from position `index`: 0 up to the first token that
    is not padding, else 1."""
    positions = ops.cast(index, "int32") + ops.arange(x.shape[1], dtype="int32")
    first = ops.zeros((ops.shape(x)[0],), "int32") if padding is None else ops.cast(padding, "int32")
    return ops.cast(positions[:, None] > first[None, :], "float32")[..., None]


def firing_rate(spikes, segment_ids):
    """Returns the fraction of (t, b, n) that fires, over tokens that are not padding."""
    rates = ops.transpose(ops.mean(ops.stop_gradient(spikes), axis=-1))  # (b, t)
    if segment_ids is None:
        return ops.mean(rates)
    is_real = ops.cast(ops.cast(segment_ids, "int32") > 0, "float32")
    return ops.sum(rates * is_real) / ops.maximum(ops.sum(is_real), 1.0)


def parallel_spikes(membrane: Membrane, drive, counts=None, chunk_length: int = 64):
    """Runs neurons without resets: the potential is a linear function of the drive.

    ```
    u[t] = sum over s <= t in the same document of kernel[t - s] drive[s]
    kernel[n] = (1 - mem_decay) sum over 0 <= j <= n of mem_decay^(n - j) syn_decay^j
    ```

    Each chunk is one matrix product, and passes potential and current to the next. It is another model than
    `sequential_spikes`: a neuron that is driven steadily fires at every token and never pauses.

    Args:
        membrane: The constants; `reset` and `rest` are not used.
        drive: (b, t, ..) float32.
        counts: (b, t) of `count_restarts`; None for one document.
        chunk_length: Tokens in one chunk.

    Returns:
        spikes (b, t, ..).

    Fang et al. 2023, Parallel Spiking Neurons (arXiv:2304.12760), section 3.
    """
    time = drive.shape[1] if drive.shape[1] is not None else ops.shape(drive)[1]
    rank = len(drive.shape)
    chunks = to_chunks(drive, chunk_length)  # (c, b, l, ..)
    steps = np.arange(chunk_length)
    gap = steps[:, None] - steps[None, :]
    kernel = _responses(membrane, gap)
    current_left = membrane.syn_decay ** (chunk_length - 1 - steps)
    from_potential = membrane.mem_decay ** (steps + 1)
    from_current = membrane.syn_decay * _responses(membrane, steps)
    if counts is None:
        potentials = ops.einsum("ls,cbs...->cbl...", _float(kernel), chunks)
        written = ops.einsum("s,cbs...->cb...", _float(current_left), chunks)
        through = None
    else:
        counts = to_chunks(counts, chunk_length, repeat_last=True)
        before = ops.concatenate([ops.zeros_like(counts[:1, :, -1]), counts[:-1, :, -1]], axis=0)
        same = ops.cast(counts[..., :, None] == counts[..., None, :], "float32")
        potentials = ops.einsum("cbls,cbs...->cbl...", same * _float(kernel), chunks)
        kept = ops.cast(counts == counts[..., -1:], "float32")
        written = ops.einsum("cbs,cbs...->cb...", kept * _float(current_left), chunks)
        into = ops.cast(counts == before[..., None], "float32")
        through = ops.reshape(into[..., -1], (*ops.shape(into)[:2], *[1] * (rank - 2)))
    # The last position's potential and current of each chunk, from what lies in the chunk alone.
    passes = 1.0 if through is None else through
    currents = _before(_over_chunks(membrane.syn_decay**chunk_length * passes, written))
    of_current = float(from_current[-1]) * passes * currents
    ends = _before(_over_chunks(membrane.mem_decay**chunk_length * passes, potentials[:, :, -1] + of_current))
    shape = (1, 1, chunk_length, *[1] * (rank - 2))
    carried = ops.reshape(_float(from_potential), shape) * ends[:, :, None]
    carried = carried + ops.reshape(_float(from_current), shape) * currents[:, :, None]
    if through is not None:
        carried = ops.reshape(into, (*ops.shape(into), *[1] * (rank - 2))) * carried
    potentials = from_chunks(potentials + carried, time)
    return spike(potentials - membrane.threshold, membrane.surrogate, membrane.sharpness)


def _over_chunks(decay, new):
    """`linear_scan` over the leading axis of (c, b, ..)."""
    if not isinstance(decay, float):
        decay = ops.swapaxes(decay, 0, 1)
    return ops.swapaxes(linear_scan(decay, ops.swapaxes(new, 0, 1)), 0, 1)


def _before(states):
    """The state before each chunk, of the states after each."""
    return ops.concatenate([ops.zeros_like(states[:1]), states[:-1]], axis=0)


def _responses(membrane: Membrane, gap: np.ndarray) -> np.ndarray:
    """What is in the potential `gap` tokens after a drive of 1; 0 before it."""
    mem, syn = np.float64(membrane.mem_decay), np.float64(membrane.syn_decay)
    safe = np.maximum(gap, 0)
    if mem == syn:
        total = (safe + 1) * mem**safe
    else:
        total = (mem ** (safe + 1) - syn ** (safe + 1)) / (mem - syn)
    return np.where(gap >= 0, (1 - mem) * total, 0.0)


def _float(values: np.ndarray):
    return ops.convert_to_tensor(np.asarray(values, "float32"))


def _after_reset(membrane: Membrane, potential):
    if membrane.reset == "none":
        return potential
    fires = potential > membrane.threshold
    if membrane.reset == "hard":
        return ops.where(fires, membrane.rest, potential)
    return potential - (membrane.threshold - membrane.rest) * ops.cast(fires, potential.dtype)


def _passed_by_reset(membrane: Membrane, potentials, spikes, slopes):
    """The derivative of the potential after the reset by that before it."""
    passed = 1.0 - spikes if membrane.reset == "hard" else ops.ones_like(spikes)
    if membrane.detaches_reset or membrane.reset == "none":
        return passed
    change = membrane.rest - (potentials if membrane.reset == "hard" else membrane.threshold)
    return passed + slopes * change
