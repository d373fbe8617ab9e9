"""Stop a run in its middle as Ctrl-C does, take it up from its checkpoint, and see that nothing changed.

python examples/stop_and_resume.py --steps 40
"""

from __future__ import annotations

import argparse
import signal

import keras
import numpy as np

import highnoon as hn


def make_trainer(data: str, steps: int) -> hn.Trainer:
    keras.utils.set_random_seed(1)
    model = hn.create_model("highnoon-nano", dropout=0.1)
    trainer = hn.Trainer(model, learning_rate=3e-3, max_seq_length=128)
    return trainer.add_curriculum_stage("only", datasets=data, steps=steps)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="stdlib:docs", help="file, glob, folder or name of a dataset")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--output", default="resume-checkpoints")
    arguments = parser.parse_args()
    stop_after = arguments.steps // 2

    whole = make_trainer(arguments.data, arguments.steps)
    whole.train(save_checkpoints=False, log_dir=None)

    def press_ctrl_c(event: dict) -> None:
        if event["event"] == "step_end" and event["step"] == stop_after:
            signal.raise_signal(signal.SIGINT)

    stopped = make_trainer(arguments.data, arguments.steps)
    try:
        stopped.train(checkpoint_dir=arguments.output, callbacks=[press_ctrl_c], log_dir=None)
    except KeyboardInterrupt as stop:
        print(stop)

    resumed = make_trainer(arguments.data, arguments.steps)
    resumed.train(checkpoint_dir=arguments.output, resume_from=f"{arguments.output}/latest", log_dir=None)
    pairs = zip(whole.model.get_weights(), resumed.model.get_weights(), strict=True)
    print("same weights, bit for bit:", all(np.array_equal(a, b) for a, b in pairs))


if __name__ == "__main__":
    main()
