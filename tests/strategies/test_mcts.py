"""PRM-guided MCTS: trees checked by hand, what is reopened, what is lost, and its parameters."""

from inspect import cleandoc
from math import log

import pytest
from pydantic import ValidationError
from tree_world import Written, play, table
from watched_mcts import all_edges, expanded, rollouts, visited, weights

from strategies.cost import Lengths
from strategies.mcts import Mcts
from strategies.protocol import Answer, Ended, Finish, Path, Paused, Sample, Scored, Step
from strategies.spec import ScoreSpec

SURE, UNSURE = -0.25, -0.25 - log(3)
"""Mean log-probabilities of siblings that are three to one."""

# --- golden trees ---

SERIAL = table(
    {
        (0,): Written("a", 0.5, certainty=SURE),
        (1,): Written("a ", 0.5, certainty=SURE),
        (2,): Written("b", 0.8, certainty=UNSURE),
        (0, 0): Written("c", 0.25),
        (0, 1): Written("d = 7", 0.75, "7"),
        (0, 2): Written("e", 0.5),
        (2, 0): Written("f = 9", 0.9, "9"),
        (2, 1): Written("g = 8", 0.3, "8"),
        (2, 2): Written("f = 9", 0.9, "9"),
        (0, 2, 0): Written("h = 7", 0.6, "7"),
        (0, 2, 1): Written("i = 5", 0.2, "5"),
        (0, 2, 2): Written("j", 0.1),
    }
)


def test_four_simulations_one_after_the_other() -> None:
    """Selected by hand, with c = 1.

    1: the question. a was written twice: P = 3/4 and 1/4; each sample counts in (0.5 + 0.5 + 0.8) / 3 = 0.6.
    2: a, since 0.5 + 0.75 · √1 / 1 = 1.25 > 0.8 + 0.25 = 1.05. It finds (0.25 + 0.75 + 0.5) / 3 = 0.5.
    3: b, since 0.8 + 0.25 · √2 = 1.15 > 0.5 + 0.75 · √2 / 2 = 1.03. It finds (0.9 + 0.3 + 0.9) / 3 = 0.7.
    4: a, since all below b is finished; there e, since 0.5 > 0.25 and d is finished. It finds (0.6 + 0.2 + 0.1) / 3.
    """
    search = Mcts(simulations=4, expansions=3, exploration=1, parallel=1).build(ScoreSpec(steps="last"))
    played = play(search, SERIAL)
    assert expanded(played, 3) == ["", "0", "2", "0.2"]
    assert visited(search, "last") == cleandoc("""
        path   steps  x  scores  value  n  Q     P      end
        0      a      2  0.5     0.5    2  0.4   0.75
        0.0    c      1  0.25    0.25   0  0.25  0.333
        0.1    d = 7  1  0.75    0.75   0  0.75  0.333  = 7
        0.2    e      1  0.5     0.5    1  0.3   0.333
        0.2.0  h = 7  1  0.6     0.6    0  0.6   0.333  = 7
        0.2.1  i = 5  1  0.2     0.2    0  0.2   0.333  = 5
        0.2.2  j      1  0.1     0.1    0  0.1   0.333
        1      a      1  0.5     0.5    -  -     -      as 0
        2      b      1  0.8     0.8    1  0.7   0.25
        2.0    f = 9  2  0.9     0.9    0  0.9   0.5    = 9
        2.1    g = 8  1  0.3     0.3    0  0.3   0.5    = 8
        2.2    f = 9  1  0.9     0.9    -  -     -      as 2.0
    """)
    assert (search.top.visits, round(search.top.q, 6)) == (4, round((0.6 + 0.5 + 0.7 + 0.3) / 4, 6))
    assert weights(search) == {"9": 1.8, "7": 1.35, "8": 0.3, "5": 0.2}
    assert (search.ranking()[0].node, played.finished) == ((2, 0), "completed")


PARALLEL = table(
    {
        (0,): Written("a", 0.6),
        (1,): Written("b", 0.5),
        (0, 0): Written("c", 0.7),
        (0, 1): Written("d", 0.3),
        (1, 0): Written("e", 0.64),
        (1, 1): Written("f", 0.4),
        (0, 0, 0): Written("g = 1", 0.8, "1"),
        (0, 0, 1): Written("h = 2", 0.4, "2"),
        (1, 0, 0): Written("i = 3", 0.5, "3"),
        (1, 0, 1): Written("j = 1", 0.3, "1"),
        (0, 1, 0): Written("k = 2", 0.2, "2"),
        (0, 1, 1): Written("l = 2", 0.4, "2"),
    }
)


