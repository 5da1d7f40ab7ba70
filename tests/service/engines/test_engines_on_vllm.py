"""The clients against real vLLM servers."""

import asyncio
import json
import random
import re
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from solutions import SOLUTIONS

from reward_models.label_token import LabelToken
from service.engines.fleet import Fleet
from service.engines.policy import VllmPolicy
from service.engines.probe import probe_policy, probe_reward
from service.engines.reward import VllmScorer
from service.errors import QuestionTooLong
from service.search.ports import Bill, Chunk, Sampling
from service.settings import PolicySettings, RewardSettings

pytestmark = pytest.mark.stack

MODELS = Path(__file__).resolve().parents[3] / "models"
PRM = MODELS / "tiny-prm"
HELD_OUT = MODELS / "heldout.jsonl"
QUESTION = "Al has 12 pens. Bo has 5 more pens than Al. Cy has 3 fewer pens than Bo. How many pens does Cy have?"
STEPS = [
    "From Al: Bo beats Al by 5 pens so Bo has 12 + 5 = 17 pens.\n\n",
    "From Bo: Cy trails Bo by 3 pens so Cy has 17 - 3 = 15 pens. The answer is \\boxed{15}.",
]


@pytest.fixture
def policy_settings(stack: Any) -> PolicySettings:
    return PolicySettings(model="models/tiny-policy", served_name="tiny-policy", url=stack.policy_url)


@pytest.fixture
def reward_settings(stack: Any) -> RewardSettings:
    return RewardSettings(model="models/tiny-prm", served_name="tiny-prm", url=stack.reward_url)


async def generate(
    policy: VllmPolicy,
    prompt: tuple[int, ...],
    seed: int,
    bill: Bill | None = None,
    sampling: Sampling | None = None,
    *,
    max_tokens: int = 60,
    stop_at_step: bool = False,
) -> list[Chunk]:
    stream = policy.stream(
        prompt,
        max_tokens=max_tokens,
        sampling=sampling or Sampling(temperature=1.0),
        seed=seed,
        bill=bill or Bill(),
        stop_at_step=stop_at_step,
    )
    async with aclosing(stream):
        return [chunk async for chunk in stream]


async def generate_steps(
    policy: VllmPolicy, prompt: tuple[int, ...], bills: list[Bill], sampling: Sampling, max_tokens: int
) -> list[list[Chunk]]:
    """Let the policy go on step by step to its end, and put the bill of each step on `bills`."""
    steps: list[list[Chunk]] = []
    while not steps or steps[-1][-1].finish_reason == "step":
        written = [token for step in steps for token in token_ids(step)]
        bills.append(Bill())
        steps.append(
            await generate(
                policy,
                (*prompt, *written),
                len(steps),
                bills[-1],
                sampling,
                max_tokens=max_tokens - len(written),
                stop_at_step=True,
            )
        )
    return steps


async def counted(engine: Fleet) -> Bill:
    """Return what vLLM says that it has read, found in its cache and generated since it started, once it is idle."""
    for _ in range(200):
        text = await engine.text("/metrics")
        names = ("prompt_tokens_total", "prompt_tokens_cached_total", "generation_tokens_total", "num_requests_running")
        found = [re.findall(rf"^vllm:{name}(?:\{{[^}}]*\}})? (\S+)$", text, re.MULTILINE) for name in names]
        prompt, cached, generated, running = [sum(int(float(value)) for value in values) for values in found]
        if running == 0:
            return Bill(prompt, cached, generated, exact=True)
        await asyncio.sleep(0.05)
    raise AssertionError(f"{running} requests still run")


async def block_size(engine: Fleet) -> int:
    """Return how many tokens a block of the engine's prefix cache holds."""
    found = re.search(r'^vllm:cache_config_info\{.*\bblock_size="(\d+)"', await engine.text("/metrics"), re.MULTILINE)
    assert found is not None
    return int(found[1])


def token_ids(run: list[Chunk]) -> list[int]:
    return [token for chunk in run for token in chunk.token_ids]


async def test_a_seeded_stream_is_repeatable_and_its_ids_are_its_text(policy_settings: PolicySettings) -> None:
    """The same seed gives the same ids, another seed others; joined ids decode to the joined text."""
    bill = Bill()
    async with Fleet(policy_settings) as client:
        policy = VllmPolicy(policy_settings, client)
        prompt = await policy.prompt_ids([{"role": "user", "content": QUESTION}])
        runs = [await generate(policy, prompt, seed, bill) for seed in (1, 1, 2)]
        ids = [token_ids(run) for run in runs]
        shown = await client.post("/detokenize", {"tokens": ids[0]})
    assert ids[0] == ids[1] != ids[2]
    assert shown["prompt"].removesuffix("<eos>") == "".join(chunk.text for chunk in runs[0])
    assert (bill.prompt, bill.generated, bill.exact) == (len(prompt), len(ids[2]), True)


