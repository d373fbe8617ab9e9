"""The data of the expert mixture, under the names of the document."""

from __future__ import annotations

import dataclasses
import math
import re
from typing import Any

from highnoon.compat.expert_config import ExpertConfig, with_documented_names
from highnoon.config import ConfigError, require_path, require_text, require_texts, shown
from highnoon.config.fields import setting


@with_documented_names
@dataclasses.dataclass(frozen=True)
class DataConfig(ExpertConfig):
    """The text that experts and router are trained on: `data_dir/<domain>/*.jsonl`.

    Args:
        data_dir: Folder of domains, or one file.
        domains: Sub-folders to read, a list or a text of names between spaces or commas; None reads all.
        tokenizer: `"gpt2"`, `"byte"`, `"bpe"` (trained on the data), or the path of a saved tokenizer.
        val_split: Fraction of documents held out, in [0, 1), by a hash of their text.
        skip_bad: Whether to skip and count lines that cannot be read, in place of stopping at the first.
        balance: Weights of the domains in training: `"equal"`, `"size"` (in proportion to their tokens), or a
            temperature of at least 1 between the two. Held-out text is never reweighted.
        max_repeats: How often one domain may be read while all are read once, at least 1. A domain that is
            too small for an equal part gets less.

    Raises:
        ConfigError: an unknown key, or a value out of its range.

    Example:

    ```python
    from highnoon.compat.expert_configs import DataConfig

    assert DataConfig(domains="code,general").domains == ("code", "general")
    ```
    """

    data_dir: str = "data"
    domains: Any = None
    tokenizer: str = "gpt2"
    val_split: float = setting(0.1, least=0, below=1)
    skip_bad: bool = False
    balance: Any = "equal"
    max_repeats: float = setting(4.0, least=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "data_dir", str(require_path("data_dir", self.data_dir)))
        object.__setattr__(self, "domains", _domains(self.domains))
        if self.balance not in ("equal", "size"):
            object.__setattr__(self, "balance", _temperature(self.balance))

    def stage_arguments(self) -> dict[str, Any]:
        """Returns arguments of `Trainer.add_curriculum_stage`: the data and the weights of its domains."""
        entry: dict[str, Any] = {"name": self.data_dir}
        if self.domains is not None:
            entry["domains"] = list(self.domains)
        if self.skip_bad:
            entry["skip_bad"] = True
        # A temperature of 1 mixes by size; without a balance the folder is one dataset in every report.
        balance = 1.0 if self.balance == "size" else self.balance
        return {"datasets": [entry], "balance": balance, "max_repeats": self.max_repeats}


def _temperature(value: Any) -> float:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not 1 <= value < math.inf:
        raise ConfigError(
            f"`balance` must be 'equal', 'size' or a temperature of at least 1; received {shown(value)}"
        )
    return float(value)


def _domains(value: Any) -> tuple[str, ...] | None:
    """Returns names as a tuple; a text may have several, between spaces or commas."""
    if value is None:
        return None
    texts = require_texts("domains", value)
    names = [name for text in texts for name in re.split(r"[\s,]+", text) if name]
    if not names:
        raise ConfigError("`domains` must name at least one domain; received none")
    return tuple(require_text("domains", name) for name in names)
