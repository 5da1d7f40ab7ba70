"""Which reward models have a memory of their scores."""

from typing import Any

from service.redis_link import RedisLink
from service.score_memory import score_memos
from service.settings import Settings


def memos(**settings: Any) -> dict[str, Any]:
    """The memories of one reward model, without Redis."""
    plain = {
        "policies": {"p": {"model": "some/policy"}},
        "reward_models": {"r": {"model": "some/prm"}},
        "models": {"tiny": {"policy": "p", "reward": "r"}},
        "redis": {"enabled": False},
    }
    whole = Settings.model_validate({**plain, **settings})
    return dict(score_memos(whole, RedisLink(whole.redis)))


def test_each_reward_model_has_a_memory() -> None:
    """Unless nothing is to be remembered."""
    assert set(memos()) == {"r"}
    assert memos(scores={"size": 0}) == {}
