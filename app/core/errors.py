"""One base error, one envelope.

Every error that a user may see is a `HullspeedError`: it carries the HTTP status and OpenAI's `type` and `code`
(platform.openai.com/docs/guides/error-codes), and the command line prints its message as one line. A message names
what is wrong and how to put it right, and never holds a secret.
"""

from __future__ import annotations

from typing import Self

import msgspec


class HullspeedError(Exception):
    """Base of all errors meant for a user."""

    status: int = 500
    type: str = "server_error"
    code: str | None = None

    def __init__(self, message: str, *, param: str | None = None, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        """Name of the request parameter or configuration key at fault."""
        self.retry_after = retry_after
        """Seconds after which trying again makes sense."""

    def envelope(self) -> bytes:
        """OpenAI's error body as JSON."""
        body = {"message": self.message, "type": self.type, "param": self.param, "code": self.code}
        return msgspec.json.encode({"error": body})


class InvalidRequest(HullspeedError):
    status, type = 400, "invalid_request_error"


class InvalidKey(HullspeedError):
    status, type, code = 401, "invalid_request_error", "invalid_api_key"


class NotFound(HullspeedError):
    status, type, code = 404, "invalid_request_error", "not_found"


class ModelNotFound(NotFound):
    code = "model_not_found"


class TooLarge(HullspeedError):
    status, type, code = 413, "invalid_request_error", "request_too_large"


class CodedBody(HullspeedError):
    """The request's body is compressed (RFC 9110, 15.5.16)."""

    status, type, code = 415, "invalid_request_error", "unsupported_content_encoding"


class NoUsableModel(HullspeedError):
    """No model in the catalog can serve the request as it stands (capabilities, window, cost bound)."""

    status, type, code = 400, "invalid_request_error", "no_usable_model"


class ConfigError(HullspeedError):
    """A setting, config file, command-line argument or input file is wrong; nothing was done."""

    type, code = "config_error", "config_error"
    key: tuple[str | int, ...] | None = None
    """Where in the config file the fault stands, where `param` does not say it."""

    def at(self, *key: str | int) -> Self:
        """The same error, about what stands there."""
        self.key = key
        return self


class StoreUnavailable(HullspeedError):
    """Postgres cannot be reached."""

    status, type, code = 503, "server_error", "ledger_unavailable"
