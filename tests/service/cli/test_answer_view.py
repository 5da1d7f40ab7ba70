import io

from rich.console import Console

from service.cli.answer import show
from service.cli.outcome import Outcome
from tests.service.cli.fake_gateway import candidate, completion, vote


def rendered(answer: str | None = "35", **mull: object) -> str:
    """What an 80-column terminal without colour shows, less the blanks at the ends of lines."""
    body = completion(answer, **mull)
    out = io.StringIO()
    console = Console(file=out, width=80, highlight=False, markup=False)
    show(console, Outcome.model_validate(body["mull"]), cache="miss")
    return "\n".join(line.rstrip() for line in out.getvalue().split("\n"))


def test_the_answer_leads_and_the_votes_follow() -> None:
    """Each answer has its share and its number of candidates."""
    text = rendered(confidence=0.75, votes=[vote("35", 0.75, 11), vote("41", 0.25, 1)])
    assert text.startswith("Answer: 35   with 75.0% of the votes")
    assert "75.0%" in text.split("Votes")[1]
    assert "11 candidates" in text
    assert "25.0%" in text
    assert "1 candidate\n" in text


def test_each_step_stands_beside_its_score() -> None:
    """The best candidate is shown in full, step by step."""
    text = rendered(candidates=[candidate("35", (0.99, 0.31))])
    assert "█0.99  Step one." in text
    assert "▃0.31  Step two." in text


def test_scores_that_do_not_fit_the_text_are_not_pinned_to_steps() -> None:
    """Another separator than a blank line must not put a score beside the wrong step."""
    text = rendered(candidates=[candidate("35", (0.99, 0.98, 0.97))])
    assert "█0.99 █0.98 █0.97\n" in text
    assert "\n  Step one.\n" in text


def test_every_line_fits_80_columns() -> None:
    """Sixteen candidates of ten steps with long answers, and wide solutions, stay readable."""
    many = [candidate("x" * 60, (0.5,) * 10, "word " * 100) for _ in range(20)]
    text = rendered(candidates=many, votes=[vote("x" * 60, 0.6, 12), vote("y" * 60, 0.4, 8)])
    assert max(len(line) for line in text.splitlines()) <= 80
    assert "and 4 more" in text


def test_the_cost_is_told() -> None:
    """All policy tokens with what was kept of them, reward tokens, seconds, the cache's part."""
    text = rendered()
    assert "policy tokens 100 (20 kept, 80 discarded), reward tokens 400" in text
    assert "0.50 s, cache: miss" in text


def test_an_estimated_cost_says_so() -> None:
    """What the engine could not tell is not shown as if it had."""
    policy = {"kept": 20, "discarded": 80, "prompt": 30, "cached": 0, "estimated": True}
    reward = {"submitted": 400, "cached": 0, "generated": 4, "estimated": True}
    text = rendered(usage={"policy": policy, "reward": reward})
    assert "policy tokens about 100" in text
    assert "reward tokens about 400" in text


def test_a_continued_search_shows_both_bills() -> None:
    """What was paid before, and what this run has cost."""
    policy = {"kept": 0, "discarded": 60, "prompt": 30, "cached": 0, "estimated": False}
    reward = {"submitted": 300, "cached": 0, "generated": 4, "estimated": False}
    text = rendered(continued={"policy": policy, "reward": reward})
    assert "paid before: policy tokens 60, reward tokens 300" in text
    assert "paid now:    policy tokens 40, reward tokens 100" in text


def test_remembered_scores_are_shown_beside_what_was_paid() -> None:
    """A search that was spared some of its scoring says so."""
    policy = {"kept": 20, "discarded": 80, "prompt": 30, "cached": 0, "estimated": False}
    reward = {"submitted": 400, "cached": 0, "generated": 4, "remembered": 1200, "estimated": False}
    text = rendered(usage={"policy": policy, "reward": reward})
    assert "scores remembered from other searches, at no cost: 1,200" in text


def test_a_vote_that_was_decided_early_is_no_limit() -> None:
    """It is as good as a complete one."""
    text = rendered(stopped_by="decided")
    assert "(decided early)" in text
    assert "stopped by" not in text


def test_scores_of_whole_candidates_are_shown_as_they_are() -> None:
    """A log-probability is negative: it has no bar, and no steps."""
    text = rendered(candidates=[candidate("35") | {"score": -0.31}, candidate("41") | {"score": -1.5}])
    lines = [line.split() for line in text.splitlines() if line.strip().startswith(("1 ", "2 "))]
    assert lines == [["1", "35", "20", "-0.31"], ["2", "41", "20", "-1.5"]]
    assert "steps" not in text


def test_what_a_model_writes_cannot_steer_the_terminal() -> None:
    """Escape sequences lose their escape character; markup stays text."""
    text = rendered(candidates=[candidate("35", (0.9, 0.9), "\x1b[2JStep [bold]one.\n\nStep\rtwo.")])
    assert "\x1b" not in text
    assert "\r" not in text
    assert "[bold]one." in text


def test_an_early_end_a_missing_answer_and_warnings_are_said() -> None:
    """Nothing that limits the answer's worth is hidden."""
    text = rendered(answer=None, votes=[], stopped_by="deadline", warnings=["temperature 0 was replaced"])
    assert "No answer was found" in text
    assert "stopped by: deadline" in text
    assert "warning: temperature 0 was replaced" in text


def test_a_solution_that_several_samples_gave_says_how_many() -> None:
    """Where no solution was sampled twice there is no such column."""
    text = rendered(candidates=[candidate("35", (0.9,), multiplicity=3), candidate("41", (0.8,))])
    lines = [line.split() for line in text.splitlines() if line.strip().startswith(("#", "1 ", "2 "))]
    assert lines == [
        ["#", "answer", "tokens", "samples", "score", "steps"],
        ["1", "35", "20", "3", "█0.90", "█0.90"],
        ["2", "41", "20", "1", "▇0.80", "▇0.80"],
    ]
    assert "samples" not in rendered(candidates=[candidate("35", (0.9,)), candidate("41", (0.8,))])
