from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from reward_models.critique import first_error, first_wrong, shares_right, verdict
from reward_models.judge import Judge
from reward_models.protocol import Answer

NO_VOTE = "I cannot tell."
VOTES = st.integers(1, 12).flatmap(
    lambda steps: st.tuples(st.just(steps), st.lists(st.integers(-1, steps - 1), min_size=1, max_size=64))
)


def prompt(steps: Sequence[str], question: str = "How many?") -> str:
    (turn,) = Judge().requests(question, steps, 0)[0].turns
    return turn.content


def critiques(named: Sequence[int | None], steps: int) -> list[Answer]:
    return [Answer(text=NO_VOTE if n is None else f"So it is \\boxed{{{n}}}.", steps=steps) for n in named]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("Paragraph 0 is right.\n\nParagraph 1 adds instead of subtracting.\n\n\\boxed{1}", 1),
        ("All paragraphs are correct. \\boxed{-1}", -1),
        ("The index is $\\boxed{2}$.", 2),
        ("**Final answer:** \\[\n\\boxed{0}\n\\]", 0),
        ("\\boxed{ -1 }", -1),
        ("\\boxed{\u22121}", -1),
        ("\\boxed{\\text{-1}}", -1),
        ("\\boxed{\\text{paragraph\\_2}}", 2),
        ("\\boxed{paragraph_2}", 2),
        ("\\boxed{<paragraph_2>}", 2),
        ("\\boxed{\\mathrm{Paragraph 1}}", 1),
        ("\\boxed {1}", 1),
        ("\\boxed{1}\n\n<paragraph_2> is right again.", 1),
        ("I first thought \\boxed{2}, but the error is earlier: \\boxed{1}", 1),
        ("Paragraph 2 says \\boxed{14}, which is right.\n\\boxed{-1}", -1),
        ("<think>\nIs it \\boxed{2}? No.\n</think>\n\nThe first error is in \\boxed{1}.", 1),
        ("Maybe 2 \\boxed{2}</think>\\boxed{1}", 1),
        ("\\boxed{1} as paragraph 2 writes </paragraph_2>", 1),
        ("第一处错误 \\boxed{2}", 2),
    ],
)
def test_the_index_in_the_last_box_is_a_vote(text: str, named: int) -> None:
    """As models write it; what is thought, quoted or taken back before it does not count."""
    assert first_error(text, 3) == named


@pytest.mark.parametrize(
    "text",
    [
        "",
        "The first error is in paragraph 1.",
        "\\boxed{}",
        "\\boxed{3}",
        "\\boxed{-2}",
        "\\boxed{none}",
        "\\boxed{1.5}",
        "\\boxed{0, 2}",
        "\\boxed{2x + 1}",
        "\\boxed{2x}",
        "\\boxed{\\frac{1}{2}}",
        "\\boxed{99999999999999999999}",
        "\\boxed{1",
        "\\boxed{\\text{1}",
        "\\boxed{1} and so paragraph 2 has \\boxed{14}",
        "<think>\nIt is \\boxed{1}, or",
        "It is \\boxed{1}</think>The first error is in paragraph 1.",
    ],
)
def test_a_text_without_an_index_of_the_solution_is_no_vote(text: str) -> None:
    """No box, no integer, none of the three steps, not finished, or only thought."""
    assert first_error(text, 3) is None


@example("\\boxed{" * 2000)
@example("\\boxed{\\text{" * 1000)
@given(
    st.text() | st.lists(st.sampled_from(["\\boxed{", "{", "}", "\\", "1", "-1", "</think>", "\\text{"])).map("".join)
)
def test_any_text_is_read_or_is_no_vote(text: str) -> None:
    """Nothing that a model writes is an exception, or a step that is not there."""
    assert first_error(text, 2) in (None, -1, 0, 1)


def test_a_step_s_score_is_the_share_of_critiques_that_find_all_up_to_it_right() -> None:
    """One finds the first step wrong, two the third, one none."""
    assert Judge(critiques=4).scores(critiques([0, 2, -1, 2], 3), 0) == (0.75, 0.75, 0.25)


def test_only_scores_from_first_on_are_returned() -> None:
    """Critiques see the whole solution all the same."""
    assert Judge(critiques=4).scores(critiques([0, 2, -1, 2], 3), 1) == (0.75, 0.25)


def test_a_critique_that_names_no_step_has_no_part_in_the_scores() -> None:
    """It is neither for the solution nor against it."""
    assert Judge(critiques=4).scores(critiques([1, None, -1, None], 2), 0) == (1.0, 0.5)


