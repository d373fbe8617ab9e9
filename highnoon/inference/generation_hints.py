"""What to do about arguments of other libraries' `generate`."""

from __future__ import annotations

GENERATION_HINTS = {
    "do_sample": "temperature=0 takes the most likely token, and a temperature above 0 samples",
    "num_beams": "call hn.inference.generate_beam(model, prompt, num_beams=...)",
    "penalty_alpha": "call hn.inference.generate_contrastive(model, prompt, penalty_alpha=...)",
    "eos_token_id": "give it as stop_sequences=...; the tokenizer's end token always ends a text",
    "stop_token_ids": "give them as stop_sequences=...; the tokenizer's end token always ends a text",
    "sampler": "give temperature, top_k and top_p",
    "num_return_sequences": "give the prompt several times: generate([prompt] * 3)",
    "system_prompt": "it is one of a conversation: hn.inference.StatefulWrapper(model, system_prompt=...)",
}
