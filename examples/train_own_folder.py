"""Train on a folder of text files, measure, save, and continue a prompt.

python examples/train_own_folder.py my_texts/ --epochs 3
"""

from __future__ import annotations

import argparse

import highnoon as hn


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", help="folder of .txt files")
    parser.add_argument("--preset", default="highnoon-nano")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--output", default="my-model")
    parser.add_argument("--prompt", default="The ")
    arguments = parser.parse_args()

    trainer = hn.Trainer(hn.create_model(arguments.preset), learning_rate=3e-3, max_seq_length=256)
    trainer.add_curriculum_stage("own text", datasets=f"{arguments.folder}/**/*.txt", epochs=arguments.epochs)
    trainer.train(checkpoint_dir=f"{arguments.output}-checkpoints")
    print(trainer.evaluate())
    trainer.save(arguments.output)

    model = hn.load_model(arguments.output)
    print(model.generate(arguments.prompt, max_length=80, temperature=0.8, top_k=40))


if __name__ == "__main__":
    main()
