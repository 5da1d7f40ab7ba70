import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from reward_models.presets import PRESETS
from service.cli import app, reward_plot

RUNNER = CliRunner()

MODULE = '''
from service.errors import EngineError, EngineUnavailable, QuestionTooLong


class Steps:
    """The number in front of a step is its score; words stand for what else may come of it."""

    reads = "step"

    async def price(self, question, steps, first):
        if any("long" in step for step in steps):
            raise QuestionTooLong("It takes 900 tokens to score; the reward model takes 512 in all.")
        return len(steps) - first

    async def score(self, question, steps, first, bill):
        bill.prompt, bill.exact = 10, True
        if "garbage" in steps[-1]:
            raise EngineError("The reward model did not tell all scores.")
        if "gone" in steps[-1]:
            raise EngineUnavailable("The reward model cannot be reached.", hint="Start it.")
        return tuple(float(step.split()[0]) for step in steps[first:])


class Whole(Steps):
    """The score of a solution is that of its longest line."""

    reads = "answer"

    async def score(self, question, steps, first, bill):
        assert len(steps) == 1
        return (float(max(steps[0].splitlines(), key=len).split()[0]),)


class Percent(Steps):
    async def score(self, question, steps, first, bill):
        return tuple(100.0 for step in steps[first:])
'''


@pytest.fixture(autouse=True)
def apart(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No stack runs."""
    monkeypatch.setenv("MULL_STATE_DIR", str(tmp_path / "state"))


@pytest.fixture
def my(tmp_path: Path) -> Path:
    """A file of reward models as a user would write them."""
    file = tmp_path / "my.py"
    file.write_text(MODULE)
    return file


def lines(path: Path, *objects: dict[str, Any] | str) -> str:
    """A file of one object a line."""
    file = path / "lines.jsonl"
    file.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in objects))
    return str(file)


def labelled(name: str, steps: list[str], label: int) -> dict[str, Any]:
    """One line in ProcessBench's form."""
    return {"id": name, "problem": "?", "steps": steps, "final_answer_correct": label == -1, "label": label}


def test_each_line_comes_back_with_its_scores(my: Path, tmp_path: Path) -> None:
    """In the file's order, with all that it held; a text is cut into steps, without its thinking."""
    file = lines(
        tmp_path,
        {"question": "?", "solution": "<think>0.1 hm\n\n0.2 no</think>0.9 é\n\n0.4 So 4.", "from": "here"},
        {"id": 7, "problem": "?", "steps": ["0.5", " 0.25 b "]},
    )
    run = RUNNER.invoke(app, ["reward", "score", file, "--reward", f"{my}:Steps"])
    assert run.exit_code == 0, run.output
    first, second = map(json.loads, run.stdout.splitlines())
    assert first["from"] == "here"
    assert (first["steps"], first["scores"]) == (["0.9 é", "0.4 So 4."], [0.9, 0.4])
    assert (second["id"], second["scores"]) == (7, [0.5, 0.25])
    assert "4 scores. Reward tokens: 40 submitted" in run.stderr


def test_an_outcome_reward_model_gives_one_score(my: Path, tmp_path: Path) -> None:
    """It is shown the whole solution, given as a text or in steps."""
    objects = [{"question": "?", "solution": "0.1\n\n0.75 So 4."}, {"question": "?", "steps": ["0.1", "0.5 So 4."]}]
    run = RUNNER.invoke(
        app, ["reward", "score", "-", "--reward", f"{my}:Whole"], input="\n".join(map(json.dumps, objects))
    )
    assert run.exit_code == 0, run.output
    assert [json.loads(line)["score"] for line in run.stdout.splitlines()] == [0.75, 0.5]
    assert "scores" not in run.stdout


def test_what_cannot_be_scored_is_said_and_the_rest_is_scored(my: Path, tmp_path: Path) -> None:
    """No score stands for it; the command ends with 1."""
    file = lines(
        tmp_path,
        {"question": "?", "steps": ["0.5", "too long"]},
        {"question": "?", "steps": ["0.5", "garbage"]},
        {"question": "?", "steps": ["0.5"]},
    )
    run = RUNNER.invoke(app, ["reward", "score", file, "--reward", f"{my}:Steps"])
    assert run.exit_code == 1
    long, garbage, scored = map(json.loads, run.stdout.splitlines())
    assert long["error"] == "It takes 900 tokens to score; the reward model takes 512 in all."
    assert garbage["error"] == "The reward model did not tell all scores."
    assert "scores" not in long
    assert "scores" not in garbage
    assert scored["scores"] == [0.5]


@pytest.mark.parametrize(
    ("reward", "steps", "said"),
    [
        ("Steps", ["gone"], "x (line 1): The reward model cannot be reached. Start it."),
        ("Steps", ["no number"], "x (line 1): ValueError: could not convert"),
        ("Percent", ["0.5"], "Percent gave [100.0] where scores in [0, 1], 1 of them, are wanted"),
    ],
)
def test_a_judge_that_fails_ends_the_command(
    my: Path, tmp_path: Path, reward: str, steps: list[str], said: str
) -> None:
    """With the name of the solution that it failed on."""
    file = lines(tmp_path, {"id": "x", "question": "?", "steps": steps})
    run = RUNNER.invoke(app, ["reward", "score", file, "--reward", f"{my}:{reward}"])
    assert run.exit_code == 1
    assert said in run.stderr
    assert run.stdout == ""


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ('{"question": "?"}', 'one of "solution" and "steps" is wanted, and none is there'),
        (
            '{"question": "?", "steps": ["a"], "solution": "a"}',
            'one of "solution" and "steps" is wanted, and both are there',
        ),
        ('{"problem": "?", "question": "?", "steps": ["a"]}', 'one of "question" and "problem" is wanted'),
        ('{"question": "", "steps": ["a"]}', '"question" is not a text'),
        ('{"question": "?", "steps": []}', '"steps" is not a list of texts, at least one'),
        ('{"question": "?", "solution": 4}', '"solution" is not a text'),
        ('{"question": "?", "solution": "<think>never ends"}', '"solution" holds no step'),
        ("nonsense", "not JSON"),
    ],
)
def test_lines_that_hold_no_solution_are_named(my: Path, tmp_path: Path, line: str, complaint: str) -> None:
    """Before anything is scored, and with exit code 2."""
    file = lines(tmp_path, {"question": "?", "steps": ["0.5"]}, "", line)
    run = RUNNER.invoke(app, ["reward", "score", file, "--reward", f"{my}:Steps"])
    assert run.exit_code == 2
    assert f"line 3: {complaint}" in run.stderr
    assert run.stdout == ""


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--source", "mean_logprob", "--reward-url", "http://127.0.0.1:9"], "each name who is to judge"),
        (["--preset", "tiny"], "--preset is about the server of --reward-url"),
        (["--source", "mean_logprob", "--math-only"], "--math-only is for reward models behind an engine"),
        (["--reward-url", "http://127.0.0.1:9", "--preset", "none"], "there is no 'none'; known: tiny"),
        (["--reward-url", "http://127.0.0.1:9"], "no vLLM server lists its models there"),
        (["--source", "luck"], "there is no source of scores 'luck'; known: reward_model, mean_logprob"),
        (["--source", "mean_logprob"], "The policy 'tiny-policy' cannot be reached"),
        (["--model", "large"], "There is no model 'large'"),
        ([], "has no url and does not run here. Start it with `mull up`"),
    ],
)
def test_a_judge_that_is_not_there_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], said: str
) -> None:
    """In a sentence that says what to do."""
    monkeypatch.setenv("MULL_POLICIES__TINY_POLICY__URL", "http://127.0.0.1:9")
    file = lines(tmp_path, {"question": "?", "steps": ["0.5"]})
    run = RUNNER.invoke(app, ["reward", "score", file, *options])
    assert run.exit_code in (1, 2)
    assert said in run.stderr
    assert "Traceback" not in run.stderr


