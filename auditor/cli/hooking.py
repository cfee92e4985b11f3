"""``auditor hooks``: lists the hooks, sends a test through one, and shows what one would say."""

from enum import StrEnum
from typing import Any, Final

import msgspec

from auditor.alerts.base import HookKind, HookSettings, Surroundings
from auditor.alerts.body import body_of
from auditor.alerts.rich import Rich
from auditor.alerts.samples import sample_alerts, sample_digest, trial_alert
from auditor.alerts.wording import AlertWordedSettings, WordedSettings
from auditor.cli.session import Session, located, now, run_loop
from auditor.cli.showing import console, print_json, print_table, severity, text
from auditor.config.load import Config
from auditor.model.errors import ConfigError, Problem
from auditor.model.message import Message
from auditor.model.spelling import meant
from auditor.policy.routing.windows import NOW
from auditor.store.outbox import new_id

DIGEST: Final = "digest"
"""In place of an event: several at once."""
_TRIAL_ID: Final = "00000000-0000-4000-8000-000000000000"
"""Of a test that is only previewed."""


class Form(StrEnum):
    """How a preview is shown."""

    TEXT = "text"
    HTML = "html"
    MARKDOWN = "markdown"
    SLACK = "slack"


class Listed(msgspec.Struct, frozen=True, kw_only=True):
    """A hook as it is listed."""

    name: str
    type: str
    min_severity: str
    takes_digests: bool
    conditions: int
    """Of ``only`` and ``exempt``; 0: everything goes there."""
    leaves: str
    """When alerts leave for it, in words."""
    templates: dict[str, str]
    """Its own, by name; those of ``[templates]`` are not among them."""


def list_hooks(session: Session, *, as_json: bool) -> int:
    """List the configured hooks; asks nobody."""
    config = session.load()
    listed = [_listed(name, kind, settings) for name, (kind, settings) in config.hooks.items()]
    if as_json:
        print_json(listed)
    elif not listed:
        console().print("No hooks: alerts are logged and go nowhere else. Add a [hooks.NAME] table.")
    else:
        print_table(
            ("Hook", "Type", "From severity", "Conditions", "Leaves", "Own templates"),
            (
                (
                    text(one.name),
                    one.type,
                    severity(one.min_severity),
                    str(one.conditions or "none"),
                    one.leaves,
                    text(", ".join(one.templates)),
                )
                for one in listed
            ),
        )
    return 0


def _listed(name: str, kind: HookKind, settings: HookSettings) -> Listed:
    own = settings.templates if isinstance(settings, WordedSettings | AlertWordedSettings) else None
    paths = {} if own is None else {key: str(path) for key, path in own.model_dump(exclude_none=True).items()}
    return Listed(
        name=name,
        type=kind.name,
        min_severity=settings.min_severity.value,
        takes_digests=kind.takes_digests,
        conditions=len(settings.only) + len(settings.exempt),
        leaves=_leaves(settings),
        templates=paths,
    )


def _leaves(settings: HookSettings) -> str:
    """Say when alerts leave for a hook, as its settings write it."""
    said: list[str] = []
    if settings.escalation_after is not None:
        said.append(f"unattended for {settings.escalation_after}")
    if settings.digest is not None:
        windows = settings.digest.model_dump(
            exclude_none=True, exclude={"rest"} if settings.digest.rest == NOW else None
        )
        said.append(", ".join(f"{severity} {window}" for severity, window in windows.items()))
    quiet = settings.quiet
    if quiet is not None:
        weekends = " and at weekends" if quiet.weekends else ""
        said.append(f"not {quiet.start} to {quiet.end}{weekends} unless {quiet.unless}")
    zone = f" ({settings.timezone})" if settings.digest or quiet else ""
    return "; ".join(said) + zone or "at once"


def try_out(session: Session, name: str, *, leave_open: bool) -> int:
    """Send a marked test through a hook; where it keeps a state, take it back unless ``leave_open``.

    Raises ``DeliveryFailed`` where the other side did not take it.
    """
    config = session.load()
    kind, _settings = _hook(config, name)
    with located(config):
        answers = run_loop(_try_out(session, config, name, ends=not (kind.takes_digests or leave_open)))
    for answer in answers:
        console().print(text(f"{name}: {answer}"))
    if leave_open and not kind.takes_digests:
        console().print(text(f"The test stays open; auditor hooks test {name} ends it."))
    return 0


async def _try_out(session: Session, config: Config, name: str, *, ends: bool) -> list[str]:
    kind, settings = _hook(config, name)
    hook = await kind.open(name, settings, Surroundings(session.resolver(config), config.wordings[name]))
    try:
        return [
            await hook.deliver(Message.of_one(trial_alert(new_id(), name, now(), ends=is_end)), now())
            for is_end in ([False, True] if ends else [False])
        ]
    finally:
        await hook.close()


def preview(session: Session, name: str, *, event: str, form: Form) -> int:
    """Show what a hook's templates make of a sample; of a hook that sends JSON, the document. Sends nothing."""
    config = session.load()
    kind, settings = _hook(config, name)
    message = _sample(event, name)
    if message.is_digest and not kind.takes_digests:
        raise ConfigError(Problem(f"hook {name}", f"takes no digests, as every {kind.name} hook"))
    if not isinstance(settings, WordedSettings | AlertWordedSettings):
        document: Any = msgspec.json.decode(body_of(message))
        print_json(document)
        return 0
    words = config.wordings[name].words(message)
    for line in (words.subject, "", *_written(words.body, form).split("\n")):
        console().print(text(line))
    return 0


def _written(body: Rich, form: Form) -> str:
    match form:
        case Form.HTML:
            return body.html()
        case Form.MARKDOWN:
            return body.markdown()
        case Form.SLACK:
            return "\n\n".join(body.slack())
    return body.plain()


def _sample(event: str, hook: str) -> Message:
    if event == DIGEST:
        return sample_digest(now())
    trial = trial_alert(_TRIAL_ID, hook, now())
    samples = {**sample_alerts(now()), trial.event: trial}
    if event not in samples:
        raise ConfigError(Problem("--event", f'unknown event "{event}"; {meant(event, [*samples, DIGEST])}'))
    return Message.of_one(samples[event])


def _hook(config: Config, name: str) -> tuple[HookKind, HookSettings]:
    if name not in config.hooks:
        raise ConfigError(Problem(f"hook {name}", f"no such hook; {meant(name, config.hooks)}"))
    return config.hooks[name]
