"""The nine configuration classes of the expert mixture: documented defaults, names, ranges and effects."""

from __future__ import annotations

import argparse
import dataclasses
import inspect

import pytest
import yaml

import highnoon as hn
from highnoon import compat
from highnoon.compat import expert_configs as configs
from highnoon.compat.expert_configs import SECTIONS_OF, ExpertConfigs, section_classes
from highnoon.compat.expert_options import add_config_options, given_fields
from highnoon.config import ConfigError
from highnoon.experts import ExpertRouter

CLASSES = list(section_classes().values())
DOCUMENTED = {
    "model": {"d_model": 384, "max_seq_len": 512},
    "transformer": {"n_layers": 6, "ffn_mult": 4},
    "diffuser": {"n_layers": 4, "training_steps": 100},
    "state_space": {"n_layers": 6, "d_state": 16},
    "mla": {"n_experts": 3, "n_heads": 6},
    "train_expert": {"lr": 3e-4, "batch_size": 32, "max_epochs": 20, "grad_clip": 1.0, "patience": 5},
    "train_diffuser": {"lr": 1e-4, "batch_size": 64, "max_epochs": 20},
    "train_mla": {"lr": 1e-4, "batch_size": 16, "max_epochs": 30, "grad_accum_steps": 4, "entropy_reg": 0.01},
    "data": {"tokenizer": "gpt2", "val_split": 0.1, "domains": None, "data_dir": "data"},
}
OTHER = {
    "d_model": 48,
    "vocab_size": 60,
    "n_heads": 4,
    "head_dim": 16,
    "d_inner": 1152,
    "dropout": 0.25,
    "grad_clip": 0.5,
    "amp_dtype": "fp16",
    "tokenizer": "byte",
    "balance": "size",
    "max_repeats": 2.0,
    "val_split": 0.3,
    "domains": ("code",),
    "block_sizes": (1, 2),
}
OF_THE_VERBS = {"snapshot_epochs", "use_amp", "amp_dtype", "entropy_reg", "tokenizer", "inference_steps"}
"""Fields that the commands read, which have tests of their own."""


def parameters_of_s6(layers: int, d: int, n: int, vocab: int) -> int:
    inner, rank = 2 * d, -(-d // 16)
    mixer = (
        d * 2 * inner
        + 5 * inner
        + inner * (rank + 2 * n)
        + rank * inner
        + inner
        + inner * n
        + inner
        + inner * d
    )
    return vocab * d + layers * (mixer + d) + d


def parameters_of_attention(layers: int, d: int, ffn: int, vocab: int) -> int:
    return vocab * d + layers * (4 * d * d + 3 * d * ffn + 2 * d) + d


@pytest.mark.parametrize("section", DOCUMENTED)
def test_defaults_are_those_of_the_document(section):
    found = dataclasses.asdict(section_classes()[section]())
    assert {name: found[name] for name in DOCUMENTED[section]} == DOCUMENTED[section]


def test_the_names_of_the_document_are_in_compat_and_the_clashing_one_has_a_name_of_its_own():
    assert configs.ModelConfig is compat.ExpertModelConfig is not hn.config.ModelConfig
    assert all(getattr(compat, kind.__name__) is kind for kind in CLASSES) and len(CLASSES) == 9


def test_experts_have_the_parameters_of_the_documented_sizes():
    shapes = {
        configs.TransformerConfig(): parameters_of_attention(6, 384, 1536, 263),
        configs.DiffuserConfig(): parameters_of_attention(4, 384, 1536, 263),
        configs.StateSpaceConfig(): parameters_of_s6(6, 384, 16, 263),
    }
    for shape, expected in shapes.items():
        model = shape.to_model_config(vocab_size=263)
        assert hn.models.count_parameters(model) == expected
        assert (model.embedding_dim, model.max_seq_length, model.dropout) == (384, 512, 0.1)
    transformer = configs.TransformerConfig().to_model_config(vocab_size=263)
    assert (transformer.resolved_num_heads, transformer.resolved_head_dim) == (6, 64)


def outcome(section: str, field: str, value: object) -> object:
    """What a field changes: a model, a router's arguments, an objective, a training run or a stage."""
    shared, shape = configs.ModelConfig(vocab_size=50), section_classes()[section]
    if section == "model":
        value = 50 if value is None and field == "vocab_size" else value
        shared = dataclasses.replace(shared, **{field: value})
        return configs.TransformerConfig().to_model_config(shared)
    changed = shape(**{field: value})
    if section == "mla":
        return changed.router_arguments(shared)
    if hasattr(changed, "to_model_config"):
        of_diffusion = (changed.to_objective(), changed.diffuser_arguments()) if section == "diffuser" else ()
        return changed.to_model_config(shared), *of_diffusion
    if section == "data":
        return configs.TrainExpertConfig().to_training_config(data=changed), changed.stage_arguments()
    return changed.to_training_config(), changed.train_arguments()


@pytest.mark.parametrize("section", DOCUMENTED)
def test_every_field_changes_what_is_built(section):
    for field in dataclasses.fields(section_classes()[section]):
        if field.name in OF_THE_VERBS:
            continue
        default = field.default
        value = OTHER.get(field.name) or (f"other-{default}" if isinstance(default, str) else None)
        if value is None:
            value = not default if isinstance(default, bool) else (default or 1) * 2
        assert outcome(section, field.name, value) != outcome(section, field.name, default), field.name


def test_a_routers_arguments_are_those_of_the_class():
    known = set(inspect.signature(ExpertRouter).parameters)
    assert set(configs.MLAConfig().router_arguments(vocab_size=9)) <= known


@pytest.mark.parametrize("kind", CLASSES)
def test_an_unknown_key_is_refused_with_the_nearest(kind):
    name = dataclasses.fields(kind)[0].name
    for build in (kind.from_dict, lambda values: kind(**values)):
        with pytest.raises(
            ConfigError, match=rf"{kind.__name__} has no key `{name}s`; did you mean `{name}`"
        ):
            build({f"{name}s": 1})


def test_names_of_the_package_mean_the_documents_fields_and_two_names_of_one_field_are_refused():
    config = configs.TrainMLAConfig(gradient_accumulation_steps=2, learning_rate=1e-3, num_epochs=3)
    assert (config.grad_accum_steps, config.lr, config.max_epochs) == (2, 1e-3, 3)
    with pytest.raises(ConfigError, match="`grad_accum_steps` under two names"):
        configs.TrainMLAConfig(gradient_accumulation_steps=2, grad_accum_steps=2)
    assert configs.ModelConfig(embedding_dim=64, max_seq_length=32).d_model == 64


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: configs.ModelConfig(d_model=0), "`d_model` must be at least 1; received 0"),
        (lambda: configs.TrainExpertConfig(amp_dtype="tf32"), "`amp_dtype` must be one of bf16, fp16"),
        (lambda: configs.TrainExpertConfig(lr=0), "`lr` must be above 0"),
        (lambda: configs.DataConfig(val_split=1), r"`val_split` must be in \[0, 1\)"),
        (lambda: configs.DataConfig(domains=" , "), "`domains` must name at least one domain"),
        (lambda: configs.DataConfig(balance="even"), "`balance` must be 'equal', 'size' or a temperature"),
        (lambda: configs.DataConfig(balance=0.5), "`balance` must be 'equal', 'size' or a temperature"),
        (lambda: configs.MLAConfig(n_experts=1), "`n_experts` must be at least 2"),
        (lambda: configs.DiffuserConfig(block_sizes=()), "`block_sizes` must be"),
        (lambda: configs.DiffuserConfig(block_sizes=[0]), "`block_sizes` must be at least 1"),
        (
            lambda: configs.StateSpaceConfig(d_inner=100).to_model_config(vocab_size=9),
            "a multiple of d_model=384",
        ),
        (lambda: configs.TransformerConfig().to_model_config(), "`vocab_size` must be the tokenizer's"),
    ],
)
def test_a_value_out_of_range_is_one_line(build, words):
    with pytest.raises(ConfigError, match=words) as caught:
        build()
    assert "\n" not in str(caught.value)


