"""AsyncClient: uploads and requests on asyncio and trio, over kept connections."""

from __future__ import annotations

from types import TracebackType
from typing import Self, Unpack

from ..transport.call import Call
from ..transport.engine import Engine
from ..transport.errors import ClientClosed, TransportError, UsageError
from ..transport.profile.recorder import Recorder
from ..transport.sources import FileInput
from .calls import (
    CallDefaults,
    CallOptions,
    UploadOptions,
    request_call,
    upload_call,
)
from .client_options import (
    ClientOptions,
    default_preference,
    engine_options,
    refuse_unknown,
    timeouts_of,
)
from .response import Response, response_of

DEFAULT_TIMEOUT_S = 60.0


class AsyncClient:
    """A client for uploads; use it as `async with AsyncClient() as client`.

    It belongs to the task that entered it; any number of tasks may call it at once. Leaving the
    block closes its connections, and calls still running raise `ClientClosed`.

    Args:
        options: see `ClientOptions`: http2, http3, verify, cert, tls_minimum, ciphers, pins,
            sessions, resolver, resolve, proxy, no_proxy, timeout, limits, quic, quality,
            kernel_timestamps, allow_address, uds, local_address, interface, congestion_control,
            dscp, trust_env.

    Raises:
        UsageError: an option has a value it cannot have.
        TypeError: there is no such option.
    """

    def __init__(self, **options: Unpack[ClientOptions]) -> None:
        refuse_unknown(options, ClientOptions.__optional_keys__)
        self._defaults = CallDefaults(
            preference=default_preference(options),
            timeouts=timeouts_of(options.get("timeout", DEFAULT_TIMEOUT_S)),
        )
        self._engine = Engine(engine_options(options))
        self._open: bool | None = None
        """None: not entered yet; False: left."""

    async def __aenter__(self) -> Self:
        if self._open is not None:
            raise UsageError("an AsyncClient is entered once: make a new one")
        await self._engine.__aenter__()
        self._open = True
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open = False
        await self._engine.__aexit__(kind, error, trace)

    async def upload(
        self, url: str, file: FileInput | None = None, **options: Unpack[UploadOptions]
    ) -> Response:
        """Send files and form fields as `multipart/form-data`, and return the response.

        Any HTTP status is a response. Cancelling the call stops the upload.

        Args:
            url: where to; http or https.
            file: a path, bytes, a binary file object, or a (sync or async) iterator of bytes; may
                be left out when `files` is given.
            options: see `UploadOptions`: name, form, files, filename, content_type; headers,
                protocol, timeout, on_progress, on_headers, expect_continue, retry_stale,
                follow_redirects, insecure_redirects, early_data, high_performance, profile.

        Raises:
            TransportError: no response came; see `trilane.transport.errors` for the families.
        """
        if not self._open:
            raise self._not_open()
        recorder = Recorder()
        call = await upload_call(url, file, options, self._defaults)
        outcome = await self._engine.send(call, recorder)
        return response_of(outcome, recorder if call.profile else None)

    async def request(
        self,
        method: str,
        url: str,
        *,
        content: FileInput | None = None,
        **options: Unpack[CallOptions],
    ) -> Response:
        """Send a request with any method, and return the response.

        Args:
            method: `GET`, `POST`, `PUT` …
            url: where to; http or https.
            content: the body: bytes, a `pathlib.Path`, a binary file object, or an iterator of
                bytes; a str is refused, because it could be meant as text or as a path.
            options: see `CallOptions`: headers, protocol, timeout, on_progress, on_headers,
                expect_continue, retry_stale, follow_redirects, insecure_redirects, early_data,
                high_performance, profile.

        Raises:
            TransportError: no response came.
        """
        if not self._open:
            raise self._not_open()
        recorder = Recorder()
        call = await request_call(method, url, content, options, self._defaults)
        return await self.send(call, recorder, profile=options.get("profile", True))

    async def send(self, call: Call, recorder: Recorder, *, profile: bool = True) -> Response:
        """Carry out a call that was made with `upload_call` or `request_call`.

        Args:
            call: what to send.
            recorder: started when the call was asked for; receives its moments.
            profile: whether the response gets its profile.

        Raises:
            TransportError: no response came.
        """
        outcome = await self._engine.send(call, recorder)
        return response_of(outcome, recorder if profile else None)

    def _not_open(self) -> TransportError:
        if self._open is None:
            return UsageError("the client is not running: use it inside `async with`")
        return ClientClosed("the client was closed")
