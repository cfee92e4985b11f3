"""To which addresses word goes, so that who can act gets it."""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, Final

from pydantic import AfterValidator, BeforeValidator, Field

from auditor.policy.selectors import as_tuple, matcher

OWN: Final = "{owner}"
"""In place of an address: the owner is an address already."""

_ADDRESS: Final = re.compile(r"[^\s@,;:<>\"'()\[\]\\]{1,64}@[A-Za-z0-9.-]{1,255}")
_OWNERS_KEPT: Final = 4096
_ANY: Final = frozenset("*?[")


def checked_address(text: str) -> str:
    """Return an address, or what stands for the owner's own; raises ``ValueError`` saying why it is none."""
    if text != OWN and not is_address(text):
        raise ValueError(f'must be an address such as team@example.com, or "{OWN}" where owners are addresses')
    return text


Addresses = Annotated[
    tuple[Annotated[str, AfterValidator(checked_address)], ...],
    BeforeValidator(as_tuple, json_schema_input_type=str | tuple[str, ...]),
    Field(min_length=1),
]
"""One address or a list of them."""


def is_address(text: str) -> bool:
    """Whether a text is one plain mail address. What is let through can stand in a header as it is."""
    return _ADDRESS.fullmatch(text) is not None and text.isprintable()


class Owners:
    """Owners, or globs over them, with addresses.

    An owner's own name goes before globs, and a glob before those that follow it. Case makes no difference.
    """

    def __init__(self, addresses: Mapping[str, tuple[str, ...]]) -> None:
        named = {name.casefold(): found for name, found in addresses.items() if not _ANY & set(name)}
        globs = [(matcher((glob,)), found) for glob, found in addresses.items() if _ANY & set(glob)]

        def addresses_of(owner: str) -> tuple[str, ...]:
            exact = named.get(owner.casefold())
            for found in ([exact] if exact else []) + [found for match, found in globs if match(owner)]:
                usable = tuple(owner if address == OWN else address for address in found)
                # An owner is outside text: one that is no address is passed over, and the next entry tried.
                if all(is_address(address) for address in usable):
                    return usable
            return ()

        self._addresses_of = lru_cache(maxsize=_OWNERS_KEPT)(addresses_of)

    def addresses_of(self, owner: str | None) -> tuple[str, ...]:
        """Return the addresses of an owner; of one that is not known, those of the glob ``*``, else none."""
        return self._addresses_of(owner or "")
