"""Asks BFCL's own checker about mutated answers, for the test of our rules of function calls.

  python3 -m venv bfcl
  bfcl/bin/pip install --no-deps bfcl-eval==2026.3.23 tenacity filelock python-dotenv tree-sitter==0.21.3 \\
      tree-sitter-java==0.21.0 tree-sitter-javascript==0.21.4
  bfcl/bin/python scripts/bfcl_verdicts.py --data $HIGHNOON_DATA \\
      --out tests/evaluation/tasks/bfcl_verdicts.json

The fixture holds the id of each row, the mutation, its seed, the verdict and a hash of the answer: no text of
BFCL. `call_mutations.answer_of` makes an answer again from the rows.
"""

from __future__ import annotations

import argparse
import collections
import hashlib
import json
import pathlib
import random
import sys
import types
from collections.abc import Iterator

from call_mutations import KEEPING, MUTATIONS, Row, answer_of

NUM_ANSWERS = 500
FOLDER = "tasks/function_call"


def answer_hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def read_rows(data: pathlib.Path) -> dict[str, Row]:
    """Returns the rows of the shared data by their ids."""
    lines = [line for path in sorted((data / FOLDER).glob("bfcl_*.jsonl")) for line in path.open()]
    return {row["id"]: row for row in map(json.loads, lines)}


def draw_cases(rows: dict[str, Row], seed: int) -> Iterator[tuple[str, str, int, str]]:
    """Yields row, mutation, seed and answer; each kind in turn, those of `KEEPING` twice."""
    rng = random.Random(seed)
    ids, seen = sorted(rows), set()
    names = [name for name in MUTATIONS for _ in range(2 if name in KEEPING else 1)]
    while True:
        for name in names:
            for row_id in rng.sample(ids, len(ids)):
                case_seed = rng.randrange(10_000)
                text = answer_of(rows[row_id], name, case_seed)
                if text is not None and (row_id, text) not in seen:
                    seen.add((row_id, text))
                    yield row_id, name, case_seed, text
                    break


def bfcl_verdict(row: Row, text: str) -> bool:
    """Returns what BFCL's checker says; its table of models, which imports their clients, is replaced."""
    table = types.ModuleType("bfcl_eval.constants.model_config")
    table.MODEL_CONFIG_MAPPING = {"exact": types.SimpleNamespace(underscore_to_dot=False)}
    sys.modules.setdefault(table.__name__, table)
    from bfcl_eval.constants.enums import Language
    from bfcl_eval.eval_checker.ast_eval.ast_checker import ast_checker
    from bfcl_eval.model_handler.utils import ast_parse

    try:
        calls = [{call["name"]: call["arguments"]} for call in json.loads(text)]
    except ValueError:
        try:
            calls = ast_parse(text)
        except (SyntaxError, ValueError):
            return False  # BFCL counts what cannot be decoded as wrong
    category = row["id"].rpartition("_")[0]
    return ast_checker(row["functions"], calls, row["expected"], Language.PYTHON, category, "exact")["valid"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=pathlib.Path, required=True, help="the folder of the shared data")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="the fixture to write")
    parser.add_argument("--seed", type=int, default=17)
    arguments = parser.parse_args()
    rows, cases = read_rows(arguments.data), []
    for row_id, name, seed, text in draw_cases(rows, arguments.seed):
        verdict = bfcl_verdict(rows[row_id], text)
        cases.append([row_id, name, seed, verdict, answer_hash(text)])
        if len(cases) == NUM_ANSWERS:
            break
    counts = collections.Counter(verdict for _, _, _, verdict, _ in cases)
    if min(counts[True], counts[False]) < 0.4 * NUM_ANSWERS:
        raise SystemExit(f"expected each verdict at least 40 percent of {NUM_ANSWERS}; received {counts}")
    by_kind = collections.defaultdict(collections.Counter)
    for _, name, _, verdict, _ in cases:
        by_kind[name][verdict] += 1
    for name, found in by_kind.items():
        print(f"{name:28} valid {found[True]:3}  invalid {found[False]:3}")
    print(f"{len(by_kind)} kinds, {dict(counts)}")
    fields = ["row", "mutation", "seed", "verdict", "sha256"]
    lines = ",\n".join(json.dumps(case) for case in cases)
    head = json.dumps({"checker": "bfcl-eval 2026.3.23", "fields": fields})[:-1]
    arguments.out.write_text(f'{head}, "cases": [\n{lines}\n]}}\n')


if __name__ == "__main__":
    main()
