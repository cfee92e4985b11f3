"""The files under config/: what an operator starts from, and the schemas that help with it."""

import json
import re
import shutil
import tomllib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from auditor.alerts.base import HookKind, HookSettings
from auditor.alerts.registry import SHIPPED as HOOKS
from auditor.config.document import AuditorDocument
from auditor.config.load import load
from auditor.config.schema import auditor_schema, policy_schema, waivers_schema
from auditor.credentials.reference import SecretReference
from auditor.policy.document import PolicyDocument, RuleSettings
from auditor.policy.registry import SHIPPED as RULES
from auditor.sources.base import SourceKind
from auditor.sources.registry import SHIPPED as SOURCES
from tests.config.shipped import CONFIG, with_every_setting

EXAMPLES = {
    ("DirectorySettings", "files"),
    ("ScheduleSettings", "environments"),
    ("CommandSettings", "min_severity"),
    ("PagerDutySettings", "min_severity"),
    ("OpsgenieSettings", "min_severity"),
    ("SyslogSettings", "transport"),
}
"""Keys that the file shows with a value other than their default."""


def test_shipped_configuration_is_sound_as_it_stands() -> None:
    config = load(CONFIG / "auditor.toml")
    assert list(config.document.environments) == ["prod"]
    assert config.document.environments["prod"].token == SecretReference(credential="prod-token")
    assert config.policy.name == "baseline"


def test_every_setting_in_a_comment_is_sound(tmp_path: Path) -> None:
    shutil.copytree(CONFIG, tmp_path, dirs_exist_ok=True)
    (tmp_path / "auditor.toml").write_text(with_every_setting(), encoding="utf-8")
    config = load(tmp_path / "auditor.toml")
    assert {kind.name for kind, _settings in config.sources.values()} == {kind.name for kind in SOURCES}
    assert {kind.name for kind, _settings in config.hooks.values()} == {kind.name for kind in HOOKS}


def test_shipped_policies_for_some_environments_alter_what_they_say(tmp_path: Path) -> None:
    shutil.copytree(CONFIG, tmp_path, dirs_exist_ok=True)
    (tmp_path / "auditor.toml").write_text(with_every_setting(), encoding="utf-8")
    policies = load(tmp_path / "auditor.toml").policies
    own = policies.by_environment["prod"].document
    assert (policies.common.document.name, own.name) == ("baseline", "production")
    for rule_id in ("DT-EXP-02", "DT-PAT-02", "DT-STA-01"):
        assert own.rules[rule_id] != policies.common.document.rules[rule_id], rule_id


def settings_in(value: object) -> Iterator[BaseModel]:
    if isinstance(value, BaseModel):
        yield value
        for name in type(value).model_fields:
            yield from settings_in(getattr(value, name))
    elif isinstance(value, dict):
        for item in value.values():
            yield from settings_in(item)


def test_every_key_is_shown_with_its_default(tmp_path: Path) -> None:
    shutil.copytree(CONFIG, tmp_path, dirs_exist_ok=True)
    (tmp_path / "auditor.toml").write_text(with_every_setting(), encoding="utf-8")
    config = load(tmp_path / "auditor.toml")
    members = [settings for _kind, settings in (*config.sources.values(), *config.hooks.values())]
    shown: dict[type[BaseModel], set[str]] = {}
    for settings in (*settings_in(config.document), *members):
        model = type(settings)
        shown.setdefault(model, set()).update(settings.model_fields_set)
        for name in settings.model_fields_set:
            default = model.model_fields[name].default
            is_example = (
                (model.__name__, name) in EXAMPLES or default in (None, ()) or model.model_fields[name].is_required()
            )
            assert is_example or getattr(settings, name) == default or isinstance(default, BaseModel | dict), (
                model,
                name,
            )
    for model, names in shown.items():
        if model is not SecretReference:  # the head of the file shows its four ways
            shown_once = set(HookSettings.model_fields) if issubclass(model, HookSettings) else set()
            assert set(model.model_fields) - names <= {"tags", "allow_empty", "environment"} | shown_once, model
    of_hooks = [names for model, names in shown.items() if issubclass(model, HookSettings)]
    assert set(HookSettings.model_fields) <= set().union(*of_hooks)
    text = (CONFIG / "auditor.toml").read_text(encoding="utf-8")
    assert all(f"{{ {name} = " in text for name in SecretReference.model_fields)


