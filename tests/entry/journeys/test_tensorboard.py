"""A run is looked at in TensorBoard: all that it wrote is read back through TensorBoard's own readers."""

from __future__ import annotations

import pathlib
import types

import pytest

import highnoon as hn
from highnoon.callbacks import RunText, SampleText

pytestmark = pytest.mark.slow


def write_tales(folder: pathlib.Path) -> None:
    folder.mkdir()
    for number in range(40):
        tale = f"Tale {number}. A fox met {number % 7} crows and greeted each.\n" * 4
        (folder / f"{number:02}.txt").write_text(tale)


def make_trainer(rate: float) -> hn.Trainer:
    model = hn.create_model(
        "highnoon-nano", vocab_size=300, embedding_dim=32, num_reasoning_blocks=1, max_seq_length=32
    )
    trainer = hn.Trainer(model, learning_rate=rate, batch_size=8, jit_compile=False, seed=3)
    trainer.add_curriculum_stage("tales", "tales/*.txt", epochs=2)
    trainer.add_callback(SampleText(["Tale `1`"], max_length=4))
    return trainer


@pytest.fixture(scope="module")
def logs(tmp_path_factory) -> pathlib.Path:
    """Two runs, one of which was stopped and resumed."""
    folder = tmp_path_factory.mktemp("tensorboard")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write_tales(folder / "tales")
        arguments = {"log_interval": 2, "eval_interval": 4, "verbose": False}
        make_trainer(1e-3).train(
            run_name="slow rate", checkpoint_dir="a", checkpoint_interval=3, histograms=True, **arguments
        )
        fast = make_trainer(1e-2)
        fast.add_callback(RunText("note", "a **larger** rate"))

        def stop(event):
            if event["event"] == "step_end" and event["step"] == 7:
                fast.model.stop_training = True

        fast.add_callback(stop)
        fast.train(run_name="fast rate", checkpoint_dir="b", checkpoint_interval=3, **arguments)
        # Which is the same as a kill after step 6.
        again = make_trainer(1e-2)
        again.train(resume_from="b/step_00000006", checkpoint_dir="b", **arguments)
    return folder / "logs"


def runs(logs: pathlib.Path) -> dict[str, pathlib.Path]:
    return {"fast" if "fast" in folder.name else "slow": folder for folder in logs.iterdir()}


def accumulated(folder: pathlib.Path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    return EventAccumulator(str(folder), size_guidance={"tensors": 0}).Reload()


def texts_of(events, tag: str) -> list[str]:
    return [event.tensor_proto.string_val[0].decode() for event in events.Tensors(tag)]


def test_folders_sort_by_time_and_the_resumed_run_has_its_own(logs):
    names = sorted(folder.name for folder in logs.iterdir())
    assert [name[18:] for name in names] == ["slow-rate", "fast-rate"]


def test_every_scalar_is_there_once_a_step(logs):
    for folder in runs(logs).values():
        events = accumulated(folder)
        metadata = {tag: events.SummaryMetadata(tag) for tag in events.Tags()["tensors"]}
        plugins = {tag: data.plugin_data.plugin_name for tag, data in metadata.items()}
        scalars = [tag for tag, plugin in plugins.items() if plugin == "scalars"]
        expected = {"train/loss", "val/loss", "val/perplexity", "val/bits_per_byte", "best/val_loss"}
        assert expected <= set(scalars)
        for tag in scalars:
            steps = [event.step for event in events.Tensors(tag)]
            assert steps == sorted(set(steps)), tag
        last = events.Tensors("train/loss")[-1].step
        assert [event.step for event in events.Tensors("train/loss")] == [1, *range(2, last + 1, 2)]


def test_plan_samples_and_notes_are_texts(logs):
    events = accumulated(runs(logs)["fast"])
    (plan,) = texts_of(events, "plan")
    assert plan.startswith("| stage | data | documents |") and "tales/\\*.txt" in plan
    samples = texts_of(events, "sample/0")
    assert len(samples) >= 3 and all("    Tale `1`" in sample for sample in samples)
    assert texts_of(events, "note") == ["a **larger** rate"]


def test_histograms_of_weights_and_gradients_count_every_number(logs):
    from tensorboard.util.tensor_util import make_ndarray

    events = accumulated(runs(logs)["slow"])
    tags = [tag for tag in events.Tags()["tensors"] if tag.startswith(("weight/", "gradient/"))]
    assert len(tags) > 10
    sizes = {make_ndarray(event.tensor_proto)[:, 2].sum() for event in events.Tensors(tags[0])}
    assert len(sizes) == 1 and sizes.pop() > 1
    assert not [tag for tag in accumulated(runs(logs)["fast"]).Tags()["tensors"] if "weight/" in tag]


def test_the_hparams_dashboard_lists_both_runs_with_their_configuration_and_metrics(logs):
    from tensorboard.backend.event_processing import data_provider, plugin_event_multiplexer
    from tensorboard.context import RequestContext
    from tensorboard.plugins.base_plugin import TBContext
    from tensorboard.plugins.hparams import api_pb2, backend_context, list_session_groups

    multiplexer = plugin_event_multiplexer.EventMultiplexer()
    multiplexer.AddRunsFromDirectory(str(logs))
    multiplexer.Reload()
    provider = data_provider.MultiplexerDataProvider(multiplexer, str(logs))
    flags = types.SimpleNamespace(generic_data="true")
    context = backend_context.Context(
        TBContext(data_provider=provider, logdir=str(logs), flags=flags, multiplexer=multiplexer)
    )
    request_context, experiment_id = RequestContext(), ""
    content = context.hparams_metadata(request_context, experiment_id)
    experiment = context.experiment_from_metadata(request_context, experiment_id, True, content, [])
    names = {info.name for info in experiment.hparam_infos}
    assert {"learning_rate", "batch_size", "optimizer", "model/embedding_dim", "data", "steps"} <= names
    metrics = {info.name.tag for info in experiment.metric_infos}
    assert {"train/loss", "val/loss", "best/val_loss"} <= metrics

    request = api_pb2.ListSessionGroupsRequest(
        start_index=0,
        slice_size=10,
        allowed_statuses=[api_pb2.STATUS_SUCCESS],
        col_params=[api_pb2.ColParams(metric=info.name) for info in experiment.metric_infos],
    )
    handler = list_session_groups.Handler(request_context, context, experiment_id, request)
    groups = handler.run().session_groups
    rates = {group.hparams["learning_rate"].number_value for group in groups}
    assert rates == {1e-3, 1e-2}
    for group in groups:
        found = {value.name.tag: value.value for value in group.metric_values}
        assert 0 < found["best/val_loss"] <= found["val/loss"]
