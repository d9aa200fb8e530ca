"""An upload whose profile nobody wants does not gather what only a profile shows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

import trilane
from tests.peers.servers import Endpoints
from trilane import uploadFile
from trilane.transport.net import tcp

Protocol = Literal["http/1.1", "h2", "h3"]


@dataclass
class Asked:
    """How often the kernel was asked for something."""

    times: dict[str, int] = field(default_factory=dict)

    def counting(self, name: str, ask: Callable[[Any], object]) -> Callable[[Any], object]:
        def counted(sock: object) -> object:
            self.times[name] = self.times.get(name, 0) + 1
            return ask(sock)

        return counted


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    asked = Asked()
    for name in ("read_tcp_info", "read_unacked_bytes"):
        monkeypatch.setattr(tcp, name, asked.counting(name, getattr(tcp, name)))
    return asked


@pytest.mark.parametrize("profile", [True, False])
async def test_the_kernel_is_asked_for_a_profile_only(
    receiver: Endpoints, asked: Asked, protocol: Protocol, *, profile: bool
) -> None:
    progress: list[trilane.Progress] = []
    async with trilane.AsyncClient(verify=str(receiver.ca)) as client:
        response = await client.upload(
            # There is time to look for acknowledgements.
            f"{receiver.url('https')}?delay=50",
            bytes(100_000),
            protocol=protocol,
            profile=profile,
            on_progress=progress.append,
        )

    assert response.status_code == 200
    assert (response.profile is not None) is profile
    assert progress[-1].sent == progress[-1].total
    if protocol == "h3":
        # QUIC's figures come without asking anybody.
        assert asked.times == {}
        return
    assert set(asked.times) == ({"read_tcp_info", "read_unacked_bytes"} if profile else set())
    assert {each.acked is None for each in progress[-1:]} == {not profile}


async def test_the_seeds_switch_is_this_one(options: Mapping[str, Any], asked: Asked) -> None:
    res = await uploadFile(options, enableProfile=False)

    assert "profile" not in res
    assert asked.times == {}