def test_two_simulations_in_flight() -> None:
    """What is under way counts as a visit, and steers the others away.

    1: the question: 0.55. 2 and 3: a (0.6 + 0.5 > 0.5 + 0.5), and b, which alone is left.
    4: a came back first, with 0.5; b cannot be selected. There c, since 0.7 > 0.3.
    5: b came back with 0.52: 0.52 + 0.5 · √4 / 2 = 1.02; a has one visit and one under way: 0.5 + 0.5 · √4 / 3 = 0.83.
    6: c came back with 0.6, hence a has 2 visits with mean 0.55: 0.55 + 0.5 · √5 / 3 = 0.92. b has one visit and one
       under way: 0.52 + 0.5 · √5 / 3 = 0.89. Would that not count, b had 0.52 + 0.5 · √4 / 2 = 1.02, a 0.88.
    """
    search = Mcts(simulations=6, expansions=2, exploration=1, parallel=2).build(ScoreSpec(steps="last"))
    played = play(search, PARALLEL)
    assert expanded(played, 2) == ["", "0", "1", "0.0", "1.0", "0.1"]
    assert visited(search, "last") == cleandoc("""
        path   steps  x  scores  value  n  Q      P    end
        0      a      1  0.6     0.6    3  0.467  0.5
        0.0    c      1  0.7     0.7    1  0.6    0.5
        0.0.0  g = 1  1  0.8     0.8    0  0.8    0.5  = 1
        0.0.1  h = 2  1  0.4     0.4    0  0.4    0.5  = 2
        0.1    d      1  0.3     0.3    1  0.3    0.5
        0.1.0  k = 2  1  0.2     0.2    0  0.2    0.5  = 2
        0.1.1  l = 2  1  0.4     0.4    0  0.4    0.5  = 2
        1      b      1  0.5     0.5    2  0.46   0.5
        1.0    e      1  0.64    0.64   1  0.4    0.5
        1.0.0  i = 3  1  0.5     0.5    0  0.5    0.5  = 3
        1.0.1  j = 1  1  0.3     0.3    0  0.3    0.5  = 1
        1.1    f      1  0.4     0.4    0  0.4    0.5
    """)
    assert (search.top.visits, search.top.under_way) == (6, 0)
    assert weights(search) == {"1": 1.1, "2": 1.0, "3": 0.5}


def test_the_same_world_one_after_the_other() -> None:
    """Simulation 4 knows what b is worth, and goes there: 0.52 + 0.5 · √3 / 2 = 0.95 > 0.5 + 0.5 · √3 / 2 = 0.93."""
    search = Mcts(simulations=6, expansions=2, exploration=1, parallel=1).build(ScoreSpec(steps="last"))
    assert expanded(play(search, PARALLEL), 2) == ["", "0", "1", "1.0", "0.0", "0.1"]


ROLLOUTS = table(
    {
        (0,): Written("a", 0.6),
        (1,): Written("b", 0.8),
        (1, 0): Written("c", 0.7),
        (1, 0, 0): Written("d = 4", 0.5, "4"),
        (1, 1): Written("e = 5", 0.9, "5"),
        (1, 2): Written("f = 6", 0.2, "6"),
        (0, 0): Written("g", 0.5),
        (0, 1): Written("g", 0.5),
        (0, 0, 0): Written("h = 4", 0.35, "4"),
    }
)


def test_evaluation_by_rollouts() -> None:
    """What is backed up is the end of one solution; it votes, and is nothing that could be selected.

    1: the question; b is the better step, from where the solution 1.0 comes to min(0.8, 0.7, 0.5) = 0.5.
    2: b, since 0.8 > 0.6. Both steps end a solution there: (0.8 + 0.2) / 2. So there is nothing to write on.
    3: a, all that is left. It finds g twice, from where 0.0.0 comes to 0.35.
    """
    search = Mcts(simulations=3, expansions=2, parallel=1, evaluation="rollout").build(ScoreSpec())
    played = play(search, ROLLOUTS)
    assert (expanded(played, 2), rollouts(played)) == (["", "1", "0"], {(1, 0), (0, 0, 0)})
    assert visited(search) == cleandoc("""
        path   steps      x  scores   value  n  Q     P    end
        0      a          1  0.6      0.6    1  0.35  0.5
        0.0    g          2  0.5      0.5    0  0.5   1
        0.0.0  h = 4      1  0.35     0.35   -  -     -    = 4
        0.1    g          1  0.5      0.5    -  -     -    as 0.0
        1      b          1  0.8      0.8    1  0.5   0.5
        1.0    c | d = 4  1  0.7 0.5  0.5    -  -     -    = 4
        1.1    e = 5      1  0.9      0.8    0  0.8   0.5  = 5
        1.2    f = 6      1  0.2      0.2    0  0.2   0.5  = 6
    """)
    assert (search.top.visits, round(search.top.total, 6)) == (3, 1.35)
    assert weights(search) == {"4": 0.85, "5": 0.8, "6": 0.2}


