"""The clients against real vLLM servers."""

import asyncio
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from service.engines.http import engine_client
from service.engines.policy import VllmPolicy
from service.engines.probe import probe_policy, probe_reward
from service.engines.reward import VllmScorer
from service.errors import QuestionTooLong
from service.search.ports import Chunk, Sampling
from service.settings import PolicySettings, RewardSettings

pytestmark = pytest.mark.stack

PRM = Path(__file__).resolve().parents[3] / "models" / "tiny-prm"
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


async def generate(policy: VllmPolicy, prompt: tuple[int, ...], seed: int) -> list[Chunk]:
    stream = policy.stream(prompt, max_tokens=60, sampling=Sampling(temperature=1.0), seed=seed)
    async with aclosing(stream):
        return [chunk async for chunk in stream]


def token_ids(run: list[Chunk]) -> list[int]:
    return [token for chunk in run for token in chunk.token_ids]


async def test_a_seeded_stream_is_repeatable_and_its_ids_are_its_text(policy_settings: PolicySettings) -> None:
    """The same seed gives the same ids, another seed others; joined ids decode to the joined text."""
    async with engine_client(policy_settings) as http:
        policy = VllmPolicy(policy_settings, http)
        prompt = await policy.prompt_ids([{"role": "user", "content": QUESTION}])
        runs = [await generate(policy, prompt, seed) for seed in (1, 1, 2)]
        ids = [token_ids(run) for run in runs]
        shown = await http.post("/detokenize", json={"model": "tiny-policy", "tokens": ids[0]})
    assert ids[0] == ids[1] != ids[2]
    assert shown.json()["prompt"].removesuffix("<eos>") == "".join(chunk.text for chunk in runs[0])
    assert runs[0][-1].prompt_tokens == len(prompt)


async def test_a_score_is_what_the_weights_say(reward_settings: RewardSettings) -> None:
    """The same arithmetic done by transformers and torch on the same folder, to 1e-4."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    async with engine_client(reward_settings) as http:
        scorer = VllmScorer(reward_settings, http)
        price = await scorer.price(QUESTION, STEPS, 0)
        scores = await scorer.score(QUESTION, STEPS, 0)
    tokenizer = transformers.AutoTokenizer.from_pretrained(PRM)
    model = transformers.AutoModelForCausalLM.from_pretrained(PRM, dtype=torch.float32).eval()
    labels = tokenizer.convert_tokens_to_ids(["<good>", "<bad>"])
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": QUESTION}], tokenize=False, add_generation_prompt=True
    )
    expected, submitted = [], 0
    for step in STEPS:
        text += step.strip() + "\n\n"
        ids = tokenizer(text, add_special_tokens=False, return_tensors="pt").input_ids
        with torch.no_grad():
            logits = model(ids).logits[0, -1, labels]
        expected.append(torch.softmax(logits, 0)[0].item())
        submitted += ids.shape[1]
    assert scores.values == pytest.approx(expected, abs=1e-4)
    assert price == scores.submitted == submitted


async def test_a_question_that_cannot_fit_is_refused_and_hurts_no_engine(policy_settings: PolicySettings) -> None:
    """The error names the limit; the next question is answered."""
    async with engine_client(policy_settings) as http:
        policy = VllmPolicy(policy_settings, http)
        with pytest.raises(QuestionTooLong, match="tokens in all"):
            await policy.prompt_ids([{"role": "user", "content": "How many pens? " * 1000}])
        await policy.ready()


async def test_the_stacks_own_engines_lack_nothing(
    policy_settings: PolicySettings, reward_settings: RewardSettings
) -> None:
    """What `mull doctor` tries works on the servers that `mull up` starts, abort and cached-token counts included."""
    async with engine_client(policy_settings) as policy_http, engine_client(reward_settings) as reward_http:
        findings = await probe_policy(policy_settings, policy_http) + await probe_reward(reward_settings, reward_http)
    assert [finding for finding in findings if not finding.ok] == []
    assert len(findings) == 10


async def test_the_doctor_says_what_a_wrong_label_is(reward_settings: RewardSettings) -> None:
    """It stops there: without labels there is nothing else to try."""
    wrong = reward_settings.model_copy(update={"good_token": "yes"})
    async with engine_client(wrong) as http:
        findings = await probe_reward(wrong, http)
    assert [finding.ok for finding in findings] == [True, False]
    assert "good_token 'yes'" in findings[-1].detail


async def test_a_seeded_stream_is_the_same_alone_and_in_a_batch(policy_settings: PolicySettings) -> None:
    """What else an engine is doing changes nothing about a candidate (float32 on a CPU; a GPU promises less)."""
    async with engine_client(policy_settings) as http:
        policy = VllmPolicy(policy_settings, http)
        prompt = await policy.prompt_ids([{"role": "user", "content": QUESTION}])
        alone = await generate(policy, prompt, 3)
        batch = await asyncio.gather(*(generate(policy, prompt, seed) for seed in range(8)))
    assert token_ids(batch[3]) == token_ids(alone)
