"""The commands in the README's blocks."""

from __future__ import annotations

import re
import shlex

from tests.peers.process import REPO_ROOT

README = (REPO_ROOT / "README.md").read_text(encoding="utf-8")


def uploads(section: str, ca: str, ports: dict[int, int]) -> list[list[str]]:
    """A section's uploads, word by word, without those that leave something out (`…`).

    Args:
        section: its heading.
        ca: what stands for the receiver's authority.
        ports: what stands for the ports in the README.
    """
    text = README.split(f"\n## {section}\n")[1].split("\n## ")[0]
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    lines = "".join(blocks).splitlines()
    found = []
    for line in lines:
        if line.startswith(("trilane upload", "python -c")) and "…" not in line:
            for port, actual in ports.items():
                line = line.replace(f":{port}", f":{actual}")  # noqa: PLW2901
            words = shlex.split(line, comments=True)
            found.append([ca if word == "CA" else word for word in words])
    return found
