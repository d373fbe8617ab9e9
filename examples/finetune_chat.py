"""Fine-tune a saved model on conversations with LoRA, and ask it something.

python examples/finetune_chat.py my-model chats.jsonl --question "How many foxes are there?"
"""

from __future__ import annotations

import argparse

import highnoon as hn
from highnoon.inference import StatefulWrapper


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="folder of a saved model, ours or Hugging Face's")
    parser.add_argument("chats", help="records with `messages`, or `instruction` and `output`")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--rank", type=int, default=8, help="of the LoRA factors")
    parser.add_argument("--question", default="Hello!")
    parser.add_argument("--output", default="chat-model")
    arguments = parser.parse_args()

    model = hn.load_model(arguments.model)
    model.backbone.enable_lora(rank=arguments.rank)
    num_trained = sum(weight.shape.num_elements() for weight in model.trainable_weights)
    print(f"training {num_trained:,} of {model.count_params():,} weights")

    # Only the assistant's words are supervised; the loss is that of the answers.
    trainer = hn.Trainer(model, learning_rate=3e-4, batch_size=4)
    trainer.add_curriculum_stage("chat", datasets=arguments.chats, epochs=arguments.epochs)
    trainer.train(checkpoint_dir=f"{arguments.output}-checkpoints")
    print(trainer.evaluate())
    trainer.save(arguments.output)

    chat = StatefulWrapper(hn.load_model(arguments.output))
    chat.add_user_message(arguments.question)
    print(f"{chat.chat_format}\n{chat.generate(max_length=60, temperature=0.7, seed=1)}")


if __name__ == "__main__":
    main()