EIGHT = [
    labelled("w0", ["0.9", "0.2", "0.1"], 1),
    labelled("w1", ["0.3", "0.9"], 0),
    labelled("w2", ["0.9", "0.1"], 1),
    labelled("w3", ["0.8", "0.25"], 1),
    labelled("r0", ["0.9", "0.6"], -1),
    labelled("r1", ["0.8"], -1),
    labelled("r2", ["0.7", "0.9"], -1),
    labelled("r3", ["0.6", "0.95"], -1),
]


def test_a_judge_that_separates_is_right_about_all(my: Path, tmp_path: Path) -> None:
    """Each wrong step scores at most 0.3, each right one at least 0.6: any threshold between serves both halves."""
    run = RUNNER.invoke(app, ["reward", "bench", lines(tmp_path, *EIGHT), "--reward", f"{my}:Steps", "--json"])
    assert run.exit_code == 0, run.output
    found = json.loads(run.stdout)
    half, same, fixed = found["first_wrong_step"]
    assert [row["chosen_on"] for row in (half, same, fixed)] == ["half", "same", "fixed"]
    assert (half["wrong"], half["right"], half["f1"]) == (2, 2, 1.0)
    assert (same["threshold"], same["f1"]) == (pytest.approx(0.45), 1.0)
    assert (fixed["threshold"], fixed["wrong_found"], fixed["right_passed"]) == (0.5, 4, 4)
    assert found["auc"] == 1.0
    assert found["scored"] == 14
    assert sum(held["count"] for held in found["bins"]) == 14
    assert found["not_scored"] == {}


