"""Training a diffuser: predicting the noise in the hidden states of a frozen transformer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import keras
from keras import ops

from highnoon.config import ConfigError
from highnoon.data.sequences.gaussian_noise_rows import GaussianNoiseRows
from highnoon.experts.expert_states import require_states, state_width
from highnoon.experts.shared_tokenizer import require_tokenizer
from highnoon.training.frozen_model import FrozenModel
from highnoon.training.objective import NEXT_TOKEN_COLUMNS, Column, Objective, Terms, register_objective

if TYPE_CHECKING:
    from highnoon.training.plans.row_preparation import RowPreparation, StageRows
    from highnoon.training.plans.stage_sources import StageSources

_COMMAND = "highnoon experts pretrain --expert transformer"


@register_objective("gaussian_diffusion")
class GaussianDiffusion(Objective):
    """The mean squared error of the noise in a frozen transformer's hidden states.

        h     = states of the transformer at token_ids[<= t]             after its last norm
        step  = 1 + floor(time * training_steps)
        x     = sqrt(alpha_bar[step]) h + sqrt(1 - alpha_bar[step]) noise
        loss  = mean over the state's dimensions of (noise - eps(x, step, h[< t])) ** 2

    a mean over tokens, without the first of each document, which is given. Times and noise come with the
    rows, as a function of seed, epoch and row; the times of a row are spread evenly. It trains a
    `GaussianDiffuser`, whose schedule has the `training_steps`.

    The transformer runs in every step and is frozen: it is known by the hash of its weights, which is saved
    with the diffuser, and is in no checkpoint. So it must be trained first.

    Args:
        transformer: A causal language model such as `LanguageModel`, or the path of a saved one. Runs that
            are described in YAML or started again from their folder need a path.
        transformer_hash: The hash that its weights must have; None takes any.

    Raises:
        ConfigError: there is no such transformer, with the command that trains one, or it has other weights.

    Example:

    ```python
    import highnoon as hn
    from highnoon.experts import GaussianDiffusion

    transformer = hn.create_model("highnoon-nano", num_reasoning_blocks=1, embedding_dim=32)
    objective = GaussianDiffusion(transformer)
    assert objective.columns["noise"].axes == ("token", 32)
    ```

    Ho et al. 2020, Denoising Diffusion Probabilistic Models (arXiv:2006.11239), eq. 14; times: Kingma et al.
    2021 (arXiv:2107.00630), appendix I.1.
    """

    figures: Sequence[str] = ()

    def __init__(self, transformer: Any = None, transformer_hash: str | None = None) -> None:
        if transformer is None:
            raise ConfigError(
                "`transformer` must be the trained model whose hidden states are learned; received none; run "
                f"`{_COMMAND}` first"
            )
        self._transformer = FrozenModel(transformer, transformer_hash, "transformer")
        try:
            require_states(self._transformer.model, "transformer")
        except ConfigError as error:
            raise ConfigError(f"{error}; run `{_COMMAND}` first") from error
        self.width = state_width(self._transformer.model)
        self.columns = {
            **NEXT_TOKEN_COLUMNS,
            "noise": Column("float32", ("token", self.width)),
            "noise_times": Column("float32", ("token",)),
        }

    def frozen_models(self) -> Mapping[str, keras.Model]:
        return {"transformer": self._transformer.model}

    def weight(self, batch: Mapping[str, Any]) -> Any:
        """Tokens that have one before them in their document."""
        return ops.sum(_is_noised(batch))

    def terms(self, model: keras.Model, batch: Mapping[str, Any], training: bool) -> Terms:
        self._require_diffuser(model)
        layout = {name: batch[name] for name in ("segment_ids", "positions")}
        inputs = {"token_ids": batch["token_ids"], **layout}
        states = self._transformer.model.backbone(inputs, training=False)
        states = ops.stop_gradient(ops.cast(states, "float32"))
        steps = 1 + ops.cast(ops.floor(batch["noise_times"] * float(model.training_steps)), "int32")
        level = ops.take(ops.convert_to_tensor(model.alpha_bars, "float32"), steps)[..., None]
        noisy = ops.sqrt(level) * states + ops.sqrt(1.0 - level) * batch["noise"]
        given = {"states": states, "noisy_states": noisy, "steps": steps, **layout}
        predicted = model(given, training=training)
        errors = ops.mean(ops.square(batch["noise"] - predicted), axis=-1)
        return Terms(ops.sum(errors * _is_noised(batch)), ops.zeros((), "float32"), {})

    def _require_diffuser(self, model: keras.Model) -> None:
        width = getattr(model, "state_dim", None)
        if width != self.width:
            raise ConfigError(
                f"`gaussian_diffusion` trains a GaussianDiffuser of state_dim={self.width}, the width of the "
                f"transformer; received a {type(model).__name__} of {width}; create one of that width"
            )

    def sequences(self, sources: StageSources, preparation: RowPreparation) -> StageRows:
        """Returns packed rows with their noise.

        Raises:
            ConfigError: a source is a stream, or the transformer has another tokenizer or a shorter context.
        """
        if sources.streamed:
            raise ConfigError(
                f"stage `{preparation.stage.name}` reads {sources.streamed[0]} as a stream, and Gaussian "
                "diffusion reads prepared rows; read it without `stream`"
            )
        require_tokenizer(self._transformer.model, preparation.tokenizer, "transformer", "the run")
        length, longest = preparation.config.max_seq_length, self._transformer.model.max_seq_length
        if longest < length:
            raise ConfigError(
                f"`transformer` must read rows of max_seq_length={length:,} tokens; received one of "
                f"{longest:,}; lower `max_seq_length`"
            )
        stores = preparation.stores(sources)

        def rows(split: str, weights: list[float] | None) -> GaussianNoiseRows:
            return GaussianNoiseRows(stores, self.width, length, preparation.seed, split, weights)

        return preparation.split_rows(sources, stores, rows)

    def describe_outputs(self) -> dict[str, Any]:
        return {"transformer_hash": self._transformer.hash}

    def get_config(self) -> dict[str, Any]:
        return {"transformer": self._transformer.path, "transformer_hash": self._transformer.hash}


def _is_noised(batch: Mapping[str, Any]) -> Any:
    """1 for the tokens whose states are learned, (b, t) float32."""
    is_noised = (batch["positions"] > 0) & (batch["segment_ids"] > 0)
    return ops.cast(is_noised, "float32")
