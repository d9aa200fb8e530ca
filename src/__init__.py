"""trilane: an upload transport engine for HTTP/1.1, HTTP/2 and HTTP/3."""

from importlib.metadata import version as _version

from .api.client import AsyncClient
from .api.response import Response
from .api.sync_client import Client, upload
from .api.upload_file import uploadFile
from .api.upload_task import UploadTask
from .transport.config import (
    DnsOverHttps,
    DnsServer,
    HttpVersion,
    Limits,
    Preference,
    QualityOptions,
    QuicOptions,
    Timeouts,
)
from .transport.connections.exchange import Progress
from .transport.errors import (
    Aborted,
    AddressRefused,
    CertificateError,
    ClientClosed,
    ConnectError,
    ConnectionLost,
    ConnectTimeout,
    DeadlineExceeded,
    InvalidFormValue,
    InvalidHeader,
    InvalidUrl,
    NetworkError,
    PoolTimeout,
    ProtocolError,
    ProtocolUnavailable,
    ProxyAuthenticationError,
    ProxyError,
    ReadTimeout,
    RedirectError,
    RemoteProtocolError,
    ResolveError,
    ResolveReason,
    ResponseTooLarge,
    SourceError,
    SourceNotRewindable,
    SourceSizeChanged,
    SourceUnavailable,
    StreamResetError,
    TlsError,
    TotalTimeout,
    TransportError,
    UsageError,
    WriteTimeout,
)
from .transport.message import Headers, ResponseHead
from .transport.multipart import Part
from .transport.policy.addresses import public_addresses_only
from .transport.profile.profile import Profile
from .transport.quality.estimate import EstimateSource, QualityEstimate
from .transport.quality.network import EffectiveType, Network, NetworkType
from .transport.quality_meter import network_changed

__version__ = _version("trilane")

__all__ = [
    "Aborted",
    "AddressRefused",
    "AsyncClient",
    "CertificateError",
    "Client",
    "ClientClosed",
    "ConnectError",
    "ConnectTimeout",
    "ConnectionLost",
    "DeadlineExceeded",
    "DnsOverHttps",
    "DnsServer",
    "EffectiveType",
    "EstimateSource",
    "Headers",
    "HttpVersion",
    "InvalidFormValue",
    "InvalidHeader",
    "InvalidUrl",
    "Limits",
    "Network",
    "NetworkError",
    "NetworkType",
    "Part",
    "PoolTimeout",
    "Preference",
    "Profile",
    "Progress",
    "ProtocolError",
    "ProtocolUnavailable",
    "ProxyAuthenticationError",
    "ProxyError",
    "QualityEstimate",
    "QualityOptions",
    "QuicOptions",
    "ReadTimeout",
    "RedirectError",
    "RemoteProtocolError",
    "ResolveError",
    "ResolveReason",
    "Response",
    "ResponseHead",
    "ResponseTooLarge",
    "SourceError",
    "SourceNotRewindable",
    "SourceSizeChanged",
    "SourceUnavailable",
    "StreamResetError",
    "Timeouts",
    "TlsError",
    "TotalTimeout",
    "TransportError",
    "UploadTask",
    "UsageError",
    "WriteTimeout",
    "__version__",
    "network_changed",
    "public_addresses_only",
    "upload",
    "uploadFile",
]
