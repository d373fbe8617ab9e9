"""Domains of text in parts by document: for experts, for their router, for both, and held out."""

from __future__ import annotations

import json
import pathlib

import numpy as np

HELD_OUT, ROUTER, EXPERTS, BOTH = "held_out", "router", "experts", "both"


class ExpertTexts:
    """The documents of a folder of domains, shuffled once and divided into parts.

    The order of the documents depends on nothing but their number, so that every run reads the same parts.

    Args:
        data: A folder of domains of JSON lines with `text`.
        folder: Where the parts are written, as `PART/DOMAIN.jsonl`.
        held_out_bytes: About how much text of each domain is held out.
        router_bytes: About how much text of each domain only the router reads.

    Attributes:
        domains: The names of the domains, in order.
    """

    def __init__(
        self, data: pathlib.Path, folder: pathlib.Path, held_out_bytes: int, router_bytes: int
    ) -> None:
        self._folder = folder
        self.domains = sorted(path.name for path in data.iterdir() if path.is_dir())
        for domain in self.domains:
            texts = _texts(data / domain)
            sizes = np.cumsum([len(text.encode()) for text in texts])
            # Each part has whole documents, at least one.
            first = int(np.searchsorted(sizes, held_out_bytes))
            second = int(np.searchsorted(sizes, sizes[min(first, len(sizes) - 1)] + router_bytes))
            if second + 1 >= len(texts):
                raise SystemExit(f"{data / domain} has {sizes[-1]:,} bytes; hold out less, or give more text")
            self._write(HELD_OUT, domain, texts[: first + 1])
            self._write(ROUTER, domain, texts[first + 1 : second + 1])
            self._write(EXPERTS, domain, texts[second + 1 :])
            self._write(BOTH, domain, texts[first + 1 :])

    def path(self, part: str, domain: str) -> pathlib.Path:
        return self._folder / part / f"{domain}.jsonl"

    def mix(self, part: str, favored: tuple[str, ...] = (), fraction: float = 0.8) -> list[tuple[str, float]]:
        """Returns the files of a part with their weights: `fraction` for the favored domains, else equal."""
        others = [domain for domain in self.domains if domain not in favored]
        weights = {domain: fraction / len(favored) for domain in favored}
        rest = (1.0 - fraction if favored else 1.0) / len(others)
        weights |= dict.fromkeys(others, rest)
        return [(str(self.path(part, domain)), weights[domain]) for domain in self.domains]

    def _write(self, part: str, domain: str, texts: list[str]) -> None:
        path = self.path(part, domain)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")


def _texts(folder: pathlib.Path) -> list[str]:
    lines = [
        line
        for path in sorted(folder.glob("*.jsonl"))
        for line in path.read_text(encoding="utf-8").splitlines()
        if line.strip()
    ]
    order = np.random.default_rng(0).permutation(len(lines))
    return [json.loads(lines[number])["text"] for number in order]
