"""Fixtures: uploads that were recorded while they were made, once for all tests."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from shutil import rmtree

import pytest

from tests.capture.scenario import LANES, Lane, Recorded, record
from tests.link.namespaces import Namespace, namespace, require_programs, require_root
from tests.link.servers import Site, serving

_ROUNDS = 3
#: What Linux keeps in a socket's send buffer otherwise, up to 4 MiB, leaves when the receiver has
#: room: long after the system has taken it, which is what `request_end` tells. How much local
#: buffers hide is the business of `tests/link`; here they are small, to see if the moment is true.
_SEND_BUFFER = "4096 65536 131072"


@dataclass(slots=True)
class Recordings:
    """Recorded uploads by lane; a lane can be recorded again."""

    home: Namespace
    site: Site
    folder: Path
    taken: dict[Lane, list[Recorded]] = field(default_factory=dict)
    _count: int = 0

    def of(self, lane: Lane) -> list[Recorded]:
        """The uploads of a lane; the first call records every lane."""
        if not self.taken:
            self._take(*LANES)
        return self.taken[lane]

    def again(self, lane: Lane) -> list[Recorded]:
        """New uploads of a lane, for when something else kept the machine busy."""
        self._take(lane)
        return self.taken[lane]

    def _take(self, *lanes: Lane) -> None:
        self._count += 1
        folder = self.folder / str(self._count)
        folder.mkdir()
        recorded = record(self.home, self.site, folder, lanes, rounds=_ROUNDS)
        rmtree(folder)  # some hundred megabytes
        for lane in lanes:
            self.taken[lane] = [each for each in recorded if each.lane is lane]


@pytest.fixture(scope="package")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recordings]:
    """Receivers in a namespace of their own, and what is recorded there."""
    require_root()
    require_programs(caddy="caddy", dumpcap="wireshark-common", tshark="tshark")
    folder = tmp_path_factory.mktemp("capture")
    with namespace("capture") as home, serving(home, folder, "127.0.0.1") as site:
        home.set_sysctl("net.ipv4.tcp_wmem", _SEND_BUFFER)
        yield Recordings(home, site, folder)