# --- what is reopened ---

REOPENED = table(
    {
        (0,): Written("a", 0.8),
        (1,): Written("b", 0.5),
        (0, 0): Written("c = 1", 0.2, "1"),
        (0, 1): Written("d = 2", 0.1, "2"),
        (1, 0): Written("e = 3", 0.45, "3"),
        (1, 1): Written("e = 3", 0.45, "3"),
        (0, 2): Written("c = 1", 0.2, "1"),
        (0, 3): Written("f = 4", 0.3, "4"),
        (0, 4): Written("g", 0.5, certainty=-1 + log(3)),
        (0, 5): Written("c = 1", 0.2, "1"),
        (0, 4, 0): Written("h = 5", 0.45, "5"),
        (0, 4, 1): Written("h = 5", 0.45, "5"),
        (2,): Written("b", 0.5),
        (3,): Written("i = 6", 0.7, "6"),
    }
)


def test_nodes_are_reopened_by_their_fall_per_expansion() -> None:
    """After three simulations all is expanded or whole, so they go on where the best child is worth the least.

    4: a, which falls by 0.8 - 0.2 = 0.6; the question by 1 - 0.8 = 0.2, b by 0.05. It repeats c, and finds f.
    5: a again: (0.8 - 0.3) / 2 = 0.25. It repeats c once more, and finds g, of which the policy is three times as sure.
    6: g, which alone can be expanded. It is whole twice, with the same words.
    7: the question: 0.2 / 1; a has (0.8 - 0.5) / 3 = 0.1, g and b 0.05. It repeats b, and finds i.
    """
    search = Mcts(simulations=7, expansions=2, parallel=1).build(ScoreSpec(steps="last"))
    played = play(search, REOPENED)
    assert expanded(played, 2) == ["", "0", "1", "0", "0", "0.4", ""]
    assert visited(search, "last") == cleandoc("""
        path   steps  x  scores  value  n  Q     P      end
        0      a      1  0.8     0.8    4  0.3   0.333
        0.0    c = 1  3  0.2     0.2    0  0.2   0.167  = 1
        0.1    d = 2  1  0.1     0.1    0  0.1   0.167  = 2
        0.2    c = 1  1  0.2     0.2    -  -     -      as 0.0
        0.3    f = 4  1  0.3     0.3    0  0.3   0.167  = 4
        0.4    g      1  0.5     0.5    1  0.45  0.5
        0.4.0  h = 5  2  0.45    0.45   0  0.45  1      = 5
        0.4.1  h = 5  1  0.45    0.45   -  -     -      as 0.4.0
        0.5    c = 1  1  0.2     0.2    -  -     -      as 0.0
        1      b      2  0.5     0.5    1  0.45  0.333
        1.0    e = 3  2  0.45    0.45   0  0.45  1      = 3
        1.1    e = 3  1  0.45    0.45   -  -     -      as 1.0
        2      b      1  0.5     0.5    -  -     -      as 1
        3      i = 6  1  0.7     0.7    0  0.7   0.333  = 6
    """)
    assert (search.top.visits, round(search.top.total, 6)) == (7, 2.9)
    assert weights(search) == {"3": 0.9, "5": 0.9, "6": 0.7, "1": 0.6, "4": 0.3, "2": 0.1}


