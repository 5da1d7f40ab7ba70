import pytest
from fake_workers import settings

from service.doors.price import Tokens, price, spent
from service.search.request import Budget, Message, PolicyUsage, RewardUsage, SearchRequest, SearchUsage
from service.search.score_request import ScoreBudget, ScoreRequest
from strategies.best_of_n import BestOfN
from strategies.majority_vote import MajorityVote
from strategies.sample import SampleOne
from strategies.spec import ScoreSpec, Spec

QUESTION = (Message(role="system", content="Be brief."), Message(role="user", content="x" * 91))


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        (SampleOne(), Tokens(25, 100, 0)),
        (MajorityVote(samples=8), Tokens(25, 800, 0)),
        (BestOfN(samples=8), Tokens(25, 800, 8 * (100 + 25))),
    ],
)
def test_price_is_what_all_candidates_may_cost(strategy: Spec, expected: Tokens) -> None:
    """The question once, every candidate at its longest, and what the reward model then reads."""
    request = SearchRequest(model="tiny", messages=QUESTION, strategy=strategy, max_completion_tokens=100)
    assert price(request, settings()) == expected


def test_longest_candidate_is_the_policys_own() -> None:
    """A request that does not say how long an answer may be gets what the policy's settings say."""
    request = SearchRequest(model="tiny", messages=QUESTION, strategy=SampleOne())
    assert price(request, settings()).policy == settings().policies["p"].sampling.max_tokens


def test_budget_lowers_the_price() -> None:
    """Nothing is set aside that the budget does not allow to be spent."""
    budget = Budget(policy_tokens=50, reward_tokens=60)
    request = SearchRequest(model="tiny", messages=QUESTION, strategy=BestOfN(samples=8), budget=budget)
    assert price(request, settings()) == Tokens(25, 50, 60)


def test_scores_without_a_reward_model_are_free() -> None:
    """The policy's own certainty costs no token."""
    score = ScoreSpec(source="mean_logprob")
    request = SearchRequest(model="tiny", messages=QUESTION, strategy=BestOfN(samples=2), score=score)
    assert price(request, settings()).reward == 0


def test_scoring_is_priced_by_its_text() -> None:
    """Each solution is read with the question; a budget lowers that too."""
    request = ScoreRequest(model="tiny", question="q" * 40, solutions=("s" * 60, "s" * 160))
    assert price(request, settings()) == Tokens(reward=25 + 50)
    steps = ScoreRequest(model="tiny", question="q" * 40, steps=(("s" * 30, "s" * 30),))
    assert price(steps, settings()) == Tokens(reward=25)
    less = request.model_copy(update={"budget": ScoreBudget(reward_tokens=30)})
    assert price(less, settings()) == Tokens(reward=30)


def test_spent_is_what_the_bill_says() -> None:
    """All that was generated, kept or not; what the reward model's prefix cache held is free."""
    policy = PolicyUsage(kept=10, discarded=30, prompt=500, cached=None, estimated=False)
    reward = RewardUsage(submitted=100, cached=40, generated=3, estimated=False)
    assert spent(SearchUsage(prompt=7, policy=policy, reward=reward)) == Tokens(7, 40, 63)
    untold = reward.model_copy(update={"cached": None})
    assert spent(untold) == Tokens(reward=103)
