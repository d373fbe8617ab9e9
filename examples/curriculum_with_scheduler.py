"""Train on easy documents first: the scheduler lets harder ones in as the steps go by.

python examples/curriculum_with_scheduler.py --steps 300
"""

from __future__ import annotations

import argparse

import highnoon as hn


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="stdlib:docs", help="file, glob, folder or name of a dataset")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--output", default="curriculum-model")
    arguments = parser.parse_args()

    # A fifth of the documents at first, all of them for the last third of the run.
    scheduler = hn.CurriculumScheduler(
        strategy="difficulty_based",
        unit="step",
        num_stages=5,
        warmup_epochs=arguments.steps // 6,
        stage_increment_epochs=max(1, arguments.steps // 6),
        initial_fraction=0.2,
    )
    trainer = hn.Trainer(hn.create_model("highnoon-nano"), learning_rate=3e-3, max_seq_length=256)
    trainer.add_curriculum_stage("easy to hard", arguments.data, steps=arguments.steps, scheduler=scheduler)
    trainer.train(checkpoint_dir=f"{arguments.output}-checkpoints", log_interval=25)
    print(scheduler.get_stage_info())
    trainer.save(arguments.output)


if __name__ == "__main__":
    main()