@pytest.mark.parametrize("case", [name for name in SOLUTIONS if name != "long steps"])  # its context is 512 tokens
async def test_a_score_is_what_the_weights_say(reward_settings: RewardSettings, case: str) -> None:
    """The same arithmetic done by transformers and torch on the same folder, to 1e-4."""
    bill = Bill()
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    question, steps = SOLUTIONS[case]
    async with Fleet(reward_settings) as client:
        scorer = VllmScorer(reward_settings, client)
        price = await scorer.price(question, steps, 0)
        scores = await scorer.score(question, steps, 0, bill)
    tokenizer = transformers.AutoTokenizer.from_pretrained(PRM)
    model = transformers.AutoModelForCausalLM.from_pretrained(PRM, dtype=torch.float32).eval()
    labels = tokenizer.convert_tokens_to_ids(["<good>", "<bad>"])
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": question}], tokenize=False, add_generation_prompt=True
    )
    expected, submitted = [], 0
    for step in steps:
        text += step.strip() + "\n\n"
        ids = tokenizer(text, add_special_tokens=False, return_tensors="pt").input_ids
        with torch.no_grad():
            logits = model(ids).logits[0, -1, labels]
        expected.append(torch.softmax(logits, 0)[0].item())
        submitted += ids.shape[1]
    assert scores == pytest.approx(expected, abs=1e-4)
    assert price == bill.prompt == submitted


async def test_a_question_that_cannot_fit_is_refused_and_hurts_no_engine(policy_settings: PolicySettings) -> None:
    """The error names the limit; the next question is answered."""
    async with Fleet(policy_settings) as client:
        policy = VllmPolicy(policy_settings, client)
        with pytest.raises(QuestionTooLong, match="tokens in all"):
            await policy.prompt_ids([{"role": "user", "content": "How many pens? " * 1000}])
        await policy.ready()


async def test_the_stacks_own_engines_lack_nothing(
    policy_settings: PolicySettings, reward_settings: RewardSettings
) -> None:
    """What `mull doctor` tries works on the servers that `mull up` starts, abort and cached-token counts included."""
    async with Fleet(policy_settings) as of_policy, Fleet(reward_settings) as of_reward:
        findings = await probe_policy(policy_settings, of_policy) + await probe_reward(reward_settings, of_reward)
    assert [finding for finding in findings if not finding.ok] == []
    assert len(findings) == 12


async def test_the_doctor_says_what_a_wrong_label_is(reward_settings: RewardSettings) -> None:
    """It stops there: without labels there is nothing else to try."""
    wrong = reward_settings.model_copy(update={"family": LabelToken(good_token="yes")})
    async with Fleet(wrong) as client:
        findings = await probe_reward(wrong, client)
    assert [finding.ok for finding in findings] == [True, False]
    assert "good_token 'yes'" in findings[-1].detail


async def test_a_seeded_stream_is_the_same_alone_and_in_a_batch(policy_settings: PolicySettings) -> None:
    """What else an engine is doing changes nothing about a candidate (float32 on a CPU; a GPU promises less)."""
    async with Fleet(policy_settings) as client:
        policy = VllmPolicy(policy_settings, client)
        prompt = await policy.prompt_ids([{"role": "user", "content": QUESTION}])
        alone = await generate(policy, prompt, 3)
        batch = await asyncio.gather(*(generate(policy, prompt, seed) for seed in range(8)))
    assert token_ids(batch[3]) == token_ids(alone)


@pytest.mark.parametrize("top", [0, 5])
async def test_log_probabilities_are_those_of_the_tokens(policy_settings: PolicySettings, top: int) -> None:
    """One entry per token; at temperature 1 a greedy reader would find the sampled one among the top ones or below."""
    async with Fleet(policy_settings) as client:
        policy = VllmPolicy(policy_settings, client)
        prompt = await policy.prompt_ids([{"role": "user", "content": QUESTION}])
        run = await generate(policy, prompt, 1, sampling=Sampling(temperature=1.0, logprobs=top))
        plain = await generate(policy, prompt, 1)
    entries = [entry for chunk in run for entry in chunk.logprobs]
    assert token_ids(run) == token_ids(plain)
    assert len(entries) == len(token_ids(run))
    assert {len(entry.top) for entry in entries} == {top}
    assert all(entry.sampled <= 0 and list(entry.top) == sorted(entry.top, reverse=True) for entry in entries)
    assert all(entry.sampled in entry.top or entry.sampled <= min(entry.top) for entry in entries if top)


