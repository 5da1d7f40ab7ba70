from pathlib import Path

import pytest

from service.cli.own import built, is_own, own_scorer, own_strategy
from service.errors import InvalidRequest
from tests.service.cli.own_pieces import MODULE


@pytest.fixture
def my(tmp_path: Path) -> Path:
    """A file with a strategy and a reward model."""
    file = tmp_path / "my.py"
    file.write_text(MODULE)
    return file


def test_a_class_in_a_file_is_told_from_a_name() -> None:
    """By its colon."""
    assert is_own("my.py:Mine")
    assert not is_own("best_of_n")


def test_classes_are_found(my: Path) -> None:
    """A strategy as a class, which has parameters; a reward model as an object, which has none."""
    assert own_strategy(f"{my}:Mine").__name__ == "Mine"
    assert callable(own_scorer(f"{my}:MyPRM").score)


@pytest.mark.parametrize(
    ("name", "said"),
    [("NUMBER", "no class 'NUMBER'"), ("None", "no class"), ("MyPRM", "is no strategy")],
)
def test_what_is_no_strategy_is_refused(my: Path, name: str, said: str) -> None:
    """Whatever else the file holds."""
    with pytest.raises(InvalidRequest, match=said):
        own_strategy(f"{my}:{name}")


@pytest.mark.parametrize(("name", "said"), [("Mine", "is no reward model"), ("NeedsArguments", "cannot be made")])
def test_what_is_no_reward_model_is_refused(my: Path, name: str, said: str) -> None:
    """Without the methods, or not to be made without arguments."""
    with pytest.raises(InvalidRequest, match=said):
        own_scorer(f"{my}:{name}")


def test_a_fault_in_the_file_is_told_with_its_line(my: Path) -> None:
    """The user's own code is what the user can mend."""
    my.write_text("import math\n\nmath.no_such_thing()\n")
    with pytest.raises(InvalidRequest, match=r"AttributeError in line 3: module 'math' has no"):
        own_strategy(f"{my}:Mine")


def test_a_file_that_is_not_there_is_named() -> None:
    """With the form that is wanted."""
    with pytest.raises(InvalidRequest, match=r"no file 'nowhere\.py'") as raised:
        own_strategy("nowhere.py:Mine")
    assert "my.py:Mine" in raised.value.hint


def test_a_parameter_that_a_strategy_lacks_is_refused(my: Path) -> None:
    """One of Mull's as one of the user's."""
    with pytest.raises(InvalidRequest, match="mine has no parameter 'economy'"):
        built(own_strategy(f"{my}:Mine"), {"name": "mine", "economy": True})
    with pytest.raises(InvalidRequest, match="greedy has no parameter 'samples'"):
        built(None, {"name": "greedy", "samples": 4})
