"""The corner of ASGI (asgi.readthedocs.io, HTTP 2.3) the receiver uses, as types."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

Message = dict[str, object]
"""An event; its shape depends on its `type`."""
Scope = Mapping[str, object]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

EARLY_HINT = "http.response.early_hint"
"""The extension, and the event, that send 103."""