async def test_the_bills_of_cancelled_streams_are_the_engines_own_count(policy_settings: PolicySettings) -> None:
    """Given up at any moment, before the first token and after the last: the sums are /metrics to the token."""
    rng = random.Random(3)
    bills = [Bill() for _ in range(48)]
    async with Fleet(policy_settings) as engine:
        policy = VllmPolicy(policy_settings, engine)
        prompt = await policy.prompt_ids([{"role": "user", "content": QUESTION}])
        before = await counted(engine)
        tasks = [asyncio.create_task(generate(policy, prompt, seed, bill)) for seed, bill in enumerate(bills)]
        for task in rng.sample(tasks, len(tasks)):
            await asyncio.sleep(rng.choice([0, 0, 0.005, 0.02]))
            task.cancel()
        await asyncio.wait(tasks)
        after = await counted(engine)
    assert all(bill.exact for bill in bills)
    assert any(task.cancelled() for task in tasks)
    assert sum(bill.prompt for bill in bills) == after.prompt - before.prompt
    assert sum(bill.generated for bill in bills) == after.generated - before.generated
    assert sum(bill.cached or 0 for bill in bills) == (after.cached or 0) - (before.cached or 0)


async def test_the_bills_of_cancelled_scores_are_the_engines_own_count(reward_settings: RewardSettings) -> None:
    """A score that is given up was read, or was not."""
    bills = [Bill() for _ in range(24)]
    async with Fleet(reward_settings) as engine:
        scorer = VllmScorer(reward_settings, engine)
        await scorer.price(QUESTION, STEPS, 0)
        before = await counted(engine)
        tasks = [asyncio.create_task(scorer.score(QUESTION, STEPS, 0, bill)) for bill in bills]
        for task in tasks[::2]:
            await asyncio.sleep(0.005)
            task.cancel()
        await asyncio.wait(tasks)
        after = await counted(engine)
    assert all(bill.exact for bill in bills)
    assert any(task.cancelled() for task in tasks)
    assert sum(bill.prompt for bill in bills) == after.prompt - before.prompt
    assert sum(bill.generated for bill in bills) == after.generated - before.generated


async def test_a_solution_written_step_by_step_is_the_one_written_at_once(policy_settings: PolicySettings) -> None:
    """Greedily, text and ids; every step but the last ends with its separator, and reads no more than it must.

    What the prefix cache cannot hold is the block that is not full yet, and at least the last token. The bills are the
    engine's own count.
    """
    questions = [json.loads(line)["problem"] for line in HELD_OUT.read_text().splitlines()[:12]]
    greedy, limit = Sampling(temperature=0.0), 320
    async with Fleet(policy_settings) as engine:
        policy = VllmPolicy(policy_settings, engine)
        prompts = [await policy.prompt_ids([{"role": "user", "content": question}]) for question in questions]
        whole = await asyncio.gather(
            *(generate(policy, prompt, 0, None, greedy, max_tokens=limit) for prompt in prompts)
        )
        before = await counted(engine)
        bills: list[list[Bill]] = [[] for _ in prompts]
        written = await asyncio.gather(
            *(generate_steps(policy, prompt, bill, greedy, limit) for prompt, bill in zip(prompts, bills, strict=True))
        )
        after, block = await counted(engine), await block_size(engine)
    for run, steps, costs in zip(whole, written, bills, strict=True):
        texts = ["".join(chunk.text for chunk in step) for step in steps]
        assert "".join(texts) == "".join(chunk.text for chunk in run)
        assert [token for step in steps for token in token_ids(step)] == token_ids(run)
        assert len(texts) > 1
        assert all(text.endswith("\n\n") for text in texts[:-1])
        assert [bill.generated for bill in costs] == [len(token_ids(step)) for step in steps]
        assert all(bill.prompt - (bill.cached or 0) == (bill.prompt - 1) % block + 1 for bill in costs[1:])
    everything = [bill for costs in bills for bill in costs]
    assert all(bill.exact for bill in everything)
    assert sum(bill.prompt for bill in everything) == after.prompt - before.prompt
    assert sum(bill.generated for bill in everything) == after.generated - before.generated
    assert sum(bill.cached or 0 for bill in everything) == (after.cached or 0) - (before.cached or 0)


async def test_log_probabilities_of_a_step_go_up_to_its_separator(policy_settings: PolicySettings) -> None:
    """The token whose text the engine leaves out is judged like any other."""
    async with Fleet(policy_settings) as client:
        policy = VllmPolicy(policy_settings, client)
        prompt = await policy.prompt_ids([{"role": "user", "content": QUESTION}])
        run = await generate(policy, prompt, 1, sampling=Sampling(temperature=1.0, logprobs=0), stop_at_step=True)
    assert run[-1].finish_reason == "step"
    assert sum(len(chunk.logprobs) for chunk in run) == len(token_ids(run))
