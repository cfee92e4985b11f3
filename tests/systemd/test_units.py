"""The units as systemd itself judges them."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

UNITS = Path(__file__).parents[2] / "systemd"
SERVICES = ("auditor.service", "auditor-sweep.service")
PROGRAM = "/opt/auditor/bin/auditor"
MOST_EXPOSURE = 1.5

with_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")


def analyze(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["systemd-analyze", "--no-pager", *arguments], capture_output=True, text=True, check=False, timeout=60
    )


@with_systemd
@pytest.mark.parametrize("service", SERVICES)
def test_service_is_little_exposed(service: str) -> None:
    done = analyze("security", "--offline=true", str(UNITS / service))
    exposure = re.search(r"Overall exposure level for \S+: ([0-9.]+)", done.stdout)
    assert exposure is not None, done.stderr
    assert float(exposure[1]) <= MOST_EXPOSURE


@with_systemd
def test_units_are_clean_where_the_program_is_installed(tmp_path: Path) -> None:
    """Only the program's path is replaced, by one that exists: it need not be installed where tests run."""
    program = tmp_path / "auditor"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    copies = []
    for unit in UNITS.iterdir():
        copies.append(tmp_path / unit.name)
        copies[-1].write_text(unit.read_text().replace(PROGRAM, str(program)))
    done = analyze("verify", *map(str, copies))
    assert (done.stdout + done.stderr, done.returncode) == ("", 0)


@pytest.mark.parametrize("service", SERVICES)
def test_service_starts_the_installed_program(service: str) -> None:
    assert re.findall(r"^ExecStart=(\S+)", (UNITS / service).read_text(), re.MULTILINE) == [PROGRAM]


def test_both_services_are_confined_alike() -> None:
    daemon, sweep = (confinement_of(service) for service in SERVICES)
    assert "MemoryDenyWriteExecute=yes" in daemon
    assert daemon == sweep


def confinement_of(service: str) -> list[str]:
    """Return the settings from the comment that heads them to the end of the section."""
    _, _, rest = (UNITS / service).read_text().partition("# Confinement")
    section, _, _ = rest.partition("\n[")
    return [line for line in section.splitlines()[1:] if line and not line.startswith("#")]
