"""The policy's own solutions with exact labels: `python -m models.own_samples CHECKPOINT --problems N --out FILE`.

Four samples of each training problem; all are kept where at most two are right (the policy's systematic errors), a
third elsewhere. Lines are appended, so a run that was cut is continued by giving the command again.
"""

import argparse
import json
import random
from pathlib import Path

import torch

from models.checker import check, error_place, split_steps
from models.examples import Examples
from models.network import POLICY, Llama
from models.sample import sample
from models.tokenizer import build_tokenizer, prompt_text
from models.traces import draw_training_problem

SAMPLES, PROBLEMS = 4, 64  # per problem, per batch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("checkpoint", type=Path, help="state.pt of the policy's run")
    parser.add_argument("--problems", type=int, default=4000)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    tokenizer = build_tokenizer()
    examples = Examples(tokenizer)
    model = Llama(POLICY, tokenizer.get_vocab_size())
    model.load_state_dict(torch.load(arguments.checkpoint)["model"])
    done = len(arguments.out.read_text().splitlines()) if arguments.out.exists() else 0
    for batch in range(done, -(-arguments.problems // PROBLEMS)):
        rng = random.Random(f"own {arguments.seed}/{batch}")
        generator = torch.Generator().manual_seed(arguments.seed * 100_003 + batch)
        problems = sorted((draw_training_problem(rng, 8) for _ in range(PROBLEMS)), key=lambda p: len(p.text))
        prompts = [examples.encode(prompt_text(p.text)) for p in problems for _ in range(SAMPLES)]
        texts = [tokenizer.decode(ids) for ids in sample(model, prompts, examples.eos, 1.0, generator)]
        kept = []
        for i, problem in enumerate(problems):
            verdicts = [(text, check(problem, text)) for text in texts[i * SAMPLES : (i + 1) * SAMPLES]]
            hard = sum(verdict.right for _, verdict in verdicts) <= SAMPLES // 2
            for text, verdict in verdicts:
                if (hard or rng.random() < 1 / 3) and verdict.prefix_right:
                    labels = list(verdict.prefix_right)
                    steps = split_steps(text)
                    error = 0 if all(labels) else error_place(problem, steps[labels.index(False)])
                    kept.append({"question": problem.text, "steps": steps, "labels": labels, "error": error})
        with arguments.out.open("a") as out:  # one line per batch, so that a cut loses at most one
            out.write(json.dumps(kept) + "\n")


if __name__ == "__main__":
    main()
