"""Files of sessions and of alternative services: broken ones, and several processes at once."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.engine.cache_files import KEY
from tests.peers.process import REPO_ROOT
from trilane.transport.alt_svc_file import load_alternatives
from trilane.transport.errors import UsageError
from trilane.transport.session_file import put_sessions, take_sessions
from trilane.transport.sessions import KEPT_KEYS, KEPT_PER_KEY, SessionKey, SessionStore

TICKET = {
    "age_add": 1,
    "cipher_suite": 4865,
    "not_valid_before": 1.0,
    "not_valid_after": 4e9,
    "secret": "AAAA",
    "server_name": "a.example",
    "ticket": "AAAA",
    "max_early_data_size": 0xFFFFFFFF,
    "extensions": [],
}
ALTERNATIVE = {"origin": "https://a.example", "host": "b.example", "port": 443, "expires_s": 4e9}

leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
anything = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=3) | st.sampled_from(sorted(TICKET)), inner, max_size=3)
    ),
    max_leaves=8,
)


def almost(entry: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """An entry as it should be, but for one value."""
    return st.tuples(st.sampled_from(sorted(entry)), anything).map(
        lambda change: {**entry, change[0]: change[1]}
    )


sessions = st.fixed_dictionaries(
    {"tickets": st.lists(almost(TICKET), max_size=2), "tokens": anything}
)
documents = (
    anything
    | st.dictionaries(st.text(max_size=3), sessions, max_size=2).map(
        lambda entries: {"version": 1, "sessions": entries}
    )
    | st.lists(almost(ALTERNATIVE), max_size=2).map(lambda entries: {"alternatives": entries})
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(documents)
def test_whatever_a_file_says_it_does_no_harm(tmp_path: Path, document: object) -> None:
    path = tmp_path / "file"
    path.write_text(json.dumps(document), "utf-8")
    path.chmod(0o600)
    for known in load_alternatives(path):
        assert 0 < known.address[1] < 65536
    take_sessions(path, SessionStore())
    assert not path.exists()


def test_json_that_is_nested_too_deeply(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "file"
    path.write_text("[" * 100_000, "utf-8")
    path.chmod(0o600)
    assert load_alternatives(path) == []
    with caplog.at_level(logging.WARNING, "trilane"):
        take_sessions(path, SessionStore())
    assert "cannot be understood" in caplog.text


def test_what_is_taken_from_a_file_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "sessions"
    many = {"tickets": [TICKET] * 50, "tokens": ["AAAA"] * 50}
    entries = {f"key {number}": many for number in range(KEPT_KEYS + 50)}
    path.write_text(json.dumps({"version": 1, "sessions": entries}), "utf-8")
    path.chmod(0o600)
    store = SessionStore()
    take_sessions(path, store)
    assert len(list(store)) == KEPT_KEYS
    assert {len(kept.tickets) for _, kept in store} == {KEPT_PER_KEY}
    assert {len(kept.tokens) for _, kept in store} == {KEPT_PER_KEY}


def test_no_token_is_given_to_two_processes(tmp_path: Path) -> None:
    """Some may get lost when two write at once: then a handshake is made that was not needed."""
    path = tmp_path / "sessions"
    argv = [sys.executable, "-m", "tests.engine.cache_files", str(path)]
    processes = [
        subprocess.Popen([*argv, name, "200"], stdout=subprocess.PIPE, cwd=REPO_ROOT, text=True)
        for name in ("a", "b")
    ]
    taken = [json.loads(process.communicate(timeout=60)[0]) for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    together = [token for each in taken for token in each]
    assert len(together) == len(set(together))
    assert together
    # What is left is whole, and its owner's alone; nothing else is left.
    assert [each.name for each in tmp_path.iterdir()] == ["sessions"]
    assert path.stat().st_mode & 0o777 == 0o600
    left = SessionStore()
    take_sessions(path, left)
    assert [key for key, _ in left] == [KEY]


@pytest.mark.parametrize("exists", [True, False])
def test_a_link_is_neither_read_nor_written_through(tmp_path: Path, *, exists: bool) -> None:
    """Whoever may write to the folder must not make us read or overwrite another file."""
    target, link = tmp_path / "target", tmp_path / "sessions"
    if exists:
        target.write_text('{"version": 1, "sessions": {}}', "utf-8")
        target.chmod(0o600)
    link.symlink_to(target)
    store = SessionStore()
    store.of(SessionKey("a")).tokens.append(b"token")
    for use in (take_sessions, put_sessions):
        with pytest.raises(UsageError, match="not a regular file"):
            use(link, store)
    assert link.is_symlink()
    assert target.exists() is exists
    if exists:
        assert target.read_text("utf-8") == '{"version": 1, "sessions": {}}'
