"""Tests that share what is dear to start run in one worker: it once passed unnoticed that they no longer did."""

from __future__ import annotations

import pytest


@pytest.mark.xdist_group("litellm")
def test_xdist_reads_the_groups(request: pytest.FixtureRequest, worker_id: str) -> None:
    assert worker_id == "master" or request.node.nodeid.endswith("@litellm")
