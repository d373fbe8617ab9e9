"""Calls the callbacks of a run: Keras callbacks by their hooks, functions with events."""

from __future__ import annotations

import collections
import traceback
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import keras

from highnoon.callbacks.event_callback import EventCallback
from highnoon.files.printable import printable

_BATCH_HOOKS = ("on_train_batch_begin", "on_train_batch_end", "on_batch_begin", "on_batch_end")
_ABSENT = object()
_PLAIN = (bool, int, float, str, type(None))


class CallbackFailed(Exception):
    """Wraps an exception of a callback, so that the run ends cleanly."""


class CallbackGroup:
    """The callbacks of a run.

    Args:
        callbacks: `keras.callbacks.Callback` objects and functions `fn(event: dict)`.
        on_error: `"raise"` ends the run cleanly when a callback raises, `"warn"` continues.

    Raises:
        TypeError: If a callback is neither.
    """

    def __init__(self, callbacks: Sequence[Any], on_error: str = "raise") -> None:
        for callback in callbacks:
            if isinstance(callback, type):
                raise TypeError(
                    f"a callback must be an object; received the class {callback.__name__}: give "
                    f"{callback.__name__}(...)"
                )
            if not isinstance(callback, keras.callbacks.Callback) and not callable(callback):
                raise TypeError(
                    f"a callback must be a keras.callbacks.Callback or a function of an event; "
                    f"received {callback!r}"
                )
        self.callbacks = list(callbacks)
        self.on_error = on_error
        self._keras = [
            callback for callback in self.callbacks if isinstance(callback, keras.callbacks.Callback)
        ]
        self._listeners = [
            callback.on_event if isinstance(callback, EventCallback) else callback
            for callback in self.callbacks
            if isinstance(callback, EventCallback) or callback not in self._keras
        ]
        self._waiting: collections.deque[dict[str, Any]] = collections.deque()
        self._is_sending = False
        for callback in self._keras:
            if isinstance(callback, EventCallback):
                callback.attach(self.event)
        self._at_beginning: list[dict[str, Any]] = [{} for _ in self._keras]
        self._batch_watchers = [callback for callback in self._keras if _overrides_batch_hooks(callback)]

    @property
    def watches_batches(self) -> bool:
        """Whether a callback needs the loss of every step, for which the host must wait."""
        return bool(self._batch_watchers)

    def set_model(self, model: keras.Model, params: dict[str, Any]) -> None:
        for callback in self._keras:
            callback.set_model(model)
            callback.set_params(params)

    def event(self, name: str, **fields: Any) -> None:
        """Sends an event to all functions and event callbacks.

        An event that a callback sends while it handles another one is sent after all have received that one.
        """
        self._waiting.append({"event": name, **fields})
        if self._is_sending:
            return
        self._is_sending = True
        try:
            while self._waiting:
                self._send_to_all(self._waiting.popleft())
        finally:
            self._is_sending = False
            self._waiting.clear()

    def _send_to_all(self, event: dict[str, Any]) -> None:
        """Sends one event; if a listener fails, the others receive the event before the error is raised.

        The run is saved then, so a log that missed the event would have a permanent gap.
        """
        failure: CallbackFailed | None = None
        for listener in self._listeners:
            try:
                self._call(listener, dict(event))
            except CallbackFailed as error:
                failure = failure or error
        if failure is not None:
            raise failure

    def hook(self, name: str, *args: Any) -> None:
        """Calls a Keras hook on all Keras callbacks."""
        for callback in self._keras:
            self._call(getattr(callback, name), *args)

    def overrides(self, name: str) -> bool:
        """Returns whether a Keras callback overrides this hook."""
        return any(_overrides(callback, name) for callback in self._keras)

    def batch_hook(self, name: str, *args: Any) -> None:
        """Calls a batch hook on the callbacks that override it."""
        for callback in self._batch_watchers:
            self._call(getattr(callback, name), *args)

    def close(self) -> None:
        """Lets event callbacks release their resources, however the run ended.

        A failure raises a warning: it hides neither the error that ended the run nor the other callbacks.
        """
        self.on_error = "warn"
        for callback in self._keras:
            if isinstance(callback, EventCallback):
                self._call(callback.close)

    def flush(self) -> None:
        """Lets event callbacks write to disk what the next checkpoint relies on."""
        for callback in self._keras:
            if isinstance(callback, EventCallback):
                self._call(callback.flush)

    def report(self, error: Exception) -> None:
        """Handles an error of the run's own files like one of a callback: raises or warns, see `on_error`."""

        def fail() -> None:
            raise error

        self._call(fail)

    def remember_beginning(self) -> None:
        """Records the callbacks' attributes at the start of the run; `state` returns what changed since."""
        self._at_beginning = [_plain_attributes(callback) for callback in self._keras]

    def state(self) -> list[dict[str, Any]]:
        """Returns the state of each Keras callback: its `state_dict`, or the plain attributes that changed.

        `lost` names the attributes that a resumed callback will not have, such as the arrays of
        `EarlyStopping(restore_best_weights=True)`.
        """
        return [
            {
                "class": type(callback).__name__,
                "values": _values_of(callback, beginning),
                "lost": _lost_by(callback, beginning),
            }
            for callback, beginning in zip(self._keras, self._at_beginning, strict=True)
        ]

    def load_state(self, states: Sequence[dict[str, Any]]) -> None:
        """Restores the state of callbacks: the n-th of a class gets the state of the n-th of that class.

        Callbacks of other classes may be added or removed: without a progress bar, the alerts still get their
        state. State that a checkpoint does not have raises a warning.
        """
        left: dict[str, collections.deque[dict[str, Any]]] = collections.defaultdict(collections.deque)
        for state in states:
            left[state["class"]].append(state)
        for callback in self._keras:
            if not left[type(callback).__name__]:
                continue
            state = left[type(callback).__name__].popleft()
            _warn_of_lost(callback, state.get("lost") or [])
            if hasattr(callback, "load_state_dict"):
                callback.load_state_dict(state["values"])
            else:
                vars(callback).update(state["values"])
                _let_monitor_begin(callback)

    def _call(self, function: Callable[..., Any], *args: Any) -> None:
        try:
            function(*args)
        except Exception as error:
            if self.on_error == "raise":
                raise CallbackFailed from error
            failure = printable(traceback.format_exc(limit=-1))
            warnings.warn(f"a callback failed and was skipped: {failure}", stacklevel=3)


