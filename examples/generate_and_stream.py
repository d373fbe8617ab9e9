"""Continue prompts in a batch, stream one, and speed one up by speculative decoding.

python examples/generate_and_stream.py highnoon-demo/model "This module" "The function"
"""

from __future__ import annotations

import argparse

import highnoon as hn
from highnoon.inference import SpeculativeGenerator, StreamingGenerator, generate_batch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="folder of a saved model")
    parser.add_argument("prompts", nargs="+")
    parser.add_argument("--length", type=int, default=40, help="new tokens")
    arguments = parser.parse_args()
    model = hn.load_model(arguments.model)
    options = {"max_length": arguments.length, "temperature": 0.8, "top_k": 40, "seed": 1}

    # Each row depends on the seed and its index only, never on the other rows of its batch.
    for text in generate_batch(model, arguments.prompts, batch_size=8, **options):
        print("batch:", text)

    print("stream: ", end="")
    for piece in StreamingGenerator(model).generate_stream(arguments.prompts[0], **options):
        print(piece, end="", flush=True)

    # Drafts come from earlier text; the result is exactly that of greedy decoding.
    generator = SpeculativeGenerator(model)
    text = generator.generate(arguments.prompts[0], max_length=arguments.length, temperature=0)
    assert text == model.generate(arguments.prompts[0], max_length=arguments.length, temperature=0)
    print(f"\nspeculative: {generator.tokens_per_pass:.2f} tokens a pass: {text}")


if __name__ == "__main__":
    main()
