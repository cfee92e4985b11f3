"""``auditor evidence``: a package is exported, proved without a configuration, and found out when it is altered."""

import base64
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.command_line import Site, ordinary_environ, run

SOON = datetime.now(UTC) + timedelta(days=20)
SEED = base64.b64encode(bytes(range(32))).decode()


def sweep(site: Site) -> Site:
    site.configure(more='[evidence]\nsigning_key = { env = "EVIDENCE_KEY" }\n')
    assert site.run("sweep", "--all").exit_code == 0
    return site


@pytest.fixture(scope="module")
def signing(lasting_site: Site) -> Site:
    """Swept, with a key that signs packages."""
    return sweep(lasting_site)


def test_package_is_exported_and_proved_without_a_configuration(signing: Site, tmp_path: Path) -> None:
    package = tmp_path / "evidence.zip"
    done = signing.run("evidence", "export", "-o", str(package), EVIDENCE_KEY=SEED)
    assert done.exit_code == 0
    assert "signed by SHA256:" in done.err
    signers = tmp_path / "signers"
    signers.write_text(signing.run("evidence", "key", EVIDENCE_KEY=SEED).out)
    proved = run("evidence", "verify", str(package), "--key", str(signers), environ=ordinary_environ())
    assert (proved.exit_code, proved.out.splitlines()[-1].split(":")[0]) == (0, f"{package} is unaltered and complete")
    assert SEED not in done.out + done.err + proved.out


def test_package_that_was_altered_exits_with_1_and_the_broken_link(signing: Site, tmp_path: Path) -> None:
    package, altered = tmp_path / "evidence.zip", tmp_path / "altered.zip"
    assert signing.run("evidence", "export", "-o", str(package), EVIDENCE_KEY=SEED).exit_code == 0
    with zipfile.ZipFile(package) as archive, zipfile.ZipFile(altered, "w") as copy:
        for name in archive.namelist():
            copy.writestr(name, archive.read(name).replace(b'"transition" : "opened"', b'"transition" : "eased"'))
    done = run("evidence", "verify", str(altered), environ=ordinary_environ())
    assert done.exit_code == 1
    assert "chain of prod, link 1: its records are not those of" in done.out
    assert done.out.splitlines()[-1].startswith(f"{altered} is altered or not complete")
    told = run("evidence", "verify", str(altered), "--json", environ=ordinary_environ())
    assert (told.exit_code, told.json()["is_unaltered"]) == (1, False)


def test_database_is_proved_with_its_acts_between_sweeps(site: Site) -> None:
    sweep(site)
    key = site.run("findings", "--json").json()[0]["key"]
    terms = (
        "--owner",
        "ann",
        "--approver",
        "ben",
        "--reason",
        "known",
        "--ticket",
        "OPS-7",
        "--until",
        f"{SOON:%Y-%m-%d}",
    )
    before = site.run("evidence", "verify", "--json", EVIDENCE_KEY=SEED).json()
    waived = site.run("waive", key, *terms, "--json")
    assert site.run("waivers", "remove", waived.json()["id"]).exit_code == 0
    after = site.run("evidence", "verify", "--json").json()
    assert (before["problems"], after["problems"]) == ([], [])
    assert after["links"] == before["links"] + 2


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("verify", "none.zip"), "none.zip: cannot be read: No such file or directory; name a package"),
        (("verify", "--key", "x"), "--key: is of a package; name one, since nobody signs the database"),
        (("export", "-o", "x", "--period", "soon"), '--period: "soon" is no period; write 2026, 2026-Q3'),
    ],
)
def test_what_cannot_be_asked_for_exits_with_2(files: Site, arguments: tuple[str, ...], complaint: str) -> None:
    done = files.run("evidence", *arguments)
    assert done.exit_code == 2
    assert done.complaints[0].startswith(complaint)


def test_key_that_is_none_is_told_and_not_shown(signing: Site, tmp_path: Path) -> None:
    done = signing.run("evidence", "export", "-o", str(tmp_path / "x.zip"), EVIDENCE_KEY="c2hvcnQ=")
    assert done.exit_code == 2
    assert "is no signing key; it must be 32 random bytes in base64" in done.complaints[0]
    assert "c2hvcnQ" not in done.err
