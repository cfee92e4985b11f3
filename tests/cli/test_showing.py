"""What commands print."""

import json

import pytest

from auditor.cli.showing import print_json

PUBLIC_ID = "dt0c01.ST2EY72KQINMH574WMNVI7YN"


def test_json_holds_no_secret_of_a_token_and_every_character_else(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"matches": f"name {PUBLIC_ID}.{'A' * 64}", "owner": "\ud800 ß \u202e"})
    shown = json.loads(capsys.readouterr().out)
    assert shown == {"matches": f"name {PUBLIC_ID}.…", "owner": "\ufffd ß \u202e"}
