"""Solutions of the tiny policy with their exact first error, in ProcessBench's form: `python -m models.processbench`.

ProcessBench: Zheng et al. 2024, arXiv:2412.06559. One solution each of 400 held-out problems, half of them right at
every step (label -1). Of every second problem the first right one among at most 40 samples is taken, of the others the
first wrong one, so that right and wrong ones are of the same kinds of problems, as far as right ones are to be had.
"""

import json
import random
from pathlib import Path

import torch
from safetensors.torch import load_file

from models.checker import check, split_steps
from models.examples import Examples
from models.export import hugging_face_name
from models.heldout import held_out_problems
from models.network import POLICY, Llama
from models.problems import Problem
from models.sample import sample
from models.tokenizer import build_tokenizer, prompt_text

FILE = Path(__file__).with_name("processbench.jsonl")
WEIGHTS = Path(__file__).with_name("tiny-policy") / "model.safetensors"
SEED, PER_HALF = 20261122, 200
ROUNDS, SAMPLES, PROBLEMS = 10, 4, 64  # samples per problem and round, problems per batch
LIMIT = 280  # tokens of a solution: what goes on for longer is left out, since its last step is not whole


def first_wrong(problem: Problem, solution: str) -> int:
    """The index of the first step that is wrong, or -1."""
    labels = check(problem, solution).prefix_right
    return -1 if all(labels) else labels.index(False)


def item(index: int, problem: Problem, solution: str) -> dict[str, object]:
    """One line of the file: `index` is the problem's place in heldout.jsonl."""
    return {
        "id": f"heldout-{index:03d}",
        "generator": "tiny-policy",
        "problem": problem.text,
        "steps": split_steps(solution),
        "final_answer_correct": check(problem, solution).right,
        "label": first_wrong(problem, solution),
    }


def solutions(problems: dict[int, Problem], seed: int) -> dict[int, str]:
    """Samples at temperature 1 until each problem has the solution it wants, a right one where its key is even."""
    tokenizer = build_tokenizer()
    examples = Examples(tokenizer)
    model = Llama(POLICY, tokenizer.get_vocab_size())
    weights = load_file(WEIGHTS)
    model.load_state_dict({name: weights[hugging_face_name(name)].float() for name in model.state_dict()})
    found: dict[int, str] = {}
    for turn in range(ROUNDS):
        wanting = sorted(problems.keys() - found.keys(), key=lambda index: (len(problems[index].text), index))
        for start in range(0, len(wanting), PROBLEMS):
            batch = wanting[start : start + PROBLEMS]
            prompts = [examples.encode(prompt_text(problems[index].text)) for index in batch for _ in range(SAMPLES)]
            generator = torch.Generator().manual_seed(random.Random(f"{seed}/{turn}/{start}").getrandbits(31))
            written = sample(model, prompts, examples.eos, 1.0, generator, LIMIT)
            for place, ids in enumerate(written):
                index, text = batch[place // SAMPLES], tokenizer.decode(ids)
                whole = len(ids) < LIMIT and bool(split_steps(text))
                if whole and index not in found and (first_wrong(problems[index], text) < 0) == (index % 2 == 0):
                    found[index] = text
    return found


def main() -> None:
    torch.set_num_threads(1)  # sums in another order may sample other tokens
    problems = dict(enumerate(held_out_problems()))
    found = solutions(problems, SEED)
    right, wrong = ([index for index in sorted(found) if index % 2 == half][:PER_HALF] for half in (0, 1))
    lines = [json.dumps(item(index, problems[index], found[index])) for index in sorted(right + wrong)]
    FILE.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