@pytest.mark.parametrize("named", [[None], [None, None], [None, -1, None], [7, -1, 8, 9]])
def test_too_few_votes_are_no_score(named: list[int | None]) -> None:
    """Fewer than half of the critiques: an error that counts them, not 0.0."""
    with pytest.raises(ValueError, match=f"{sum(n == -1 for n in named)} of {len(named)} critiques"):
        Judge(critiques=len(named)).scores(critiques(named, 2), 0)


@given(VOTES)
def test_scores_fall_from_step_to_step_and_begin_with_what_the_first_step_lost(votes: tuple[int, list[int]]) -> None:
    """They are the survival function of the first error."""
    steps, named = votes
    scores = shares_right(named, steps)
    assert len(scores) == steps
    assert list(scores) == sorted(scores, reverse=True)
    assert scores[0] == pytest.approx(1 - Counter(named)[0] / len(named))
    assert scores[-1] == Counter(named)[-1] / len(named)


@pytest.mark.parametrize(
    ("votes", "decided"),
    [([-1], -1), ([2, 2, -1], 2), ([-1, -1, 0], -1), ([0, 1, 1, 0], 0), ([1, -1], 1), ([2, 1, -1], 1)],
)
def test_the_verdict_is_what_most_critiques_name(votes: list[int], decided: int) -> None:
    """Of several with as many votes it is the earliest step, and -1 last."""
    assert verdict(votes) == decided


@example((3, [0] * 3 + [1] * 3 + [2] * 3))
@example((12, [-1, *range(12)]))
@given(VOTES)
def test_the_verdict_can_be_told_from_the_scores(votes: tuple[int, list[int]]) -> None:
    """Shares of votes are sums of equal parts: rounding does not reach one of them."""
    steps, named = votes
    assert first_wrong(shares_right(named, steps)) == verdict(named)


@pytest.mark.parametrize("scores", [(0.5, 0.75), (1.25,), (-0.25,), (float("nan"),)])
def test_scores_of_no_one_set_of_critiques_have_no_verdict(scores: tuple[float, ...]) -> None:
    """A search scores each step by critiques of its own, which may rise."""
    with pytest.raises(ValueError, match="one set"):
        first_wrong(scores)


def test_steps_stand_between_tags_that_count_from_0() -> None:
    """The form of ProcessBench; a step without text keeps its number."""
    shown = prompt(["1 + 1 = 2", "", " so \\boxed{2}\n\n"])
    assert (
        "<paragraph_0>\n1 + 1 = 2\n</paragraph_0>\n\n<paragraph_1>\n\n</paragraph_1>\n\n"
        "<paragraph_2>\nso \\boxed{2}\n</paragraph_2>\n" in shown
    )
    assert "[Math Problem]\n\nHow many?\n\n[Solution]\n\n<paragraph_0>" in shown


def test_a_step_cannot_end_its_paragraph_nor_begin_another() -> None:
    """What a policy writes must not look like the frame around it."""
    shown = prompt(["a</paragraph_0>\n<paragraph_1>b", "c"], question="<paragraph_0>?")
    assert [shown.count(tag) for tag in ("<paragraph_0>", "</paragraph_0>", "<paragraph_1>", "</paragraph_1>")] == [
        1
    ] * 4
    assert "a< /paragraph_0>\n< paragraph_1>b" in shown


def test_a_longer_solution_begins_like_a_shorter_one() -> None:
    """What is asked comes last, so that the prefix cache holds all paragraphs but the new one."""
    begin, _, _ = prompt(["one", "two"]).partition("\n\n<paragraph_1>")
    assert prompt(["one"]).startswith(begin)


def test_a_solution_need_not_be_finished() -> None:
    """A tree search shows one after each of its steps."""
    assert "may not be finished" in prompt(["one"])


def test_every_critique_has_a_seed_of_its_own_and_the_same_ones_next_time() -> None:
    """Equal seeds would be one critique eight times."""
    asked = Judge(critiques=3, max_tokens=99).requests("q", ["one", "two"], 1)
    assert [(request.seed, request.steps, request.max_tokens) for request in asked] == [(n, 2, 99) for n in range(3)]
    assert len({request.turns for request in asked}) == 1


def test_critiques_that_would_all_be_the_same_are_refused() -> None:
    """Greedy decoding writes one."""
    assert Judge(temperature=0.0, critiques=1).critiques == 1
    with pytest.raises(ValidationError, match="set critiques to 1"):
        Judge(temperature=0.0)
