import pytest

from reward_models.classifier import Classifier
from reward_models.protocol import Answer, Chat, Classes, Turn

CHAT = (Turn("user", "q"), Turn("assistant", "a"))


def test_question_and_answer_are_a_chat() -> None:
    """As the model's template closes it; a system message only where one is named."""
    assert Classifier().requests("q", ["a"], 0) == [Classes((Chat(CHAT, reply=False),))]
    (request,) = Classifier(system="s").requests("q", ["a"], 0)
    assert request == Classes((Chat((Turn("system", "s"), *CHAT), reply=False),))


@pytest.mark.parametrize(
    ("good_class", "row", "score"), [(1, (0.2,), 0.2), (1, (0.3, 0.7), 0.7), (0, (0.3, 0.7), 0.3), (2, (0, 0, 1), 1)]
)
def test_the_score_is_the_good_class_or_the_only_one(good_class: int, row: tuple[float, ...], score: float) -> None:
    """A model of one class has nothing to choose from."""
    assert Classifier(good_class=good_class).scores([Answer((row,))], 0) == (score,)


@pytest.mark.parametrize("rows", [(), ((0.5,), (0.5,)), ((0.5, 0.5),), ((),), ((0.1, 0.2, 1.7),)])
def test_a_class_that_is_not_there_is_no_score(rows: tuple[tuple[float, ...], ...]) -> None:
    """Neither is one row too many, or what is no probability."""
    with pytest.raises(ValueError, match=r"rows|classes|probability"):
        Classifier(good_class=2).scores([Answer(rows)], 0)
