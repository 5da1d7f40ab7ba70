import io
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from rich.console import Console

from service.cli.client import Client
from service.cli.problems import Problem, read_problems
from service.cli.showcase import GREEDY, ONE, VOTE, Showcase, choose, comparison, read_card, run, tell_one
from service.errors import EngineUnavailable
from tests.service.cli.fake_gateway import URL, FakeGateway, candidate, completion, failure, vote

HELD_OUT = Path(__file__).parents[3] / "models" / "heldout.jsonl"
PROBLEMS = [Problem(f"p{i}", f"Say {i}", str(i)) for i in range(4)]


class SameText:
    """A grader that compares the texts."""

    async def equivalent(self, gold: str, answer: str) -> bool:
        return gold == answer


def answer(question: str, body: dict[str, Any]) -> dict[str, Any] | httpx.Response:
    """Sixteen are always right, greedy for even numbers, one sample never."""
    number = int(question.split()[1])
    strategy = body["mull"]["strategy"]["name"]
    if strategy == "best_of_n":
        votes = [vote(str(number), 0.8, 12), vote("99", 0.2, 4)]
        return completion(str(number), votes=votes, candidates=[candidate(str(number), (0.9, 0.95))])
    right = strategy == "greedy" and number % 2 == 0
    text = "Wrong step.\n\nWrong end."
    return completion(str(number) if right else "99", candidates=[candidate("99", (), text)])


def console() -> tuple[Console, io.StringIO]:
    out = io.StringIO()
    return Console(file=out, width=80, highlight=False, markup=False), out


async def shown(gateway: FakeGateway) -> tuple[Showcase, str]:
    screen, out = console()
    async with Client(URL, transport=gateway.transport) as client:
        showcase = await run(screen, client, SameText(), PROBLEMS, "tiny")
    return showcase, out.getvalue()


def test_the_choice_depends_on_the_ids_alone() -> None:
    """The ten do not change with the order of the file, nor with anything that was measured."""
    problems = read_problems(HELD_OUT)
    chosen = choose(problems, 10)
    assert choose(problems[::-1], 10) == chosen
    assert [problem.id for problem in choose([Problem(i, "?", "") for i in ("a", "b", "c")], 2)] == ["c", "b"]


async def test_each_problem_is_one_line_with_a_mark_per_way() -> None:
    """Printed as it is answered, also where there is no terminal."""
    _, text = await shown(FakeGateway(answer))
    lines = [line.split() for line in text.splitlines()]
    assert lines[1] == ["p0", "0", "✗", "99", "✓", "0", "✓", "0"]
    assert lines[2] == ["p1", "1", "✗", "99", "✗", "99", "✓", "1"]


async def test_the_json_line_counts_all_three_ways() -> None:
    """Accuracies per way; tokens of all questions together."""
    showcase, _ = await shown(FakeGateway(answer))
    figures = showcase.to_json()
    assert figures.pop("seconds") == round(showcase.seconds, 1)
    assert figures == {
        "accuracy_n1": 0.0,
        "accuracy_greedy": 0.5,
        "accuracy_n16": 1.0,
        "questions": 4,
        "policy_tokens": 1200,
        "reward_tokens": 4800,
    }


async def test_a_failed_question_ends_the_demo() -> None:
    """A demo with a hole in it shows nothing."""
    gateway = FakeGateway(lambda question, body: failure(503, "The policy is down.", "EngineUnavailable"))
    with pytest.raises(EngineUnavailable):
        await shown(gateway)


async def test_every_way_asks_what_its_title_says() -> None:
    """Two bare strategies and best_of_n with sixteen; scores and selection are the gateway's defaults."""
    gateway = FakeGateway(answer)
    await shown(gateway)
    asked = [body["mull"] for body in gateway.bodies[:3]]
    strategies = [{"name": "sample"}, {"name": "greedy"}, {"name": "best_of_n", "samples": 16}]
    assert sorted(asked, key=str) == sorted(
        [{"strategy": strategy, "include": ["candidates"]} for strategy in strategies], key=str
    )


async def test_the_table_puts_the_model_card_beside(tmp_path: Path) -> None:
    """Few questions have wide intervals, and they are printed; a missing figure is said to be missing."""
    card = tmp_path / "measured.json"
    card.write_text(json.dumps({"problems": 500, "pass@1": [0.452, 0.021], VOTE.figure: [0.8, 0.03]}))
    showcase, _ = await shown(FakeGateway(answer))
    screen, out = console()
    screen.print(comparison(showcase, read_card(card)))
    rows = {line.split("  ")[0].strip(): line for line in out.getvalue().splitlines()}
    assert rows[ONE.title].split("  ")[-1].strip() == "45.2% ± 2.1%"
    assert "0 of 4    0.0% to 49.0% " in rows[ONE.title]
    assert "not measured" in rows[GREEDY.title]
    assert max(len(line.rstrip()) for line in out.getvalue().splitlines()) <= 80
    assert read_card(tmp_path / "absent.json") == {}


async def test_the_story_is_the_first_problem_that_sixteen_saved() -> None:
    """Both solutions are shown, with the votes."""
    showcase, _ = await shown(FakeGateway(answer))
    screen, out = console()
    tell_one(screen, showcase)
    text = out.getvalue()
    assert "One of them in full: p0" in text
    assert text.index("Wrong step.") < text.index("█0.90  Step one.") < text.index("80.0%")


async def test_no_story_is_made_up() -> None:
    """Where sixteen saved no problem, that is said."""
    showcase, _ = await shown(FakeGateway(lambda question, body: completion("99")))
    screen, out = console()
    tell_one(screen, showcase)
    assert "None of these problems" in out.getvalue()
