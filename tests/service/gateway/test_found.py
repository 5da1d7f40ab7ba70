"""What a request has spent itself."""

from fake_workers import result
from hypothesis import given
from hypothesis import strategies as some

from service.gateway.found import NOTHING, Found, spent_now
from service.search.request import PolicyUsage, RewardUsage, SearchRequest, SearchResult, SearchUsage
from strategies.sample import SampleOne

MADE = result(SearchRequest(model="tiny", prompt="1+1?", strategy=SampleOne()))

counts = some.integers(0, 1000)
usages = some.builds(
    SearchUsage,
    prompt=counts,
    policy=some.builds(PolicyUsage, kept=counts, discarded=counts, prompt=counts, cached=some.none() | counts),
    reward=some.builds(RewardUsage, submitted=counts, cached=some.none() | counts, generated=counts),
)


def extended(usage: SearchUsage, before: SearchUsage) -> SearchResult:
    """A result of which `before` had been paid."""
    return MADE.model_copy(update={"usage": usage, "continued": before})


def test_a_search_has_spent_its_usage() -> None:
    """All of it, where nothing was there before."""
    assert Found(MADE, "miss").spent == MADE.usage


def test_another_requests_answer_costs_nothing() -> None:
    """Neither a kept one nor that of an identical request in flight."""
    assert Found(MADE, "hit", 3).spent == NOTHING
    assert Found(MADE, "coalesced").spent == NOTHING


def test_age_is_told_of_kept_answers_only() -> None:
    """`Age` is a header of answers that were not found just now."""
    assert Found(MADE, "hit", 3).opening.headers == {"x-mull-cache": "hit", "age": "3"}
    assert Found(MADE, "miss").opening.headers == {"x-mull-cache": "miss"}


@given(usages, usages)
def test_what_was_there_is_not_paid_again(paid: SearchUsage, more: SearchUsage) -> None:
    """Generated and submitted tokens are those of the search less those that an earlier one had paid."""
    policy = PolicyUsage(
        kept=more.policy.kept,
        discarded=more.policy.discarded + paid.policy.kept + paid.policy.discarded,
        prompt=more.policy.prompt + paid.policy.prompt,
        cached=None,
        estimated=False,
    )
    reward = more.reward.model_copy(
        update={
            "submitted": more.reward.submitted + paid.reward.submitted,
            "generated": more.reward.generated + paid.reward.generated,
        }
    )
    spent = spent_now(extended(SearchUsage(prompt=5, policy=policy, reward=reward), paid))
    assert spent.policy.kept + spent.policy.discarded == more.policy.kept + more.policy.discarded
    assert spent.policy.kept == more.policy.kept
    assert spent.policy.prompt == more.policy.prompt
    assert spent.prompt == (5 if more.policy.prompt else 0)
    assert (spent.reward.submitted, spent.reward.generated) == (more.reward.submitted, more.reward.generated)


@given(usages, usages)
def test_nothing_is_ever_earned(usage: SearchUsage, before: SearchUsage) -> None:
    """However odd the figures are, no part is negative: a quota is not filled by searching."""
    spent = spent_now(extended(usage, before))
    figures = [*spent.policy.model_dump().values(), *spent.reward.model_dump().values(), spent.prompt]
    assert all(figure is None or figure >= 0 for figure in figures)
