from reward_models.protocol import Chat, NextToken, Turn
from reward_models.rlhflow import RLHFlow

FAMILY = RLHFlow()


def test_the_first_turn_is_question_and_step_and_earlier_steps_count_as_right() -> None:
    """The authors' evaluation: user says a step, assistant `+`; read where the next answer would begin."""
    first = Turn("user", "How many eggs? 16 eggs.")
    assert FAMILY.requests("How many eggs?", ["16 eggs.", "13 left."], 0) == [
        NextToken((Chat((first,), reply=True),), ("+", "-")),
        NextToken((Chat((first, Turn("assistant", "+"), Turn("user", "13 left.")), reply=True),), ("+", "-")),
    ]


def test_scored_steps_are_turns_of_the_chat_only() -> None:
    """Nothing is asked for a step that has its score, and the question stays with the first step."""
    (request,) = FAMILY.requests("q", ["a", "b", "c"], 2)
    (chat,) = request.prompt
    assert isinstance(chat, Chat)
    assert [turn.content for turn in chat.turns] == ["q a", "+", "b", "+", "c"]


def test_labels_are_looked_for_in_the_vocabulary() -> None:
    """Each must be one token, and not the other's."""
    assert FAMILY.tokens() == {"good_token": "+", "bad_token": "-"}