def test_a_solution_that_is_too_long_is_counted_and_in_no_measure(my: Path, tmp_path: Path) -> None:
    """And no reason to fail; an answer of the judge that could not be used is one."""
    options = ["--reward", f"{my}:Steps", "--json"]
    run = RUNNER.invoke(app, ["reward", "bench", lines(tmp_path, *EIGHT, labelled("x", ["too long"], 0)), *options])
    assert run.exit_code == 0, run.output
    found = json.loads(run.stdout)
    assert found["not_scored"] == {"x": "It takes 900 tokens to score; the reward model takes 512 in all."}
    assert found["scored"] == 14
    assert (found["first_wrong_step"][2]["wrong"], found["first_wrong_step"][2]["f1"]) == (4, 1.0)
    failed = RUNNER.invoke(app, ["reward", "bench", lines(tmp_path, *EIGHT, labelled("y", ["garbage"], 0)), *options])
    assert failed.exit_code == 1
    assert json.loads(failed.stdout)["not_scored"] == {"y": "The reward model did not tell all scores."}


def test_an_outcome_reward_model_is_measured_by_final_answers(my: Path, tmp_path: Path) -> None:
    """It names no step, so that it has neither F1 nor threshold: two pairs are ordered, one ties, one is not."""
    objects = [labelled("w0", ["0.2"], 0), labelled("w1", ["0.6"], 0), labelled("r0", ["0.6"], -1)]
    file = lines(tmp_path, *objects, labelled("r1", ["0.5"], -1))
    run = RUNNER.invoke(app, ["reward", "bench", file, "--reward", f"{my}:Whole", "--json"])
    assert run.exit_code == 0, run.output
    found = json.loads(run.stdout)
    assert found["first_wrong_step"] == []
    assert found["auc"] == 2.5 / 4
    refused = RUNNER.invoke(app, ["reward", "bench", file, "--reward", f"{my}:Whole", "--threshold", "0.4"])
    assert refused.exit_code == 1
    assert "names no step: it has no threshold" in refused.stderr


def test_a_bench_is_readable_and_drawn(my: Path, tmp_path: Path) -> None:
    """Within 80 columns, which hold all figures; the picture is a small PNG."""
    picture = tmp_path / "reliability.png"
    options = ["--reward", f"{my}:Steps", "--threshold", "0.28", "--plot", str(picture)]
    run = RUNNER.invoke(app, ["reward", "bench", lines(tmp_path, *EIGHT), *options], env={"COLUMNS": "80"})
    assert run.exit_code == 0, run.output
    assert max(map(len, run.stdout.splitlines()[1:])) <= 80
    fixed = next(line for line in run.stdout.splitlines() if "fixed" in line)
    assert fixed.split()[2:] == ["0.280", "75.0%", "of", "4", "100.0%", "of", "4", "85.7%"]
    assert "area under the ROC curve     1.000 (1.000 to 1.000)" in run.stdout
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert picture.stat().st_size < 60_000


def test_a_threshold_is_not_chosen_where_a_half_lacks_a_kind(my: Path, tmp_path: Path) -> None:
    """It is said; the fixed one is reported."""
    file = lines(tmp_path, EIGHT[0], *EIGHT[4:])
    run = RUNNER.invoke(app, ["reward", "bench", file, "--reward", f"{my}:Steps"])
    assert run.exit_code == 0, run.output
    assert "No threshold could be chosen" in run.stdout
    assert "the other half" not in run.stdout


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        (EIGHT[0], "the id 'w0' is that of line 1"),
        ({"id": "x", "problem": "?", "steps": ["a"], "label": 0}, '"final_answer_correct" is missing'),
        ("[]", "not a JSON object"),
    ],
)
def test_lines_in_another_form_are_named(my: Path, tmp_path: Path, line: dict[str, Any] | str, complaint: str) -> None:
    """Before anything is scored, and with exit code 2."""
    run = RUNNER.invoke(app, ["reward", "bench", lines(tmp_path, EIGHT[0], line), "--reward", f"{my}:Steps"])
    assert run.exit_code == 2
    assert f"line 2: {complaint}" in run.stderr


@pytest.mark.parametrize("there", [True, False])
def test_what_cannot_be_drawn_is_refused_before_anything_is_scored(
    my: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    """A folder that is not there; no matplotlib, and how to get it."""
    if not there:
        monkeypatch.setattr(reward_plot, "find_spec", lambda name: None)
    options = ["--reward", f"{my}:Steps", "--plot", "/no/such/folder/r.png"]
    run = RUNNER.invoke(app, ["reward", "bench", lines(tmp_path, labelled("x", ["gone"], 0)), *options])
    assert run.exit_code == 1
    assert ("No picture can be written" if there else "pip install 'mull[plot]'") in run.stderr


def test_every_preset_is_listed_with_where_it_is_from() -> None:
    """Names and sources are whole, so that they can be copied."""
    run = RUNNER.invoke(app, ["reward", "presets"], env={"COLUMNS": "80"})
    assert run.exit_code == 0, run.output
    words = run.stdout.split()
    assert all(name in words and preset.source in words for name, preset in PRESETS.items())


def test_a_folder_that_is_no_checkpoint_is_not_converted(tmp_path: Path) -> None:
    """What is wrong with it is said, and nothing is written."""
    run = RUNNER.invoke(app, ["reward", "convert", str(tmp_path), str(tmp_path / "new")])
    assert run.exit_code == 1
    assert str(tmp_path) in run.stderr
    assert not (tmp_path / "new").exists()
