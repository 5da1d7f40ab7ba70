"""The memory of each reward model's scores."""

from service.redis_link import RedisLink
from service.revision import reward_revision
from service.score_store import RedisScores
from service.search.memo import ScoreMemo
from service.settings import Settings


def score_memos(settings: Settings, link: RedisLink) -> dict[str, ScoreMemo]:
    """Return the memory of each reward model, for all searches of one worker.

    There is none where `scores.size` is 0: each search then remembers its own scores only.
    """
    kept = settings.scores
    if kept.size == 0:
        return {}
    if link.state == "off" or kept.ttl_s == 0:
        return {name: ScoreMemo(kept.size) for name in settings.reward_models}
    return {
        name: ScoreMemo(kept.size, RedisScores(link, reward_revision(reward), kept.ttl_s))
        for name, reward in settings.reward_models.items()
    }
