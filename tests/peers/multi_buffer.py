"""Intel's Multi-Buffer Crypto library, which is used where it is installed."""

from __future__ import annotations

import os
import platform

import pytest

from trilane.transport.protocols import ipsec_mb


def installed_library() -> ipsec_mb.IpsecMb:
    """The library; without it, skip what needs it, or fail where that is not allowed."""
    library = ipsec_mb.installed()
    if library is None:
        # Debian 12 has it for this processor only.
        required = os.environ.get("TRILANE_REQUIRE_INTEROP") == "1"
        if required and platform.machine() == "x86_64":
            pytest.fail("libIPSec_MB is not installed")
        pytest.skip("libIPSec_MB is not installed")
    return library
