"""The whole contract against Hullspeed itself, with the configuration that `conform --print-config` prints."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from app.conform.check import Dialect
from app.conform.client import Base
from app.conform.gateways import GATEWAYS, KEY, print_config
from app.conform.run import all_checks, run
from app.conform.stand import Stand
from app.mock.server import Mock
from app.mock.tls import make_certificates
from tests.serving import StartProxy


# litellm hands its own client large bodies in one piece, of which aiohttp warns.
@pytest.mark.filterwarnings("ignore:Sending a large body directly:ResourceWarning")
@pytest.mark.parametrize("dialect", ["openai", "anthropic"])
async def test_contract(start_proxy: StartProxy, tmp_path: Path, dialect: Dialect) -> None:
    async with Mock() as mock:
        address = f"127.0.0.1:{await mock.listen()}"
        expired = await mock.listen(tls=make_certificates(tmp_path / "tls").expired)
        checks = all_checks()
        config = print_config("hullspeed", checks, dialect, address, f"127.0.0.1:{expired}")
        running = await start_proxy(yaml.safe_load(config))
        base = Base.parse(running.url)
        stand = Stand(base, GATEWAYS["hullspeed"], mock, address, dialect, KEY, base)
        await stand.greet(checks)
        await stand.warm()
        results = await run(stand, checks)
    broken = {result.name: result.evidence for result in results if result.verdict == "broken"}
    assert not broken, broken
    judged = [result for result in results if result.verdict == "kept"]
    assert len(judged) >= {"openai": 170, "anthropic": 150, "gemini": 150}[dialect]
