from pathlib import Path

import pytest

from service.cli.problems import BadFile, Problem, read_problems

GOOD = '{"id": "a", "problem": "1 + 1?", "answer": "2", "level": 5}'


def write(path: Path, *lines: str | bytes) -> Path:
    file = path / "problems.jsonl"
    file.write_bytes(b"\n".join(line if isinstance(line, bytes) else line.encode() for line in lines))
    return file


def test_problems_come_in_the_order_of_the_file(tmp_path: Path) -> None:
    """Blank lines are passed over, further fields ignored, numbers taken as text."""
    file = write(tmp_path, "\ufeff" + GOOD, "", '{"id": 7, "problem": "2.5 + 1?", "answer": 3.5}', "")
    assert read_problems(file) == [Problem("a", "1 + 1?", "2"), Problem("7", "2.5 + 1?", "3.5")]


def test_a_limit_takes_the_first_lines_and_reads_no_further(tmp_path: Path) -> None:
    """A bad line after the limit does not matter."""
    assert len(read_problems(write(tmp_path, GOOD, GOOD, "nonsense"), limit=2)) == 2


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("nonsense", "not JSON"),
        ("[1, 2]", "not a JSON object"),
        ('{"id": "a", "problem": "?"}', '"answer" is missing'),
        ('{"id": "a", "problem": 5, "answer": "2"}', '"problem" is not a text'),
        ('{"id": "a", "problem": "?", "answer": null}', '"answer" is not a text'),
        ('{"id": "a", "problem": "?", "answer": true}', '"answer" is not a text'),
        ('{"id": "a", "problem": "  ", "answer": "2"}', '"problem" is empty'),
        (b'{"id": "\xff"}', "not UTF-8"),
    ],
)
def test_a_bad_line_is_named_by_its_number(tmp_path: Path, line: str | bytes, complaint: str) -> None:
    """Line numbers count blank lines, as an editor does."""
    with pytest.raises(BadFile) as caught:
        read_problems(write(tmp_path, GOOD, "", line))
    assert f"line 3: {complaint}" in str(caught.value)


def test_many_bad_lines_are_cut_short(tmp_path: Path) -> None:
    """Five are named, the rest counted."""
    with pytest.raises(BadFile) as caught:
        read_problems(write(tmp_path, *["nonsense"] * 9))
    assert "line 5:" in str(caught.value)
    assert "line 6:" not in str(caught.value)
    assert "and 4 more" in str(caught.value)


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    """No problems is a mistake, not an accuracy."""
    with pytest.raises(BadFile, match="holds no problems"):
        read_problems(write(tmp_path, "", " "))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """The message names the path."""
    with pytest.raises(BadFile, match=r"absent\.jsonl cannot be read"):
        read_problems(tmp_path / "absent.jsonl")
