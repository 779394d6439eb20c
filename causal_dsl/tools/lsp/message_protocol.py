"""Messages as they come in: a request that is malformed is answered by an error that says what is wrong with it."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable
from typing import Any, BinaryIO

from cattrs import transform_error
from lsprotocol import types
from pygls.exceptions import JsonRpcException, JsonRpcInternalError
from pygls.protocol import LanguageServerProtocol, lsp_method
from pygls.protocol.json_rpc import JsonRPCNotification, JsonRPCRequestMessage

_INVALID_REQUEST, _INVALID_PARAMS = -32600, -32602
_MOST_FAULTS, _LONGEST = 3, 300


class _Answered:
    """Stands for a message that needs nothing more."""


class ClientPipe:
    """Where answers go. From the moment at which the client does not read any more, or has told the server to exit, nothing is
    written: what was in hand then has nobody to be told to."""

    def __init__(self, stream: BinaryIO):
        self.stream = stream
        self.gone = False

    def write(self, data: bytes) -> None:
        self._done(lambda: self.stream.write(data))

    def flush(self) -> None:
        self._done(self.stream.flush)

    def close(self) -> None:
        self._done(self.stream.close)
        self.gone = True

    def _done(self, act: Callable[[], object]) -> None:
        if not self.gone:
            try:
                act()
            except OSError:
                self.gone = True


class SpecProtocol(LanguageServerProtocol):
    """The protocol of pygls, in which a malformed request has an answer, with its id."""

    #: 1 where the client says `exit` without `shutdown` before it
    exit_code = 0

    @lsp_method(types.EXIT)
    def lsp_exit(self, *given: Any) -> None:  # type: ignore[override]  # nothing is waited for
        """End now, whatever is in hand; what reads the next message is not begun."""
        self.exit_code = 0 if self._shutdown else 1
        if self.writer is not None:
            self.writer.close()
        raise SystemExit(self.exit_code)

    def structure_message(self, data: dict[str, Any]) -> Any:
        """The message that JSON stands for. A malformed one is answered here, where its id is known."""
        if "jsonrpc" not in data or "method" not in data:
            return super().structure_message(data)
        known = self.get_message_type(data["method"]) if isinstance(data["method"], str) else None
        try:
            return self._converter.structure(
                data, known or (JsonRPCRequestMessage if "id" in data else JsonRPCNotification)
            )
        except Exception as error:  # a converter raises whatever the types of a client lead to
            told = "; ".join(map(_as_sent, transform_error(error)[:_MOST_FAULTS]))[:_LONGEST]
            self._refuse(data, _INVALID_PARAMS, f"`{data['method']}` is malformed: {told}")
            return _Answered()

    def handle_message(self, message: Any) -> None:
        """Hand a message to whoever answers it; what is none is refused."""
        if isinstance(message, _Answered):
            return
        if not hasattr(message, "jsonrpc"):
            given = message if isinstance(message, dict) else {"id": None}
            self._refuse(given, _INVALID_REQUEST, "this is not a single message of JSON-RPC 2.0")
            return
        super().handle_message(message)

    def _refuse(self, data: dict[str, Any], code: int, told: str) -> None:
        """Answer a request by an error; of a notification, which has no answer, standard error tells."""
        if "id" not in data:
            logging.getLogger(__name__).warning(told)
            return
        id = data["id"] if isinstance(data["id"], int | str) else None
        error = types.ResponseError(code=code, message=told)
        self._send_data(types.ResponseErrorMessage(jsonrpc=self.VERSION, id=id, error=error))


def _as_sent(fault: str) -> str:
    """A fault of a converter, with the names that a client writes: ``textDocument``, not ``text_document``."""
    told, at, path = fault.partition(" @ ")
    return told + at + re.sub(r"_([a-z])", lambda found: found[1].upper(), path)


def without_traceback(record: logging.LogRecord) -> bool:
    """A filter of logs: a refusal is an answer to the client, and no fault to be logged; a body that is no JSON is one line."""
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, json.JSONDecodeError | UnicodeDecodeError):
        record.exc_info, record.exc_text = None, None
        record.msg, record.args = f"a message is no JSON: {error}", ()
    return not isinstance(error, JsonRpcException) or isinstance(error, JsonRpcInternalError)


__all__ = ["ClientPipe", "SpecProtocol", "without_traceback"]