def test_a_repeated_step_is_written_to_its_end_from_its_twin() -> None:
    """The question, reopened, finds a once more: another rollout grows from a, beside its first and its one child."""
    world = table(
        {
            (0,): Written("a", 0.6),
            (0, 0): Written("b = 1", 0.5, "1"),
            (0, 1): Written("c = 2", 0.4, "2"),
            (1,): Written("a", 0.6),
            (0, 2): Written("d = 3", 0.9, "3"),
        }
    )
    search = Mcts(simulations=3, expansions=1, parallel=1, evaluation="rollout").build(ScoreSpec())
    played = play(search, world)
    assert (played.samples, rollouts(played)) == ([(0,), (0, 0), (0, 1), (1,), (0, 2)], {(0, 0), (0, 2)})
    assert (search.top.visits, round(search.top.total, 6)) == (3, 0.5 + 0.4 + 0.6)


def test_a_node_with_a_simulation_under_way_is_not_reopened() -> None:
    """Three may be in flight: the step that is known, the question, which is reopened, and nothing else is left."""
    search = Mcts(simulations=9, expansions=1, parallel=3).build(ScoreSpec())
    assert search.begin() == [Sample((0,), max_steps=1)]
    search.on(Step((0,), 0, "a"))
    search.on(Paused((0,), -1.0))
    assert search.on(Scored((0,), 0, (0.5,))) == [Sample((0, 0), max_steps=1), Sample((1,), max_steps=1)]


@pytest.mark.parametrize("evaluation", ["prm", "rollout"])
def test_all_simulations_are_done_where_there_is_one_wording(evaluation: str) -> None:
    """Each sample repeats the only step there is at its depth, and each simulation is a visit."""

    def only(path: Path, before: str) -> Written:
        return Written("on\n", 0.9) if before.count("\n") < 4 else Written("= 1\n", 0.9, "1")

    spec = Mcts.model_validate({"simulations": 64, "expansions": 2, "parallel": 8, "evaluation": evaluation})
    search = spec.build(ScoreSpec())
    played = play(search, only)
    chain = list(all_edges(search.top))
    assert [len(edge.node.path) for edge in chain] == [0, 1, 2, 3, 4, 5]
    assert sum(edge.node.multiplicity for edge in chain[1:]) == 64 * 2
    assert (search.top.visits, search.top.open, search.top.under_way) == (64, 0, 0)
    assert (played.finished, [vote.answer.text for vote in search.votes()]) == ("completed", ["1"])


# --- what is lost ---


def test_samples_without_a_value_are_left_out_of_the_mean() -> None:
    """The budget ends within the second simulation: the one step that it has got is what it finds.

    It is the last one. What was begun and nothing has grown from, b, is written to its end.
    """
    world = table(
        {
            (0,): Written("a", 0.5),
            (1,): Written("b", 0.4),
            (0, 0): Written("= 1", 0.25, "1"),
            (1, -1): Written("= 2", 0.3, "2"),
        }
    )
    search = Mcts(simulations=9, expansions=2, parallel=1).build(ScoreSpec(steps="last"))
    play(search, world, most_samples=3)
    assert visited(search, "last") == cleandoc("""
        path  steps  x  scores  value  n  Q     P    end
        0     a      1  0.5     0.5    1  0.25  0.5
        0.0   = 1    1  0.25    0.25   0  0.25  1    = 1
        0.1   -      1  -       -      -  -     -    lost
        1     b      1  0.4     0.4    0  0.4   0.5
        1.-1  = 2    1  0.3     0.3    -  -     -    = 2
    """)


def test_a_simulation_that_is_refused_all_is_no_visit_and_the_last() -> None:
    """So is the second one here; then both beginnings are written to their ends, the better one first."""
    world = table(
        {
            (0,): Written("a", 0.5),
            (1,): Written("b", 0.6),
            (1, -1): Written("= 1", 0.7, "1"),
            (0, -1): Written("= 2", 0.7, "2"),
        }
    )
    search = Mcts(simulations=9, expansions=2, parallel=1).build(ScoreSpec())
    played = play(search, world, most_samples=2)
    assert played.samples == [(0,), (1,), (1, 0), (1, 1), (1, -1), (0, -1)]
    assert (search.top.visits, search.top.under_way) == (1, 0)
    assert [child.visits for child in search.top.children] == [0, 0]
    assert (played.finished, weights(search)) == ("completed", {"1": 0.6, "2": 0.5})


