"""``auditor reports``: making a report of the configuration by hand, and seeing what was made."""

import hashlib
import json
import sys
from pathlib import Path

from tests.command_line import Site

REPORTS = f"""
[reports.mine]
every = "1d"
formats = ["json"]
directory = "kept"
hooks = ["file"]

[reports.theirs]
every = "1d"
formats = ["csv"]
directory = "auditor.toml"

[hooks.file]
type = "command"
argv = ["{sys.executable}", "-c", "import os, sys; open(os.environ['HOME'] + '/filed', 'w').write(sys.stdin.read())"]
"""


def test_report_is_made_by_hand_delivered_on_request_and_listed(site: Site) -> None:
    site.configure(more=REPORTS)
    home = str(site.directory)
    assert site.run("reports", "list").out == "No report was made yet.\n"
    assert site.run("reports", "make", "mine", HOME=home).exit_code == 0
    assert not (site.directory / "filed").exists()
    made = site.run("reports", "make", "mine", "--deliver", HOME=home)
    assert made.exit_code == 0
    path = Path(made.out.strip())
    assert path.parent == site.directory / "kept"
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    (told,) = json.loads((site.directory / "filed").read_text())["data"]["files"]
    assert (told["path"], told["sha256"]) == (str(path), digest)
    last, first = site.run("reports", "list", "mine", "--json").json()
    assert (last["status"], last["slot"], last["files"][0]["sha256"]) == ("made", None, digest)
    assert first["files"][0]["path"] < last["files"][0]["path"]
    assert digest in site.run("reports", "list").out


def test_report_that_cannot_be_made_by_hand_is_told_and_listed(site: Site) -> None:
    site.configure(more=REPORTS)
    ended = site.run("reports", "make", "theirs")
    assert ended.exit_code == 3
    said = f"{site.config} cannot be written to: File exists"
    assert ended.complaints == [f"report theirs: {said}"]
    assert said in site.run("reports", "list").out


def test_mistakes_are_told_before_anything_is_opened(files: Site) -> None:
    files.configure(more=REPORTS)
    for arguments, said in (
        (("make", "mien"), 'report mien: no such report; did you mean "mine"?'),
        (("make", "theirs", "--deliver"), "--deliver: [reports.theirs] names no hooks"),
    ):
        ended = files.run("reports", *arguments)
        assert (ended.exit_code, ended.complaints) == (2, [said])
