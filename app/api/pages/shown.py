"""What the pages show: the parts of a serving proxy that they look at."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from app.api.chat import CallEndpoint
from app.api.pages.access import Access
from app.core.config import Config
from app.core.settings import Settings
from app.gateway.admission import Admission
from app.gateway.decide import Decider
from app.store.database import Database
from app.store.writer import Ledger


@dataclass(frozen=True)
class Shown:
    """One configuration's; made anew when the config is read again."""

    settings: Settings
    config: Config
    database: Database
    ledger: Ledger
    flush: Callable[[], Awaitable[object]]
    """Waits a little until what all workers have just recorded is in Postgres."""
    decider: Decider
    """Knows the catalog, the routers and which models are up."""
    admission: Admission
    """Knows what is in flight."""
    readiness: Callable[[], tuple[bool, dict[str, Any]]]
    chat: CallEndpoint
    """The proxy's own chat endpoint, for whoever has a session in place of a key."""
    access: Access