@pytest.mark.parametrize(("most_scores", "samples"), [(1, [(0,), (0, 0), (1,)]), (2, [(0,), (0, 0), (1,), (0, 1)])])
def test_a_node_is_closed_for_good_where_no_score_can_be_had(most_scores: int, samples: list[Path]) -> None:
    """Whether it is expanded or reopened, it is tried once and not again, though most of the simulations are left."""
    end = Written("= 1", 0.25, "1")
    world = table({(0,): Written("a", 0.5), (0, 0): end, (0, 1): end, (1,): Written("b", 0.9)})
    search = Mcts(simulations=99, expansions=1, parallel=1).build(ScoreSpec())
    played = play(search, world, most_scores=most_scores)
    assert (played.samples, search.top.open, played.finished) == (samples, 0, "completed")


def test_a_rollout_without_scores_is_no_visit() -> None:
    """It has no value that could be backed up; the steps before it keep theirs, and can still be selected."""
    search = Mcts(simulations=1, expansions=2, evaluation="rollout").build(ScoreSpec())
    play(search, ROLLOUTS, most_scores=2)
    assert (search.top.visits, search.top.under_way, search.top.open) == (0, 0, 2)
    assert [(candidate.node, candidate.score) for candidate in search.ranking()] == [((1, 0), None)]


def test_a_question_that_is_answered_in_one_step() -> None:
    """Nothing is ever left to expand but the question: all solutions come from there."""
    answers = [("1", 0.5), ("2", 0.75), ("1", 0.5), ("1", 0.5)]
    search = Mcts(simulations=2, expansions=2).build(ScoreSpec())
    play(search, table({(i,): Written(f"= {answer}", score, answer) for i, (answer, score) in enumerate(answers)}))
    assert (search.top.visits, search.top.total) == (2, 0.625 + 0.5)
    assert weights(search) == {"1": 1.5, "2": 0.75}


def test_a_stream_that_ends_without_a_step() -> None:
    """It is worth what was written before it; nothing is known of its probability, hence P is even."""
    search = Mcts(simulations=2, expansions=2, parallel=1).build(ScoreSpec())
    search.begin()
    for index, value in enumerate((0.5, 0.25)):
        search.on(Step((index,), 0, f"{index}"))
        search.on(Paused((index,), -1.0))
        search.on(Scored((index,), 0, (value,)))
    search.on(Ended((0, 0), "stop", "0", Answer("3", "3")))
    search.on(Step((0, 1), 0, "c"))
    search.on(Scored((0, 1), 0, (0.75,)))
    assert search.on(Paused((0, 1), -0.1)) == [Finish("completed")]
    assert visited(search) == cleandoc("""
        path  steps  x  scores  value  n  Q     P    end
        0     0      1  0.5     0.5    1  0.5   0.5
        0.0   -      1  -       0.5    0  0.5   0.5  = 3
        0.1   c      1  0.75    0.5    0  0.5   0.5
        1     1      1  0.25    0.25   0  0.25  0.5
    """)
    assert weights(search) == {"3": 0.5}


# --- parameters ---


@pytest.mark.parametrize(
    "wrong",
    [
        {"simulations": 0},
        {"simulations": 4097},
        {"expansions": 0},
        {"expansions": 65},
        {"exploration": -0.1},
        {"exploration": 101},
        {"parallel": 0},
        {"parallel": 257},
        {"evaluation": "guess"},
        {"beams": 4},
    ],
)
def test_parameters_are_bounded(wrong: dict[str, object]) -> None:
    """What makes no sense is refused."""
    with pytest.raises(ValidationError):
        Mcts.model_validate(wrong)


def test_a_tree_needs_a_reward_model() -> None:
    """The policy's certainty judges whole candidates, not steps."""
    with pytest.raises(ValueError, match="scores of its steps"):
        Mcts().build(ScoreSpec(source="mean_logprob"))


def test_cost_of_steps_and_of_rollouts() -> None:
    """By hand: 20 steps of 10 tokens; each is scored behind a prompt of 30 and 25 of a candidate's 50.

    A rollout writes the last 25, as steps 3, 4 and 5 of 5, scored behind 30 + 30, 30 + 40 and 30 + 50.
    """
    lengths = Lengths(prompt=30, candidate=50, step=10)
    cost = Mcts(simulations=5, expansions=4).cost(lengths)
    assert (cost.policy_tokens, cost.reward_tokens) == (200, 20 * 55)
    cost = Mcts(simulations=5, expansions=4, evaluation="rollout").cost(lengths)
    assert (cost.policy_tokens, cost.reward_tokens) == (200 + 5 * 25, 20 * 55 + 5 * (60 + 70 + 80))
