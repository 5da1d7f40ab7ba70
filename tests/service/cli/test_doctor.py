"""What `mull doctor` asks of an engine."""

from service.cli.doctor import _engine
from service.engines.fleet import Fleet
from service.engines.probe import Finding
from service.settings import PolicySettings


async def reachable(server: Fleet) -> list[Finding]:
    return [Finding("reachable", True, True, server.title)]


async def asked(**options: object) -> list[tuple[str, str]]:
    engine = PolicySettings.model_validate({"model": "some/policy", **options})
    return [(number, finding.detail) async for number, finding in _engine(engine, reachable)]


async def test_every_server_is_asked() -> None:
    """Of several each by its number."""
    found = await asked(url=["http://10.0.0.1:8000", "http://10.0.0.2:8000"])
    assert [number for number, _ in found] == [" 1", " 2"]
    assert [detail.partition("(")[2] for _, detail in found] == ["server 1 of 2)", "server 2 of 2)"]


async def test_the_only_server_has_no_number() -> None:
    """It is the policy itself."""
    assert await asked(url="http://10.0.0.1:8000") == [("", "policy 'some/policy'")]


async def test_an_engine_that_was_not_started_is_told() -> None:
    """There is nobody to ask."""
    ((_, detail),) = await asked()
    assert "does not run" in detail
