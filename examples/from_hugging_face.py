"""Load a Hugging Face folder, train it on a text, and write it back as a Hugging Face folder.

huggingface-cli download TinyLlama/TinyLlama-1.1B-Chat-v1.0 --local-dir tiny-llama
python examples/from_hugging_face.py tiny-llama notes.txt --steps 50
"""

from __future__ import annotations

import argparse

import highnoon as hn


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", help="with config.json, safetensors and tokenizer.json")
    parser.add_argument("data", help="file, glob, folder or name of a dataset")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--length", type=int, default=256, help="tokens of a row")
    parser.add_argument("--output", default="continued")
    arguments = parser.parse_args()

    model = hn.load_model(arguments.folder)
    print(model.config.block_pattern, f"{model.count_params():,} parameters")
    model.gradient_checkpointing_enable()  # saves memory, changes no weight

    trainer = hn.Trainer(model, learning_rate=1e-5, batch_size=2, max_seq_length=arguments.length)
    trainer.add_curriculum_stage("text", datasets=arguments.data, steps=arguments.steps)
    trainer.train(checkpoint_dir=f"{arguments.output}-checkpoints")
    print(trainer.evaluate())

    hn.export_model(trainer.model, arguments.output)
    print(f"load it with transformers: AutoModelForCausalLM.from_pretrained({arguments.output!r})")


if __name__ == "__main__":
    main()
