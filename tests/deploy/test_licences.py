"""deploy/LICENCES.md: a row for every locked package, and none for others."""

import re

from deploy.licences import NOT_STATED, PAGE, licence, page, pins


def test_the_page_is_that_of_the_locks() -> None:
    """`python -m deploy.licences` was run after the last `make lock`."""
    text = PAGE.read_text()
    rows = re.findall(r"^\| (\S+) \| (\S+) \| [a-z, ]+ \| (.+) \|$", text, re.MULTILINE)
    listed = {(name, version): told for name, version, told in rows if name not in ("package", "---")}
    assert text == page(listed)
    assert listed.keys() == {pin for lock in ("base", "cpu", "gpu") for pin in pins(lock).items()}


def test_the_image_holds_nothing_that_must_be_shared_alike() -> None:
    """What is handed out in the image is under permissive licences, or weak copyleft that stays in its own files."""
    rows = re.findall(r"^\| (\S+) \| \S+ \| base[a-z, ]* \| (.+) \|$", PAGE.read_text(), re.MULTILINE)
    assert len(rows) == len(pins("base"))
    assert not [(name, told) for name, told in rows if re.search(r"(?<!L)GPL|Proprietary|not stated", told)]


def test_a_licence_is_read_where_metadata_has_it() -> None:
    """An expression before classifiers, classifiers before a text; nothing is made up where there is none."""
    osi = "License :: OSI Approved :: MIT License"
    assert licence("Apache-2.0", [osi], "text") == "Apache-2.0"
    assert licence(None, ["Topic :: Software", osi], "text") == "MIT License"
    assert licence(None, ["License :: OSI Approved"], "BSD\nand more") == "BSD and more"
    assert licence(None, [], None) == NOT_STATED
