"""Hosts that cannot measure say what must hold, what was got, and what to do."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from latcast.measure import HostError, HostLostError
from latcast.measure.hosts import host, ssh
from latcast.measure.hosts._greeting import greeting

pytestmark = [pytest.mark.worker, pytest.mark.slow]
HELLO = json.dumps(greeting())


def asked(what="facts"):
    with host("board") as board:
        return getattr(board, what)()


def refused(words, kind=HostError):
    with pytest.raises(HostError, match=words) as caught:
        asked()
    assert type(caught.value) is kind
    assert "\n" not in str(caught.value)


def test_a_banner_is_no_answer(server):
    server.prepare(f'echo "Welcome to board"; echo "{{"; exec {sys.executable} "$@"')
    assert asked()["latcast"] == greeting()["latcast"]


SCRIPTS = {
    "only a banner": ("echo Welcome", r"agent; got 'Welcome' \(code 0\).* ~/.bashrc"),
    "another latcast": (
        'echo \'{"latcast-host": 1, "latcast": "9.9", "sources": "?"}\'; sleep 9',
        r"this very latcast, .* another 9\.9: latcast host prepare board",
    ),
    "a crash": ("echo ImportError: no numpy >&2; exit 1", r"it says 'ImportError: no numpy'"),
    "silence": ("sleep 60", r"start latcast's agent; it says 'nothing'"),
}


@pytest.mark.parametrize(("script", "words"), SCRIPTS.values(), ids=SCRIPTS)
def test_what_is_no_agent(server, monkeypatch, script, words):
    monkeypatch.setattr(ssh, "_GREETING_S", 3.0)
    server.prepare(script)
    refused(words)


def test_garbage_after_the_greeting_is_a_lost_link(server):
    server.prepare(f"echo '{HELLO}'; echo chatter; sleep 60")
    refused("must answer in JSON; got 'chatter'", HostLostError)


def test_a_host_that_is_not_prepared(server):
    shutil.rmtree(server.home)
    server.home.mkdir()
    refused("must be prepared for this latcast; it is not: latcast host prepare board")


def test_a_program_of_another_architecture(server):
    server.prepare().write_bytes(b"\x7fELF\x02\x01\x01" + bytes(57))
    refused("must be prepared for this latcast")


def test_a_host_that_is_asleep(server):
    server.stop()
    # A port that was just closed may still reset what had come in.
    refused(r"must be on and reached by ssh; ssh says: .*(refused|reset)", HostLostError)


def test_a_host_that_lets_us_not_in(server):
    (server.folder / "authorized").write_text("")
    refused(r"board must let us in; ssh says: .*ermission denied.*ssh-copy-id board")


def test_a_host_whose_key_is_another(server):
    other = (server.folder / "user.pub").read_text().split()
    (server.folder / "known").write_text(f"[127.0.0.1]:{server.port} {other[0]} {other[1]}\n")
    refused(r"host key of board must be the one that ssh knows")


def test_a_name_that_nobody_knows(server):
    with (
        host("no-such-board.invalid") as board,
        pytest.raises(HostLostError, match=r"must be the name of a machine; .*: is it spelled so"),
    ):
        board.facts()


def test_without_ssh(monkeypatch):
    monkeypatch.setattr(ssh.shutil, "which", lambda _: None)
    refused("needs the program ssh; there is none here")


def test_nothing_is_left_here(server):
    before = set(Path(tempfile.gettempdir()).iterdir())
    asked()
    assert {x.name for x in set(Path(tempfile.gettempdir()).iterdir()) - before} <= {
        "latcast-measuring"
    }


def test_an_agent_that_hears_nothing_ends():
    code = "from latcast.measure.hosts import agent; agent.SILENCE_S = 0.5; agent.main()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as agent:
        assert agent.wait(60) == 0  # though its input is open
