"""Who measures is alone; who trains is not held up by others who train; nobody starves."""

from __future__ import annotations

import select
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

from trialhouse.hardware.slot import machine_slot
from trialhouse.settings import Settings


def hold(home: Settings, mode: str, seconds: float = 30) -> subprocess.Popen[str]:
    """Another process that says `in` once it has the slot."""
    script = textwrap.dedent(f"""
        import time
        from pathlib import Path
        from trialhouse.hardware.slot import machine_slot
        from trialhouse.settings import Settings
        with machine_slot("{mode}", Settings(home=Path("{home.home}"))):
            print("in", flush=True)
            time.sleep({seconds})
    """)
    return subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)


def is_in(process: subprocess.Popen[str], within_s: float) -> bool:
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], within_s)
    return bool(ready) and process.stdout.readline() == "in\n"


def test_two_may_share_and_one_excludes(home: Settings) -> None:
    with machine_slot("shared", home):
        sharer, loner = hold(home, "shared"), None
        assert is_in(sharer, 10)
        loner = hold(home, "exclusive")
        assert not is_in(loner, 1.5)
        sharer.kill()
        assert not is_in(loner, 0.5)
    assert is_in(loner, 10)
    loner.kill()
    for process in (sharer, loner):
        process.wait()


def test_who_waits_for_the_slot_alone_is_not_overtaken(home: Settings) -> None:
    with machine_slot("shared", home):
        loner = hold(home, "exclusive", seconds=0.3)
        assert not is_in(loner, 1.5)
        latecomer = hold(home, "shared", seconds=0)
        assert not is_in(latecomer, 1.5)
    assert is_in(loner, 10)
    assert loner.wait(10) == latecomer.wait(10) == 0


def test_a_killed_holder_gives_it_back(home: Settings) -> None:
    holder = hold(home, "exclusive")
    assert is_in(holder, 10)
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    start = time.monotonic()
    with machine_slot("exclusive", home):
        assert time.monotonic() - start < 1
    assert {path.name for path in (Path(home.home) / "locks").iterdir()} == {"slot.lock", "turnstile.lock"}