def undescribed(schema: dict[str, Any]) -> Iterator[str]:
    """What a schema says nothing about."""
    for name, definition in {"": schema, **schema["$defs"]}.items():
        if "description" not in definition:
            yield name
        if name not in {"AgeLadder", "CountdownLadder", "DaysByTier", "Deadlines"}:  # keys are severities or tiers
            keys = definition.get("properties", {}).items()
            yield from (f"{name}.{key}" for key, said in keys if "description" not in said)


def test_schema_of_the_configuration_names_every_key() -> None:
    schema = json.loads(auditor_schema())
    assert set(schema["properties"]) == set(AuditorDocument.model_fields)
    assert schema["required"] == ["environments", "sources"]
    members: dict[str, Sequence[SourceKind[Any] | HookKind]] = {"sources": SOURCES, "hooks": HOOKS}
    for table, kinds in members.items():
        alternatives = schema["properties"][table]["additionalProperties"]["oneOf"]
        assert len(alternatives) == len(kinds)
        for kind, alternative in zip(kinds, alternatives, strict=True):
            definition = schema["$defs"][alternative["$ref"].removeprefix("#/$defs/")]
            assert set(definition["properties"]) == set(kind.settings.model_fields)
            assert definition["properties"]["type"]["const"] == kind.name
            assert definition["additionalProperties"] is False


def test_schema_of_a_policy_names_every_rule_and_parameter() -> None:
    schema = json.loads(policy_schema())
    assert set(schema["properties"]) == set(PolicyDocument.model_fields)
    assert "required" not in schema
    tables = schema["properties"]["rules"]["properties"]
    assert set(tables) == {rule.id for rule in RULES}
    for rule in RULES:
        assert set(tables[rule.id]["properties"]) == {*rule.params.model_fields, *RuleSettings.model_fields}
        assert rule.title in tables[rule.id]["description"]


@pytest.mark.parametrize("made", [auditor_schema, policy_schema, waivers_schema])
def test_schemas_tell_what_each_key_means_and_know_no_null(made: Callable[[], str]) -> None:
    text = made()
    schema = json.loads(text)
    assert list(undescribed(schema)) == []
    assert set(re.findall(r"#/\$defs/(\w+)", text)) == set(schema["$defs"])
    assert "null" not in text
    assert "``" not in text


@pytest.mark.parametrize("path", ["auditor.toml", "policies/baseline.toml", "policies/production.toml", "waivers.toml"])
def test_shipped_files_lead_an_editor_to_their_schema(path: str) -> None:
    first = (CONFIG / path).read_text(encoding="utf-8").split("\n", 1)[0]
    assert first.startswith("#:schema ")
    assert (CONFIG / path).parent.joinpath(first.removeprefix("#:schema ")).is_file()


def test_shipped_files_fit_their_schemas() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    everything = tomllib.loads(with_every_setting())
    baseline = tomllib.loads((CONFIG / "policies/baseline.toml").read_text(encoding="utf-8"))
    for text, good, bad in (
        (auditor_schema(), everything, everything | {"environment": {}}),
        (policy_schema(), baseline, baseline | {"rules": {"DT-EXP-1": {}}}),
    ):
        validator = jsonschema.Draft202012Validator(json.loads(text))
        validator.check_schema(json.loads(text))
        assert list(validator.iter_errors(good)) == []
        assert list(validator.iter_errors(bad)) != []
