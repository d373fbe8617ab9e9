"""The recipes that a person copies: each is read, and runs on a small model and little data."""

from __future__ import annotations

import json
import pathlib

import pytest

import highnoon as hn
from highnoon.cli.__main__ import main
from highnoon.compat.expert_recipe import ExpertRecipe
from highnoon.training.evaluators import Evaluator, Figure, register_evaluator
from highnoon.training.recipes import Recipe
from highnoon.training.recipes.check_recipe import check_recipe

FOLDER = pathlib.Path(__file__).parents[2] / "recipes"
RECIPES = sorted(path for path in FOLDER.glob("*.yaml") if path.stem != "experts")
SMALL = {
    "preset": "highnoon-nano",
    "model.vocab_size": 300,
    "model.embedding_dim": 16,
    "model.num_reasoning_blocks": 1,
    "model.block_pattern": "attention+mlp",
    "training.batch_size": 2,
    "training.max_seq_length": 32,
    "jit_compile": False,
}
TEXT = "Noon: the sun is high above the plain, and nobody is in the street. "


@pytest.fixture(autouse=True)
def own_data(tmp_path, monkeypatch) -> pathlib.Path:
    """What the recipes name, small: a folder of texts, instructions, and a Hugging Face model."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_texts" / "tales").mkdir(parents=True)
    for number in range(30):
        (tmp_path / "my_texts" / "tales" / f"{number}.txt").write_text(f"{number}. {TEXT * 3}")
    rows = [{"instruction": f"What is {n}?", "response": f"A number, {n}."} for n in range(40)]
    (tmp_path / "instructions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def words(overrides: dict) -> list[str]:
    return [f"{key}={json.dumps(value)}" for key, value in overrides.items()]


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_is_accepted(path, own_data):
    assert check_recipe(Recipe.load(path))


def test_the_recipe_of_experts_is_accepted():
    recipe = ExpertRecipe.from_yaml(FOLDER / "experts.yaml")
    assert recipe.mixed == ("transformer", "state_space", "diffusion")
    assert recipe.configs_of("router").mla.n_experts == 3


@pytest.mark.slow
@pytest.mark.parametrize("name", ["from_scratch", "curriculum"])
def test_a_recipe_runs_on_a_small_model(name, own_data):
    # Python's own text is large; the stages keep all that is theirs but the name of the data.
    text = (FOLDER / f"{name}.yaml").read_text()
    pathlib.Path("recipe.yaml").write_text(
        text.replace("stdlib:docs", "my_texts").replace("stdlib:code", "my_texts/tales")
    )
    assert (
        main(["train", "recipe.yaml", *words({**SMALL, "steps": 2, "output": "run", "eval_interval": 1})])
        == 0
    )
    model = hn.load_model("run/model")
    assert model.generate("Noon", max_length=3)
    assert Recipe.load("run").stages == Recipe.load("recipe.yaml", {"steps": 2}).stages


@pytest.mark.slow
def test_a_hugging_face_folder_is_tuned_on_instructions_with_lora(own_data):
    from highnoon.tokenization import ByteTokenizer

    shape = {"block_pattern": "transformer", "embedding_dim": 16, "num_reasoning_blocks": 1}
    base = hn.create_model("highnoon-nano", **shape, vocab_size=263, max_seq_length=64, tie_embeddings=False)
    base.tokenizer = ByteTokenizer()
    hn.export_model(base, "my-llama")
    overrides = {"steps": 2, "output": "run", "training.batch_size": 2, "training.max_seq_length": 64}
    assert main(["train", str(FOLDER / "instructions_lora.yaml"), *words(overrides)]) == 0
    tuned = hn.load_model("run/model")
    assert tuned.backbone.lora == {"rank": 8, "target_layer_names": None}
    frozen = {weight.path: weight.numpy() for weight in hn.load_model("my-llama").weights}
    changed = {w.path for w in tuned.weights if w.path not in frozen or (w.numpy() != frozen[w.path]).any()}
    assert changed and all("lora" in path for path in changed)
    assert isinstance(tuned.generate("What is 3?", max_length=3), str)


@pytest.mark.slow
def test_the_recipe_of_a_run_repeats_it_to_the_bit(own_data):
    overrides = {**SMALL, "steps": 3, "model.dropout": 0.1, "verbose": False}
    Recipe.load(FOLDER / "own_folder.yaml", {**overrides, "output": "first"}).train()
    Recipe.load("first/checkpoints", {"output": "second"}).train()
    first, second = (pathlib.Path(run, "model/model.safetensors").read_bytes() for run in ("first", "second"))
    assert first == second
    other = Recipe.load("first", {"output": "third", "training.seed": 7}).train()
    assert other["total_steps"] == 3
    assert pathlib.Path("third/model/model.safetensors").read_bytes() != first


@register_evaluator("recipe_words")
class NumWords(Evaluator):
    """Counts the tokens of the sample."""

    def evaluate(self, model, sample, step):
        return {"sample_tokens": Figure(float((sample["segment_ids"] > 0).sum()), 1)}


@pytest.mark.slow
def test_objective_trainable_weights_and_evaluators_of_a_recipe_reach_the_run(own_data):
    teacher = hn.create_model(
        "highnoon-nano", **{key[6:]: SMALL[key] for key in SMALL if key[:6] == "model."}
    )
    hn.save_model(teacher, "teacher")
    tokenizer = hn.QWTTextTokenizer(300).train_from_texts([TEXT] * 3)
    tokenizer.save("tok")
    stage = {
        "name": "distill",
        "datasets": "my_texts",
        "steps": 2,
        "objective": {"name": "distillation", "teacher": "teacher", "alpha": 1.0},
        "trainable": ["*attention*"],
    }
    values = {
        "model": {"path": "teacher"},
        "stages": [stage],
        "evaluators": ["recipe_words"],
        "tokenizer": "tok",
    }
    training = {"max_seq_length": 32, "batch_size": 2, "learning_rate": 0.1}
    recipe = Recipe.from_dict({**values, "training": training, "output": "run", "jit_compile": False})
    events = []
    recipe.train(callbacks=[events.append])
    figures = [event["metrics"] for event in events if event["event"] == "evaluation"]
    assert figures and all(figure["val/sample_tokens"] > 0 for figure in figures)
    before = {weight.path: weight.numpy() for weight in teacher.weights}
    student = hn.load_model("run/model")
    changed = [
        path for path in before if (before[path] != {w.path: w for w in student.weights}[path].numpy()).any()
    ]
    assert changed and all("attention" in path for path in changed)


@pytest.mark.slow
def test_the_dtype_of_a_recipe_is_the_models(own_data):
    overrides = {**SMALL, "model.dtype": "mixed_bfloat16", "verbose": False}
    trainer = Recipe.load(FOLDER / "own_folder.yaml", overrides).make_trainer()
    assert trainer.model.dtype_policy.name == "mixed_bfloat16" and trainer.model.compute_dtype == "bfloat16"
