"""Keys and grades on real solutions to MATH problems, graded by others; skipped where the file is absent."""

import asyncio
import json
from pathlib import Path

import pytest

from service.search.answers import MathAnswers

_SCORED = Path(__file__).resolve().parents[4] / "shared" / "data" / "scored_candidates.jsonl"

pytestmark = pytest.mark.skipif(not _SCORED.exists(), reason=f"{_SCORED} is absent")


async def test_grades_agree_with_those_of_others() -> None:
    """At least 97 % of the candidates are graded as in the file, and an answer is found in all but a few."""
    answers = MathAnswers()
    problems = [json.loads(line) for line in _SCORED.read_text().splitlines()]

    async def agrees(gold: str, text: str, correct: bool) -> bool:
        answer = await answers.read(text)
        return (answer is not None and await answers.equivalent(gold, answer.text)) is correct

    try:
        graded = await asyncio.gather(
            *(agrees(p["answer"], c["text"], c["correct"]) for p in problems for c in p["candidates"])
        )
    finally:
        await answers.aclose()
    assert len(graded) >= 400
    assert sum(graded) / len(graded) >= 0.97
