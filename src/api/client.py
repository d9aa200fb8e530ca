"""AsyncClient: uploads and requests on asyncio and trio, over kept connections."""

from __future__ import annotations

from types import TracebackType
from typing import Self, Unpack

from ..transport.call import Call
from ..transport.config import Limits, Preference, QualityOptions, QuicOptions
from ..transport.engine import Engine
from ..transport.errors import ClientClosed, UsageError
from ..transport.profile.profile import fold
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
    CertInput,
    TimeoutInput,
    VerifyInput,
    quality_options,
    quic_options,
    refuse_proxy,
    timeouts_of,
    tls_options,
)
from .response import Response, response_of


class AsyncClient:
    """A client for uploads; use it as `async with AsyncClient() as client`.

    It belongs to the task that entered it; any number of tasks may call it at once. Leaving the
    block closes its connections, and calls still running raise `ClientClosed`.

    Args:
        http2: may speak HTTP/2 where the server offers it (ALPN).
        http3: may speak HTTP/3: QUIC is raced against TCP. Off by default, because a network that
            swallows UDP costs the first upload a wait.
        verify: True for the system's trust store, False for no verification, a CA file or folder,
            or an `ssl.SSLContext`.
        cert: client certificate: a PEM file, (certificate, key), or (certificate, key, password).
        proxy: None; proxies are not supported yet.
        timeout: seconds for a whole call, `Timeouts` for its parts, or None for no limit.
        limits: bounds on connections and responses.
        quic: how HTTP/3 connections behave.
        quality: how the quality of the network is estimated.
        kernel_timestamps: whether the kernel notes when a request's first and last byte left, and
            when the last was acknowledged, for `Profile.transport`: TCP on Linux only.
        trust_env: whether `SSLKEYLOGFILE` and `QLOGDIR` are honoured.

    Raises:
        UsageError: an option has a value it cannot have.
    """

    def __init__(
        self,
        *,
        http2: bool = True,
        http3: bool = False,
        verify: VerifyInput = True,
        cert: CertInput | None = None,
        proxy: str | None = None,
        timeout: TimeoutInput = 60.0,
        limits: Limits | None = None,
        quic: QuicOptions | None = None,
        quality: QualityOptions | None = None,
        kernel_timestamps: bool = False,
        trust_env: bool = True,
    ) -> None:
        refuse_proxy(proxy)
        self._defaults = CallDefaults(
            preference=Preference(http2=http2, http3=http3), timeouts=timeouts_of(timeout)
        )
        self._engine = Engine(
            tls=tls_options(verify, cert, trust_env=trust_env),
            limits=limits,
            quic=quic_options(quic, trust_env=trust_env),
            quality=quality_options(quality),
            kernel_timestamps=kernel_timestamps,
        )
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
        self._refuse_when_not_open()
        recorder = Recorder()
        call = await upload_call(url, file, options, self._defaults)
        return await self.send(call, recorder, profile=options.get("profile", True))

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
        self._refuse_when_not_open()
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
        return response_of(outcome, fold(recorder) if profile else None)

    def _refuse_when_not_open(self) -> None:
        if self._open is None:
            raise UsageError("the client is not running: use it inside `async with`")
        if not self._open:
            raise ClientClosed("the client was closed")
