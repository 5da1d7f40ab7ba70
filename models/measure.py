"""Measures the pair as served by two vLLM servers: `python -m models.measure --policy-url URL --reward-url URL`.

Samples the held-out problems, scores the samples that vote step by step, and prints the model card's table with 95 %
intervals and one JSON line. The same seed gives the same samples. With --save, samples are written to a file and read
from there when the command is given again, so that sampling and scoring can be done one after the other.
"""

import argparse
import asyncio
import hashlib
import json
import math
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from tokenizers import Tokenizer

from models.checker import Verdict, boxed_answer, check, split_steps
from models.heldout import held_out_problems, record
from models.problems import Problem
from models.tokenizer import BAD, GOOD, SEPARATOR, prompt_text
from reward_models.calibration import area_under_curve

PER_REQUEST = 16
RULES: dict[str, Callable[[list[float]], float]] = {"min": min, "last": lambda scores: scores[-1], "prod": math.prod}


@dataclass
class Measured:
    """One problem: its greedy solution, its samples, and the step scores of the first few samples."""

    problem: Problem
    greedy: str = ""
    samples: list[str] = field(default_factory=list)
    scores: list[list[float]] = field(default_factory=list)


class Served:
    """One vLLM server with one model; at most `parallel` requests in flight."""

    def __init__(self, url: str, http: httpx.AsyncClient, parallel: int) -> None:
        self.url, self.http, self.slots = url.rstrip("/"), http, asyncio.Semaphore(parallel)
        self.model = ""

    async def open(self) -> None:
        """Reads the served model's name; raises httpx.HTTPError if the server does not answer."""
        reply = await self.http.get(f"{self.url}/v1/models")
        reply.raise_for_status()
        self.model = reply.json()["data"][0]["id"]

    async def post(self, path: str, body: dict[str, object]) -> list[dict[str, Any]]:
        """The choices of one request; raises httpx.HTTPError."""
        async with self.slots:
            reply = await self.http.post(f"{self.url}{path}", json={"model": self.model, **body})
        reply.raise_for_status()
        choices: list[dict[str, Any]] = sorted(reply.json()["choices"], key=lambda choice: choice["index"])
        return choices


