"""`verbose=False` writes nothing to the output of the process, from the data to the generated text."""

import os
import re
import subprocess
import sys

import pytest

PROGRAM = """
import sys, highnoon as hn
from highnoon.data import open_source, prepare
from highnoon.evaluation import evaluate_model
from highnoon.tokenization import ByteTokenizer
store = prepare(open_source("texts"), ByteTokenizer(), "prepared", 1)
SHAPE = {"embedding_dim": 8, "num_heads": 1, "num_reasoning_blocks": 1, "block_pattern": "attention+mlp",
         "ffn_dim": 8, "max_seq_length": 32}
model = hn.create_model("highnoon-nano", vocab_size=263, **SHAPE)
for resume in (True, True, False):
    trainer = hn.Trainer(model, batch_size=2, max_seq_length=32, tokenizer=ByteTokenizer())
    trainer.add_curriculum_stage("one", "prepared", steps=2)
    trainer.train(verbose=False, resume_from=resume, checkpoint_dir="run/checkpoints", log_dir="run/logs")
trainer.save("run/model")
for _ in range(2):
    hn.Recipe(stages=[{"name": "one", "datasets": ["prepared"], "steps": 1}], verbose=False, output="recipe",
              model={**SHAPE, "vocab_size": 263}, training={"batch_size": 2, "max_seq_length": 32}).train()
model = hn.load_model("run")
model.generate("The sun", max_length=4, temperature=0.0)
model.save_weights("weights")
model.load_weights("weights")
"""


@pytest.mark.slow
def test_a_silent_run_writes_nothing(tmp_path):
    (tmp_path / "texts").mkdir()
    for number in range(30):
        (tmp_path / "texts" / f"{number}.txt").write_text(f"{number} the sun stood over the river. " * 20)
    environment = {
        **os.environ,
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "CUDA_VISIBLE_DEVICES": "",
        "HIGHNOON_CACHE": "cache",
    }
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning:highnoon", "-c", PROGRAM],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    # TensorFlow's C++ side writes a few lines of its own when it is loaded.
    cpp = r"[IWE]\d{4} |WARNING: All log|To enable the following"
    own = [line for line in done.stderr.splitlines() if not re.match(cpp, line)]
    assert done.stdout == "" and own == []
