"""Environment variables of the auditor's own process."""

from collections.abc import Generator
from typing import Final, Literal

from auditor.model.token import StoredToken
from auditor.policy.selectors import Alternatives, matcher
from auditor.sources.base import EnvironmentName, Source, SourceKind, SourceSettings, Surroundings
from auditor.sources.blocking import BlockingSource
from auditor.sources.intake import Intake


class EnvironmentVariablesSettings(SourceSettings):
    """A ``[sources.NAME]`` table with ``type = "environment"``: each variable that matches holds one token."""

    type: Literal["environment"]
    """Which kind of source this is."""
    variables: Alternatives
    """Globs over the variables' names, without regard to case: ``["DT_*_TOKEN"]``."""
    environment: EnvironmentName
    """The environment that the tokens are for."""


def _open(name: str, settings: EnvironmentVariablesSettings, surroundings: Surroundings) -> Source:
    is_wanted = matcher(settings.variables)

    def tokens(intake: Intake) -> Generator[StoredToken, None, None]:
        for variable, value in sorted(surroundings.environ.items()):
            if is_wanted(variable):
                token = intake.token(value, settings.environment, f"env:{variable}")
                if token is not None:
                    yield token

    return BlockingSource(
        name,
        settings,
        (settings.environment,),
        surroundings.environments,
        f"environment variables {', '.join(settings.variables)}",
        tokens,
    )


KIND: Final = SourceKind(name="environment", settings=EnvironmentVariablesSettings, open=_open)
