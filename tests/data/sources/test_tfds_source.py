"""TensorFlow Datasets, on a dataset built here."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from highnoon.data import DataError, open_source


@pytest.mark.slow
def test_a_dataset_of_the_library_is_a_source(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tfds = pytest.importorskip("tensorflow_datasets")
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))

    class HighnoonTestTexts(tfds.core.GeneratorBasedBuilder):  # type: ignore[misc,name-defined]
        VERSION = tfds.core.Version("1.0.0")

        def _info(self) -> Any:
            return self.dataset_info_from_configs(
                features=tfds.features.FeaturesDict(
                    {"text": tfds.features.Text(), "label": tfds.features.Scalar(np.int64)}
                )
            )

        def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
            return {"train": self._generate_examples()}

        def _generate_examples(self) -> Iterator[tuple[int, dict[str, Any]]]:
            for number in range(5):
                yield number, {"text": f"text é {number}", "label": number}

    HighnoonTestTexts(data_dir=str(tmp_path)).download_and_prepare()
    monkeypatch.setattr(tfds.core.constants, "DATA_DIR", str(tmp_path))
    source = open_source("tfds:highnoon_test_texts")
    texts = [document.text for document in source.documents()]
    assert sorted(texts) == [f"text é {number}" for number in range(5)]
    assert texts == [document.text for document in source.documents()]
    assert source.fingerprint() == open_source("tfds:highnoon_test_texts").fingerprint()
    with pytest.raises(DataError, match="cannot open tfds:highnoon_no_such split 'train'"):
        open_source("tfds:highnoon_no_such")
