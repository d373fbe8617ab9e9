"""Callbacks: who is called with what, what a failing one does, what is remembered."""

from __future__ import annotations

import keras
import pytest

from highnoon.callbacks import CallbackGroup, EventCallback, MetricsFile
from highnoon.callbacks.callback_group import CallbackFailed


class Listener(EventCallback):
    def __init__(self) -> None:
        super().__init__()
        self.events: list[str] = []
        self.is_closed = False

    def on_event(self, event):
        self.events.append(event["event"])

    def close(self):
        self.is_closed = True


def test_functions_and_event_callbacks_hear_every_event_in_order():
    heard, listener = [], Listener()
    group = CallbackGroup([lambda event: heard.append(event["event"]), listener, keras.callbacks.History()])
    group.event("log", step=1)
    group.event("train_end", step=2)
    assert heard == listener.events == ["log", "train_end"]


def test_only_overridden_batch_hooks_make_the_run_wait():
    assert not CallbackGroup([keras.callbacks.EarlyStopping(), Listener()]).watches_batches
    assert CallbackGroup(
        [keras.callbacks.LambdaCallback(on_train_batch_end=lambda b, logs: None)]
    ).watches_batches


def test_a_failure_is_raised_as_one_or_warned_about():
    def fail(event):
        raise KeyError("oops")

    with pytest.raises(CallbackFailed) as caught:
        CallbackGroup([fail]).event("log")
    assert isinstance(caught.value.__cause__, KeyError)
    heard = []
    with pytest.warns(UserWarning, match="oops"):
        CallbackGroup([fail, heard.append], on_error="warn").event("log")
    assert heard == [{"event": "log"}]


def test_state_holds_what_changed_since_the_beginning_and_not_the_settings():
    def group_with(patience: int):
        stopper = keras.callbacks.EarlyStopping(monitor="loss", patience=patience)
        stopper.set_model(keras.Sequential())
        group = CallbackGroup([stopper])
        group.hook("on_train_begin", {})
        group.remember_beginning()
        return group, stopper

    group, _ = group_with(patience=3)
    for epoch, loss in enumerate([2.0, 1.0, 1.5]):
        group.hook("on_epoch_end", epoch, {"loss": loss})
    resumed, stopper = group_with(patience=5)
    resumed.load_state(group.state())
    assert (stopper.best, stopper.wait, stopper.patience) == (1.0, 1, 5)


def test_closing_reaches_event_callbacks():
    listener = Listener()
    CallbackGroup([listener, keras.callbacks.History()]).close()
    assert listener.is_closed


def test_an_event_that_a_callback_sends_is_heard_by_all_after_the_one_that_it_heard():
    class Echo(EventCallback):
        def on_event(self, event):
            if event["event"] == "log":
                self.send("echo", step=event["step"])

    before, after = Listener(), []
    group = CallbackGroup([before, Echo(), lambda event: after.append((event["event"], event["step"]))])
    group.event("log", step=1)
    group.event("log", step=2)
    assert after == [("log", 1), ("echo", 1), ("log", 2), ("echo", 2)]
    assert before.events == ["log", "echo", "log", "echo"]


def test_events_that_wait_are_forgotten_with_the_run_that_a_callback_ended():
    class Echo(EventCallback):
        def on_event(self, event):
            if event["event"] == "log":
                self.send("echo")

    heard: list[str] = []

    def fail_on_log(event):
        heard.append(event["event"])
        if event["event"] == "log":
            raise KeyError("oops")

    group = CallbackGroup([Echo(), fail_on_log])
    with pytest.raises(CallbackFailed):
        group.event("log")
    group.event("train_end")
    assert heard == ["log", "train_end"]


def test_a_callback_outside_a_run_may_send_and_nobody_hears():
    Listener().send("echo")


class Counter(Listener):
    """Remembers how many events it has heard."""

    def state_dict(self):
        return {"count": len(self.events)}

    def load_state_dict(self, state):
        self.events = ["earlier"] * state["count"]


def test_a_callback_that_is_left_out_moves_no_memory():
    first, second, resumed_first, resumed_second = Counter(), Counter(), Counter(), Counter()
    first.on_event({"event": "log"})
    states = CallbackGroup([keras.callbacks.History(), first, second]).state()
    CallbackGroup([resumed_first, Listener(), resumed_second]).load_state(states)
    assert (resumed_first.state_dict(), resumed_second.state_dict()) == ({"count": 1}, {"count": 0})


def test_a_callback_that_cannot_close_is_warned_about_and_the_others_are_closed():
    class Stuck(Listener):
        def close(self):
            raise OSError("stuck")

    listener = Listener()
    with pytest.warns(UserWarning, match="stuck"):
        CallbackGroup([Stuck(), listener]).close()
    assert listener.is_closed


def test_flushing_reaches_event_callbacks_and_its_error_is_one_of_a_callback():
    class Full(Listener):
        def flush(self):
            raise OSError("no space")

    with pytest.raises(CallbackFailed):
        CallbackGroup([Full()]).flush()
    with pytest.warns(UserWarning, match="no space"):
        CallbackGroup([Full()], on_error="warn").flush()


def test_all_hear_the_event_at_which_one_of_them_fails():
    def fail(event):
        raise KeyError("oops")

    listener = Listener()
    with pytest.raises(CallbackFailed):
        CallbackGroup([fail, listener]).event("log")
    assert listener.events == ["log"]


def test_a_class_in_place_of_a_callback_is_refused():
    for callbacks in ([keras.callbacks.EarlyStopping], [MetricsFile]):
        with pytest.raises(TypeError, match=r"received the class \w+: give \w+\(\.\.\.\)"):
            CallbackGroup(callbacks)
