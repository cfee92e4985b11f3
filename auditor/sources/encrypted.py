"""The encrypted store in auditor's own database, which ``auditor tokens`` fills."""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from auditor.model.errors import SourceError, StoreMismatch
from auditor.model.token import StoredToken
from auditor.sources.base import Source, SourceKind, SourceSettings, Surroundings
from auditor.sources.intake import Intake
from auditor.store.database import translated
from auditor.store.vault import sealed_entries


class EncryptedSettings(SourceSettings):
    """A ``[sources.NAME]`` table with ``type = "encrypted"``: the tokens that ``auditor tokens`` put into the database.

    Each says itself which environment it is for.
    """

    type: Literal["encrypted"]
    """Which kind of source this is."""


@dataclass(frozen=True, slots=True)
class EncryptedSource:
    """The encrypted store, read in batches."""

    name: str
    settings: EncryptedSettings
    surroundings: Surroundings

    def environments(self) -> Sequence[str]:
        """Return nothing: each entry tells."""
        return ()

    async def read(self) -> AsyncGenerator[Sequence[StoredToken], None]:
        """Decrypt and yield every entry; one that does not decrypt is a problem.

        Raises ``StoreUnavailable`` where the database goes away.
        """
        vault = self.surroundings.vault
        if vault is None:
            raise SourceError("the encrypted store is in the database, which is not open; run where it can be reached")
        intake = Intake(self.name, self.settings, self.surroundings.environments)
        with translated():
            async for entries in sealed_entries(vault):
                batch: list[StoredToken] = []
                for entry in entries:
                    place = f"entry {entry.label}"
                    try:
                        secret = entry.unseal(vault.keyring)
                    except StoreMismatch as error:
                        intake.problem(place, str(error))
                        continue
                    token = intake.token(secret.reveal(), entry.environment, place)
                    if token is not None:
                        batch.append(token)
                if batch:
                    yield batch
        intake.finish("the encrypted store")


def _open(name: str, settings: EncryptedSettings, surroundings: Surroundings) -> Source:
    return EncryptedSource(name, settings, surroundings)


KIND: Final = SourceKind(name="encrypted", settings=EncryptedSettings, open=_open)