def test_domains_are_separated_by_spaces_or_commas():
    for given in ("code general", "code,general", ["code", "general"], ["code,general"], "code, general"):
        assert configs.DataConfig(domains=given).domains == ("code", "general")


def test_a_file_has_a_section_for_each_class_and_comes_back_equal(tmp_path):
    path = tmp_path / "experts.yaml"
    given = ExpertConfigs.from_dict({"model": {"d_model": 64, "n_heads": 1}, "data": {"domains": "a b"}})
    path.write_text(yaml.safe_dump({"model": {"d_model": 64, "n_heads": 1}, "data": {"domains": ["a", "b"]}}))
    assert ExpertConfigs.from_yaml(path) == given == ExpertConfigs.from_dict(given.to_dict())
    path.write_text("train_mla:\n  entropy_regs: 1\n")
    with pytest.raises(ConfigError, match="experts.yaml: line 2: TrainMLAConfig has no key `entropy_regs`"):
        ExpertConfigs.from_yaml(path)
    path.write_text("lr: 3e-3\n")
    assert configs.TrainExpertConfig.from_yaml(path).lr == 3e-3


@pytest.mark.parametrize("expert", SECTIONS_OF)
def test_every_field_has_an_option_that_sets_it(expert):
    sections = SECTIONS_OF[expert]
    parser = argparse.ArgumentParser(allow_abbrev=False)
    add_config_options(parser, sections)
    names = {field.name: field for name in sections for field in dataclasses.fields(section_classes()[name])}
    assert given_fields(parser.parse_args([]), sections) == {}
    words = ["--d_model", "48", "--n_heads", "2", "--lr", "1e-3", "--domains", "a", "b,c", "--no-use_amp"]
    fields = given_fields(parser.parse_args([*words, "--balance", "2"]), sections)
    changed = ExpertConfigs().updated(sections, fields)
    assert changed.model.d_model == 48 and changed.data.domains == ("a", "b", "c")
    assert getattr(changed, sections[1]).d_model == 48 and changed.data.balance == 2.0
    run = getattr(changed, sections[2])
    assert run.lr == 1e-3 and not run.use_amp
    help_text = parser.format_help()
    assert all(f"--{name} " in help_text or f"--{name}," in help_text for name in names)
    with pytest.raises(ConfigError, match="has no key `n_layer_s`; did you mean `n_layers`"):
        ExpertConfigs().updated(sections, {"n_layer_s": 2})