def _overrides_batch_hooks(callback: keras.callbacks.Callback) -> bool:
    return any(_overrides(callback, name) for name in _BATCH_HOOKS)


def _overrides(callback: keras.callbacks.Callback, name: str) -> bool:
    """Returns whether a callback overrides a hook; `LambdaCallback` sets hooks on the instance."""
    base = keras.callbacks.Callback
    return getattr(getattr(callback, name), "__func__", None) is not getattr(base, name)


def _values_of(callback: keras.callbacks.Callback, beginning: dict[str, Any]) -> dict[str, Any]:
    if hasattr(callback, "state_dict"):
        return callback.state_dict()
    attributes = _plain_attributes(callback)
    return {key: value for key, value in attributes.items() if beginning.get(key, _ABSENT) != value}


def _lost_by(callback: keras.callbacks.Callback, beginning: dict[str, Any]) -> list[str]:
    """Returns the attributes that were plain values at the start and are not now, but arrays for example."""
    if hasattr(callback, "state_dict"):
        return []
    now = _plain_attributes(callback)
    gone = {key: vars(callback)[key] for key in beginning if key not in now and key in vars(callback)}
    return sorted(key for key, value in gone.items() if not callable(value))


def _warn_of_lost(callback: keras.callbacks.Callback, names: Sequence[str]) -> None:
    if not names:
        return
    kind = type(callback).__name__
    remedy = (
        "train(restore_best=True), on the command line --restore-best, restores the best weights of a "
        "resumed run too"
        if getattr(callback, "restore_best_weights", False)
        else "implement `state_dict` and `load_state_dict` in the callback to keep it"
    )
    warnings.warn(
        f"the resumed {kind} starts without its {', '.join(f'`{name}`' for name in names)}, which is not in "
        f"the checkpoint; {remedy}",
        stacklevel=2,
    )


def _let_monitor_begin(callback: keras.callbacks.Callback) -> None:
    """Undoes the sign of `min_delta` that Keras sets again when a monitor compares for the first time."""
    if getattr(callback, "monitor_op", callback) is None and hasattr(callback, "min_delta"):
        callback.min_delta = abs(callback.min_delta)


def _plain_attributes(callback: keras.callbacks.Callback) -> dict[str, Any]:
    public = {key: _as_plain(value) for key, value in vars(callback).items() if not key.startswith("_")}
    return {key: value for key, value in public.items() if isinstance(value, _PLAIN)}


def _as_plain(value: Any) -> Any:
    """Converts NumPy scalars, which Keras callbacks use for their best value, to Python scalars."""
    return value.item() if hasattr(value, "item") and getattr(value, "ndim", 1) == 0 else value
