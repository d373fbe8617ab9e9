"""All experts, their router, the mixture and its evaluation, as one file."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from typing import Any, Self

from highnoon.compat.expert_configs import SECTIONS_OF, ExpertConfigs, section_classes
from highnoon.compat.expert_training import EXPERTS
from highnoon.config import (
    ConfigError,
    ModelConfig,
    read_yaml,
    require_flag,
    require_path,
    resolve_keys,
    shown,
)
from highnoon.files.nearest_name import unknown_name

_TRAININGS = ("train_expert", "train_diffuser", "train_mla")
NEEDED_BY = {"diffuser": "transformer"}
"""The expert without which another cannot be trained."""
_OWN = ("experts", "router", "checkpoint_dir", "contains_experts", "use_vector_store")


@dataclasses.dataclass(frozen=True)
class ExpertRecipe:
    """The steps from text to a mixture.

    A file has the sections of `ExpertConfigs`, which all steps share, and the keys of this class.

    Args:
        configs: The configurations that all steps share.
        experts: For each expert the fields in which its own configuration differs, such as `domains`.
        router: The fields in which that of the router differs.
        checkpoint_dir: Folder of all runs.
        contains_experts: Whether the mixture contains its experts, see `assemble_mixture`.
        use_vector_store: Whether to build a memory of the training text as well.

    Raises:
        ConfigError: an unknown key or expert, fewer than two experts to mix, a step that lacks what it needs,
            or a value out of its range.

    Example:

    ```python
    from highnoon.compat.expert_recipe import ExpertRecipe

    recipe = ExpertRecipe.from_dict({
        "data": {"data_dir": "stdlib", "tokenizer": "byte"},
        "experts": {"transformer": {"domains": "docs"}, "state_space": {"n_layers": 2}},
    })
    assert recipe.configs_of("state_space").state_space.n_layers == 2
    assert recipe.configs_of("router").mla.n_experts == 2
    ```
    """

    configs: ExpertConfigs = dataclasses.field(default_factory=ExpertConfigs)
    experts: Mapping[str, Mapping[str, Any]] = dataclasses.field(
        default_factory=lambda: {"transformer": {}, "state_space": {}, "diffusion": {}}
    )
    router: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    checkpoint_dir: str = "checkpoints"
    contains_experts: bool = True
    use_vector_store: bool = False

    def __post_init__(self) -> None:
        require_flag("contains_experts", self.contains_experts)
        require_flag("use_vector_store", self.use_vector_store)
        object.__setattr__(self, "checkpoint_dir", str(require_path("checkpoint_dir", self.checkpoint_dir)))
        if not isinstance(self.experts, Mapping):
            raise ConfigError(f"`experts` must be a mapping of names; received {shown(self.experts)}")
        for name in self.experts:
            if name not in EXPERTS:
                raise ConfigError(unknown_name("expert", str(name), EXPERTS))
        for name, own in {**self.experts, "router": self.router}.items():
            if own is not None and not isinstance(own, Mapping):
                raise ConfigError(f"`{name}` must be a mapping of fields; received {shown(own)}")
            _require_no_folder(name, own)
        if len(self.mixed) < 2:
            raise ConfigError(
                "`experts` must name at least two experts that predict tokens (transformer, state_space, "
                f"diffusion); received {', '.join(self.experts) or 'none'}"
            )
        for name in (*self.experts, "router"):
            self._require_shape(name)
        self._require_steps()

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Returns the recipe of a mapping; what is left out keeps its defaults.

        Raises:
            ConfigError: as the class.
        """
        sections = set(section_classes())
        given = resolve_keys(values, {*sections, *_OWN}, "the recipe of experts")
        for section in _TRAININGS:
            _require_no_folder(section, given.get(section))
        configs = ExpertConfigs.from_dict({key: value for key, value in given.items() if key in sections})
        return cls(configs, **{key: value for key, value in given.items() if key not in sections})

    @classmethod
    def from_yaml(cls, path: str | os.PathLike[str], overrides: Mapping[str, Any] | None = None) -> Self:
        """Returns the recipe of a YAML or JSON file.

        Args:
            path: The file.
            overrides: Keys of the class that replace those of the file.

        Raises:
            ConfigError: there is no such file, or as the class.
        """
        values = read_yaml(os.fspath(path))
        try:
            return cls.from_dict({**values, **(overrides or {})})
        except ConfigError as error:
            raise ConfigError(f"{os.fspath(path)}: {error}") from None

    @property
    def mixed(self) -> tuple[str, ...]:
        """The experts that the router mixes, in the order of the file."""
        return tuple(name for name in self.experts if name != "diffuser")

    def _require_steps(self) -> None:
        """Checks that each step has what it needs from the others, before the first of them runs."""
        for name in self.experts:
            if (needed := NEEDED_BY.get(name)) and needed not in self.experts:
                raise ConfigError(f"`experts` must name {needed} too, which {name} needs")
        if self.use_vector_store and "transformer" not in self.experts:
            raise ConfigError(
                "`use_vector_store` needs the transformer, whose states it stores; add it to `experts`"
            )
        if self.configs_of("router").data.val_split == 0:
            raise ConfigError(
                "`val_split` of the router must be above 0, since the mixture is evaluated on documents that "
                "are held out; received 0"
            )

    def _require_shape(self, name: str) -> None:
        """Checks that a model can have its sizes, before any step runs."""
        try:
            configs = self.configs_of(name)
            if name == "router":
                fields = configs.mla.router_arguments(configs.model, 1)
                ModelConfig(**{key: fields[key] for key in fields if key != "num_experts"})
            else:
                getattr(configs, SECTIONS_OF[name][1]).to_model_config(configs.model, 1)
        except ConfigError as error:
            raise ConfigError(f"`{name}`: {error}") from None

    def configs_of(self, name: str) -> ExpertConfigs:
        """Returns the configurations of a step.

        Args:
            name: An expert, or `"router"`.
        """
        own = dict((self.router if name == "router" else self.experts[name]) or {})
        if name == "router":
            own.setdefault("n_experts", len(self.mixed))
        configs = self.configs.updated(SECTIONS_OF[name], own)
        trainings = {
            section: dataclasses.replace(getattr(configs, section), checkpoint_dir=self.checkpoint_dir)
            for section in _TRAININGS
        }
        return dataclasses.replace(configs, **trainings)


def _require_no_folder(name: str, fields: Any) -> None:
    if isinstance(fields, Mapping) and "checkpoint_dir" in fields:
        raise ConfigError(
            f"`{name}` must not have `checkpoint_dir`; the folder of all runs is that of the recipe: give it "
            "outside the sections"
        )