def derived_seed(*parts: object) -> int:
    """A 31-bit seed that depends on all parts."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:4], "big") >> 1


async def write(policy: Served, item: Measured, index: int, samples: int, seed: int) -> None:
    """Fills in the greedy solution and `samples` sampled ones (temperature 1)."""
    chat = {"messages": [{"role": "user", "content": item.problem.text}], "max_tokens": 256, "top_p": 1.0, "top_k": -1}

    async def ask(extra: dict[str, object]) -> list[str]:
        choices = await policy.post("/v1/chat/completions", {**chat, **extra})
        return [choice["message"]["content"] or "" for choice in choices]

    requests = [ask({"temperature": 0.0})]
    for start in range(0, samples, PER_REQUEST):
        n = min(PER_REQUEST, samples - start)
        requests.append(ask({"temperature": 1.0, "n": n, "seed": derived_seed(seed, index, start)}))
    greedy, *sampled = await asyncio.gather(*requests)
    item.greedy, item.samples = greedy[0], [text for texts in sampled for text in texts]


class Scorer:
    """P(everything up to here is right) after each step, each prefix asked once."""

    def __init__(self, reward: Served, tokenizer: Tokenizer) -> None:
        self.reward, self.tokenizer = reward, tokenizer
        self.labels = [tokenizer.token_to_id(label) for label in (GOOD, BAD)]
        self.known: dict[str, asyncio.Task[float]] = {}

    async def prefix(self, text: str) -> float:
        ids = self.tokenizer.encode(text, add_special_tokens=False).ids
        body = {"prompt": ids, "max_tokens": 1, "temperature": 0.0, "logprobs": 2, "logprob_token_ids": self.labels}
        body["return_tokens_as_token_ids"] = True
        choice = (await self.reward.post("/v1/completions", body))[0]
        found: dict[str, float] = choice["logprobs"]["top_logprobs"][0]
        good, bad = (found[f"token_id:{label}"] for label in self.labels)
        return 1 / (1 + math.exp(min(bad - good, 700)))

    async def steps(self, question: str, solution: str) -> list[float]:
        """One score in [0, 1] per step."""
        text, tasks = prompt_text(question), []
        for step in split_steps(solution):
            text += step + SEPARATOR
            if text not in self.known:
                self.known[text] = asyncio.create_task(self.prefix(text))
            tasks.append(self.known[text])
        return list(await asyncio.gather(*tasks))


def canonical(answer: str | None) -> str | None:
    """The whole number a box holds, without leading zeros; None if it holds none."""
    return str(int(answer)) if answer is not None and answer.isdecimal() and len(answer) < 10 else None


def vote(answers: list[str | None], weights: list[float]) -> str | None:
    """The answer with the largest total weight; the first seen wins ties."""
    totals: dict[str, float] = {}
    for answer, weight in zip(answers, weights, strict=True):
        if answer is not None:
            totals[answer] = totals.get(answer, 0.0) + weight
    return max(totals, key=totals.__getitem__) if totals else None


def interval(values: list[float]) -> tuple[float, float]:
    """Mean over problems and half the width of its 95 % interval."""
    mean = sum(values) / len(values)
    variance = sum((value - mean) ** 2 for value in values) / max(1, len(values) - 1)
    return mean, 1.96 * math.sqrt(variance / len(values))


def summarise(items: list[Measured], scored: int) -> dict[str, tuple[float, float]]:
    """Every figure of the model card as (value, half-width); the AUC has none and carries 0."""
    columns: dict[str, list[float]] = {}

    def add(name: str, value: float) -> None:
        columns.setdefault(name, []).append(float(value))

    labelled: list[tuple[float, bool]] = []
    for item in items:
        truth, verdicts = str(item.problem.asked.value), [check(item.problem, text) for text in item.samples]
        answers = [canonical(boxed_answer(text)) for text in item.samples]
        few = answers[:scored]
        add("greedy", check(item.problem, item.greedy).right)
        add("pass@1", sum(verdict.right for verdict in verdicts) / len(verdicts))
        add(f"pass@{scored}", truth in few)
        if len(answers) > scored:
            add(f"pass@{len(answers)}", truth in answers)
        add(f"majority@{scored}", vote(few, [1.0] * len(few)) == truth)
        for name, rule in RULES.items():
            weights = [rule(scores) if scores else 0.0 for scores in item.scores]
            add(f"vote@{scored} {name}", vote(few, weights) == truth)
            add(f"best@{scored} {name}", few[max(range(len(few)), key=weights.__getitem__)] == truth)
        for verdict, scores in zip(verdicts, item.scores, strict=False):
            labelled += up_to_first_error(verdict, scores)
        wrong = Counter(answer for answer in few if answer != truth)
        add("mode is wrong", bool(wrong) and wrong.most_common(1)[0][1] > few.count(truth))
    return {name: interval(values) for name, values in columns.items()} | {
        "step AUC": (area_under_curve(labelled), 0.0)
    }


def up_to_first_error(verdict: Verdict, scores: list[float]) -> list[tuple[float, bool]]:
    """Scores and labels of the right steps and of the first wrong one."""
    right = sum(verdict.prefix_right)
    return list(zip(scores, verdict.prefix_right, strict=True))[: right + 1]


async def write_all(url: str, items: list[Measured], scored: int, deep: int, deep_samples: int, seed: int) -> None:
    """Samples every problem `scored` times, the first `deep` of them `deep_samples` times."""
    async with httpx.AsyncClient(timeout=600) as http:
        policy = Served(url, http, 8)
        await policy.open()
        counts = (deep_samples if i < deep else scored for i in range(len(items)))
        await asyncio.gather(*(write(policy, items[i], i, n, seed) for i, n in enumerate(counts)))


async def score_all(url: str, items: list[Measured], scored: int) -> None:
    """Scores each step of the first `scored` samples of every problem."""
    tokenizer = Tokenizer.from_file(str(Path(__file__).with_name("tiny-prm") / "tokenizer.json"))
    async with httpx.AsyncClient(timeout=600) as http:
        reward = Served(url, http, 32)
        await reward.open()
        scorer = Scorer(reward, tokenizer)
        for item in items:
            texts = item.samples[:scored]
            item.scores = list(await asyncio.gather(*(scorer.steps(item.problem.text, text) for text in texts)))


def save(items: list[Measured], file: Path) -> None:
    """Writes one problem a line, with its greedy solution, samples and scores."""
    rows = (
        record(i, m.problem) | {"greedy": m.greedy, "samples": m.samples, "scores": m.scores}
        for i, m in enumerate(items)
    )
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def load(items: list[Measured], file: Path) -> None:
    """Reads what `save` wrote; raises ValueError if the file belongs to other problems."""
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    if [row["problem"] for row in rows] != [item.problem.text for item in items]:
        raise ValueError(f"{file} holds samples of other problems; remove it or give the --limit it was made with")
    for item, row in zip(items, rows, strict=True):
        item.greedy, item.samples = row["greedy"], row["samples"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--policy-url", required=True)
    parser.add_argument("--reward-url", help="without it, sampling is all that is done")
    parser.add_argument("--scored", type=int, default=16, help="samples per problem that are scored and vote")
    parser.add_argument("--deep", type=int, default=500, help="problems sampled more often, for the last pass@k")
    parser.add_argument("--deep-samples", type=int, default=64, help="how often those are sampled")
    parser.add_argument("--limit", type=int, default=500, help="problems")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--save", type=Path, help="file of samples and scores, one problem a line")
    arguments = parser.parse_args()
    started = time.monotonic()
    items = [Measured(problem) for problem in held_out_problems()[: arguments.limit]]
    if arguments.save and arguments.save.exists():
        load(items, arguments.save)
    else:
        asyncio.run(
            write_all(
                arguments.policy_url, items, arguments.scored, arguments.deep, arguments.deep_samples, arguments.seed
            )
        )
    if arguments.reward_url:
        asyncio.run(score_all(arguments.reward_url, items, arguments.scored))
    if arguments.save:
        save(items, arguments.save)
    if not arguments.reward_url:
        return
    seconds = round(time.monotonic() - started)
    table = summarise(items, arguments.scored)
    for name, (value, half) in table.items():
        print(f"{name:<16} {100 * value:5.1f} %" + (f" ± {100 * half:.1f}" if half else ""))
    figures = {name: [round(value, 4), round(half, 4)] for name, (value, half) in table.items()}
    print(json.dumps({"problems": len(items), "seed": arguments.seed, "seconds": seconds, **figures}))


if __name__ == "__main__":
    main()
