"""`~` is the home folder in every path argument of every public function, found by their signatures."""

from __future__ import annotations

import importlib
import inspect
import os
import pathlib
import re
from collections.abc import Callable, Iterator

import numpy as np
import pytest

import highnoon as hn
from highnoon import callbacks, compat, config, data, models, monitoring, tokenization
from highnoon.alignment import PolicyGradient, RolloutTrainer
from highnoon.data import derive_columns
from highnoon.data.tasks import open_task
from highnoon.experts import VectorMemory
from highnoon.models.language_model_preprocessor import LanguageModelPreprocessor

PATH_NAME = re.compile(r"(^|_)(path|paths|folder|dir|root|file|files|filepath|directory)$|^resume_from$")
OF_KERAS = {"read_tokenizer", "write_tokenizer", "load_assets", "save_assets"}
"""Hooks that Keras calls with the folder of an archive."""
OF_THE_HUB = {"TextDataset.from_hf"}
"""Its only path is the constructor's."""


class Home:
    """What the calls read, in the home folder."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        (folder / "texts").mkdir(parents=True)
        for number in range(20):
            (folder / "texts" / f"{number}.txt").write_text(f"{number}: the sun stands high at noon.\n" * 9)
        (folder / "data").mkdir()
        (folder / "data" / "named.txt").write_text("the sun stands high at noon.\n\n" * 40)
        self.tokenizer = tokenization.ByteTokenizer()
        shape = {"vocab_size": 263, "embedding_dim": 8, "num_reasoning_blocks": 1, "max_seq_length": 32}
        self.model = hn.create_model("highnoon-nano", num_heads=1, block_pattern="attention+mlp", **shape)
        self.model.tokenizer = self.tokenizer

    def source(self) -> data.DocumentSource:
        return data.open_source(self.folder / "texts")

    def trainer(self, **options) -> hn.Trainer:
        trainer = hn.Trainer(self.model, batch_size=2, max_seq_length=16, **options)
        return trainer.add_curriculum_stage("a", str(self.folder / "texts"), steps=1)


def in_home(home: Home, path: str | pathlib.Path) -> None:
    assert pathlib.Path(path).is_relative_to(home.folder)


def write_metrics(home: Home) -> None:
    (home.folder / "metrics.jsonl").write_text('{"step": 1}\n')


def tokens_for(home: Home) -> None:
    data.prepare(home.source(), home.tokenizer, "~/prepared", num_workers=1)


def derive(home: Home) -> None:
    tokens_for(home)
    derivation = data.Derivation(
        {"score": data.DerivedColumn("<f4", ())},
        lambda batch: {"score": np.zeros(batch["token_ids"].shape, np.float32)},
        "0" * 16,
        {},
        16,
        2,
    )
    derive_columns(data.TokenStore.open("~/prepared"), derivation, "~/columns")
    (columns,) = pathlib.Path("~/columns").expanduser().iterdir()
    data.DerivedColumns(f"~/columns/{columns.name}")


def train(home: Home) -> None:
    home.trainer().train(checkpoint_dir="~/checkpoints", log_dir="~/logs", verbose=False)
    home.trainer().train(
        checkpoint_dir="~/checkpoints", resume_from="~/checkpoints", log_dir=None, verbose=False
    )


def memory(home: Home) -> None:
    tokens_for(home)
    store = data.TokenStore.open("~/prepared")
    VectorMemory.build(home.model, store, "~/memory").save("~/second_memory")
    VectorMemory.load("~/second_memory", home.model)


def roll_out(home: Home) -> None:
    trainer = RolloutTrainer(
        home.model,
        ["a"],
        lambda texts: [float(len(text)) for text in texts],
        PolicyGradient("dr_grpo"),
        num_iterations=1,
        prompts_per_iteration=1,
        group_size=2,
        max_new_tokens=2,
    )
    trainer.train("~/rolled_out")


def byte_pair() -> tokenization.BytePairTokenizer:
    tokenizer = tokenization.BytePairTokenizer(300)
    return tokenizer.train(["~/data/named.txt"])


CALLS: dict[str, Callable[[Home], object]] = {
    "LossCurve.__init__": lambda home: in_home(home, callbacks.LossCurve("~/loss.png").path),
    "MetricsFile.__init__": lambda home: in_home(home, callbacks.MetricsFile("~/m.jsonl").path),
    "TensorBoardLog.__init__": lambda home: in_home(home, callbacks.TensorBoardLog("~/events").log_dir),
    "Config.save": lambda home: config.Config().save("~/config.yaml"),
    "Config.load": lambda home: (config.Config().save("~/c.yaml"), config.Config.load("~/c.yaml")),
    "read_yaml": lambda home: ((home.folder / "r.yaml").write_text("a: 1"), config.read_yaml("~/r.yaml")),
    "derive_columns": derive,
    "DerivedColumns.__init__": derive,
    "prepare": tokens_for,
    "tokenize": lambda home: data.tokenize(home.source(), home.tokenizer, cache_dir="~/cache"),
    "DomainFolder.__init__": lambda home: data.DomainFolder("~/texts"),
    "Files.__init__": lambda home: list(data.Files(["~/texts/1.txt"]).documents()),
    "open_source": lambda home: data.open_source("named", data_dir="~/data"),
    "PreparedTokens.__init__": lambda home: (tokens_for(home), data.PreparedTokens("~/prepared")),
    "TextDataset.__init__": lambda home: len(
        data.TextDataset(home.source(), home.tokenizer, max_length=16, cache_dir="~/cache")
    ),
    "TextDataset.from_files": lambda home: len(
        data.TextDataset.from_files(["~/texts/*.txt"], home.tokenizer, max_length=16, cache_dir="~/cache")
    ),
    "TokenStore.__init__": lambda home: (tokens_for(home), data.TokenStore("~/prepared", home.tokenizer)),
    "TokenStore.open": lambda home: (tokens_for(home), data.TokenStore.open("~/prepared")),
    "LanguageModel.save_weights": lambda home: home.model.save_weights("~/w"),
    "LanguageModel.load_weights": lambda home: (
        home.model.save_weights(home.folder / "w"),
        home.model.load_weights("~/w"),
    ),
    "find_model": lambda home: (hn.save_model(home.model, "~/m"), models.find_model("~/m")),
    "export_model": lambda home: hn.export_model(
        hn.create_model(
            "highnoon-nano",
            vocab_size=263,
            embedding_dim=16,
            num_reasoning_blocks=1,
            num_heads=2,
            block_pattern="attention+mlp",
        ),
        "~/exported",
    ),  # fmt: skip
    "load_model": lambda home: (hn.save_model(home.model, "~/m"), hn.load_model("~/m")),
    "save_model": lambda home: hn.save_model(home.model, "~/m"),
    "LanguageModelPreprocessor.save_to_preset": lambda home: LanguageModelPreprocessor(
        home.tokenizer
    ).save_to_preset("~/preset"),
    "TextTask.from_preset": lambda home: (
        hn.save_model(home.model, "~/m"),
        hn.LanguageModel.from_preset("~/m"),
    ),
    "TextTask.save": lambda home: (home.model.save("~/m.keras"), hn.load_model("~/m.keras")),
    "MetricsReader.__init__": lambda home: (
        write_metrics(home),
        monitoring.MetricsReader("~/metrics.jsonl").poll(),
    ),
    "read_metrics": lambda home: (write_metrics(home), monitoring.read_metrics("~/metrics.jsonl")),
    "BytePairTokenizer.__init__": lambda home: (
        byte_pair().save("~/t.json"),
        tokenization.BytePairTokenizer(model_path="~/t.json"),
    ),
    "BytePairTokenizer.load": lambda home: (
        byte_pair().save("~/t.json"),
        tokenization.BytePairTokenizer.load("~/t.json"),
    ),
    "BytePairTokenizer.train": lambda home: byte_pair(),
    "ByteTokenizer.load": lambda home: (
        home.tokenizer.save("~/t.json"),
        tokenization.ByteTokenizer.load("~/t.json"),
    ),
    "load_tokenizer": lambda home: (home.tokenizer.save("~/t.json"), tokenization.load_tokenizer("~/t.json")),
    "PretrainedTokenizer.load": lambda home: (
        byte_pair().save("~/t.json"),
        tokenization.PretrainedTokenizer.load("~/t.json"),
    ),
    "open_task": lambda home: list(
        open_task("text_completion", data_dir="~/data", data="~/texts/1.txt").source().documents()
    ),
    "DataConfig.__init__": lambda home: in_home(home, compat.DataConfig(data_dir="~/data").data_dir),
    "TrainExpertConfig.__init__": lambda home: in_home(
        home, compat.TrainExpertConfig(checkpoint_dir="~/c").checkpoint_dir
    ),
    "TrainDiffuserConfig.__init__": lambda home: in_home(
        home, compat.TrainDiffuserConfig(checkpoint_dir="~/c").checkpoint_dir
    ),
    "TrainMLAConfig.__init__": lambda home: in_home(
        home, compat.TrainMLAConfig(checkpoint_dir="~/c").checkpoint_dir
    ),
    "ExpertConfig.from_yaml": lambda home: (
        (home.folder / "mla.yaml").write_text("lr: 1.0e-3"),
        compat.TrainMLAConfig.from_yaml("~/mla.yaml"),
    ),
    "ExpertRecipe.__init__": lambda home: in_home(
        home, compat.ExpertRecipe(checkpoint_dir="~/c").checkpoint_dir
    ),
    "ExpertRecipe.from_yaml": lambda home: (
        (home.folder / "steps.yaml").write_text("data: {domains: a}"),
        compat.ExpertRecipe.from_yaml("~/steps.yaml"),
    ),
    "ExpertConfigs.from_yaml": lambda home: (
        (home.folder / "experts.yaml").write_text("data: {domains: a}"),
        compat.ExpertConfigs.from_yaml("~/experts.yaml"),
    ),
    "MultiTaskConfig.__init__": lambda home: compat.MultiTaskTrainer(
        compat.MultiTaskConfig(checkpoint_dir="~/c")
    ).recipe.checkpoint_folder.relative_to(home.folder),
    "MultiTaskTrainer.load_checkpoint": lambda home: (
        train(home),
        compat.MultiTaskTrainer(compat.MultiTaskConfig()).load_checkpoint("~/checkpoints"),
    ),
    "read_hatching_checkpoint": lambda home: (
        train(home),
        compat.read_hatching_checkpoint("~/checkpoints"),
    ),
    "Tokenizer.save": lambda home: home.tokenizer.save("~/t.json"),
    "VectorMemory.build": memory,
    "VectorMemory.load": memory,
    "VectorMemory.save": memory,
    "RolloutTrainer.train": roll_out,
    "Recipe.__init__": lambda home: hn.Recipe(
        output="~/run", data_dir="~/data", cache_dir="~/cache", checkpoint_dir="~/c", log_dir="~/l"
    ).checkpoint_folder.relative_to(home.folder),
    "Recipe.save": lambda home: hn.Recipe().save("~/recipe.yaml"),
    "Recipe.load": lambda home: (hn.Recipe().save("~/recipe.yaml"), hn.Recipe.load("~/recipe.yaml")),
    "Trainer.__init__": lambda home: home.trainer(data_dir="~/data", cache_dir="~/cache").plan(),
    "Trainer.save": lambda home: home.trainer().save("~/trainer"),
    "Trainer.load": lambda home: (home.trainer().save("~/t"), hn.Trainer.load("~/t", home.model)),
    "Trainer.train": train,
    "TrainerPreparation.preflight": lambda home: (
        train(home),
        home.trainer().preflight(resume_from="~/checkpoints", checkpoint_dir="~/checkpoints"),
    ),
}
SLOW = {"Trainer.train", "TrainerPreparation.preflight", "derive_columns", "DerivedColumns.__init__"}


def public_functions() -> Iterator[Callable[..., object]]:
    """Yields the functions of all `__all__`s, and the methods of their classes."""
    for name in ("highnoon", *(f"highnoon.{package}" for package in hn._SUBPACKAGES)):
        module = importlib.import_module(name)
        for exported in (getattr(module, attribute) for attribute in getattr(module, "__all__", ())):
            if inspect.isfunction(exported):
                yield exported
            elif inspect.isclass(exported):
                for member, value in inspect.getmembers(exported):
                    function = getattr(value, "__func__", value)
                    is_public = not member.startswith("_") or member == "__init__"
                    if is_public and inspect.isfunction(function):
                        yield function


def takes_paths(function: Callable[..., object]) -> bool:
    if not function.__module__.startswith("highnoon.") or function.__name__ in OF_KERAS:
        return False
    if function.__qualname__ in OF_THE_HUB:
        return False
    parameters = inspect.signature(function).parameters.values()
    return any("Path" in str(one.annotation) or PATH_NAME.search(one.name) for one in parameters)


def test_every_public_function_that_takes_a_path_is_called_here():
    found = {function.__qualname__ for function in public_functions() if takes_paths(function)}
    assert found - set(CALLS) == set() and set(CALLS) - found == set()


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Home:
    return Home(tmp_path_factory.mktemp("home"))


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else []) for name in CALLS]
)
def test_a_path_may_begin_with_the_home_folder(home, name, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(home.folder))
    monkeypatch.setenv("HIGHNOON_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    CALLS[name](home)
    assert "~" not in os.listdir(tmp_path)
