"""The master keys that a configuration names, or the one that auditor makes for itself."""

import asyncio
from pathlib import Path

from auditor.config.document import EncryptionSettings
from auditor.credentials.reference import Resolver
from auditor.store.keys import Keyring, MasterKey, load_or_create_key_file


async def keyring_of(settings: EncryptionSettings, *, resolver: Resolver, state: Path) -> Keyring:
    """Return the configured keys; without a configured one, the key file of the state directory, made when missing.

    Raises ``ConfigError`` where a key cannot be had or is none.
    """
    if settings.key is None:
        current = await asyncio.to_thread(_own_key, state)
    else:
        current = MasterKey.parse(await resolver.resolve(settings.key, "encryption.key"), "encryption.key")
    previous: list[MasterKey] = []
    for number, reference in enumerate(settings.previous_keys):
        place = f"encryption.previous_keys[{number}]"
        previous.append(MasterKey.parse(await resolver.resolve(reference, place), place))
    return Keyring(current, previous)


def _own_key(state: Path) -> MasterKey:
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    return load_or_create_key_file(state / "master.key")
