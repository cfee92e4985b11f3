"""The mutable state of one simulated environment: its tokens, and what happens to them as time goes by."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import Final

import msgspec

from auditor.simulator.minting import mint
from auditor.simulator.token import SimulatedToken, Token, to_milliseconds

_DEFAULT_LIFETIME: Final = timedelta(days=90)


class UnknownToken(LookupError):
    """The world holds no token of this id: it never did, or it was deleted or purged."""


@dataclass(slots=True)
class SteppedClock:
    """A clock that stands still until it is moved."""

    now: datetime

    def __call__(self) -> datetime:
        """Return the time at which it stands."""
        return self.now

    def advance(self, span: timedelta) -> None:
        """Move the clock forward by ``span``."""
        self.now += span


class World:
    """The tokens of one environment, by id and by secret; like the real one it keeps digests of secrets only.

    Operations take a token's id, act at the clock's time and return the token's new state; they raise
    ``UnknownToken``. A token that expired seven days ago is gone, whether or not ``purge`` was called.
    """

    def __init__(
        self, tokens: Iterable[SimulatedToken] = (), *, clock: Callable[[], datetime], seed: int | str = 0
    ) -> None:
        self._clock = clock
        self._seed = f"world {seed}"
        self._minted = 0
        self._tokens: dict[str, Token] = {}
        # An id stays here after its token is deleted, so that a token that comes back answers to its old secret.
        self._ids: dict[bytes, str] = {}
        for token in tokens:
            self.add(token)

    @property
    def now(self) -> datetime:
        """The world's time, to the millisecond."""
        return to_milliseconds(self._clock())

    def __len__(self) -> int:
        return sum(1 for _ in self.tokens())

    def tokens(self) -> Iterator[Token]:
        """Yield the tokens that exist now, in the order in which they came."""
        now = self.now
        return (token for token in self._tokens.values() if not token.is_purged(now))

    def find(self, where: Callable[[Token], bool]) -> list[Token]:
        """Return the tokens that exist now and fulfil ``where``, in the order in which they came."""
        return [token for token in self.tokens() if where(token)]

    def get(self, token_id: str) -> Token | None:
        """Return the token of this id, or None where there is none."""
        token = self._tokens.get(token_id)
        return None if token is None or token.is_purged(self._clock()) else token

    def by_secret(self, secret: str) -> Token | None:
        """Return the token of this secret, or None where there is none."""
        token_id = self._ids.get(_digest(secret))
        return None if token_id is None else self.get(token_id)

    def add(self, token: SimulatedToken) -> Token:
        """Take in a token that was made elsewhere, in place of one with the same id."""
        self._ids[_digest(token.secret)] = token.token.id
        return self._put(token.token)

    def create(
        self,
        name: str,
        scopes: Sequence[str],
        *,
        owner: str | None = "demo.operator",
        expiration_date: datetime | None = None,
        personal_access_token: bool = False,
    ) -> SimulatedToken:
        """Make a new token of today's format; what is returned is the only copy of its secret."""
        minted = mint(self._seed, self._minted, modern=True)
        self._minted += 1
        now = self.now
        created = SimulatedToken(
            minted.secret,
            Token(
                id=minted.id,
                name=name,
                owner=owner,
                scopes=tuple(scopes),
                creation_date=now,
                modified_date=now,
                expiration_date=expiration_date and to_milliseconds(expiration_date),
                personal_access_token=personal_access_token,
            ),
        )
        self.add(created)
        return created

    def rotate(self, token_id: str) -> SimulatedToken:
        """Make a successor with the same name, owner, scopes and lifetime (90 days where there was no end).

        The predecessor stays as it is; ``use`` it again to play a rotation that was not finished.
        """
        old = self._existing(token_id)
        lifetime = old.expiration_date - old.creation_date if old.expiration_date else _DEFAULT_LIFETIME
        return self.create(
            old.name,
            old.scopes,
            owner=old.owner,
            expiration_date=self.now + lifetime,
            personal_access_token=old.personal_access_token,
        )

    def use(self, token_id: str, ip_address: str | None = None) -> Token:
        """Record a use now, from ``ip_address`` or from where it was used last."""
        token = self._existing(token_id)
        return self._put(
            msgspec.structs.replace(
                token, last_used_date=self.now, last_used_ip_address=ip_address or token.last_used_ip_address
            )
        )

    def expire(self, token_id: str) -> Token:
        """Bring the expiration forward to now; an operator of the real API could not."""
        return self.change(token_id, expiration_date=self.now)

    def enable(self, token_id: str) -> Token:
        """Enable the token; like the provider, without a trace in ``modifiedDate``."""
        return self.change(token_id, enabled=True)

    def disable(self, token_id: str) -> Token:
        """Disable the token; like the provider, without a trace in ``modifiedDate``."""
        return self.change(token_id, enabled=False)

    def rename(self, token_id: str, name: str) -> Token:
        """Give the token another name; moves ``modifiedDate``."""
        return self.change(token_id, name=name, modified_date=self.now)

    def set_scopes(self, token_id: str, scopes: Sequence[str]) -> Token:
        """Replace the token's scopes; moves ``modifiedDate``."""
        return self.change(token_id, scopes=tuple(scopes), modified_date=self.now)

    def add_scopes(self, token_id: str, *scopes: str) -> Token:
        """Give the token more scopes; moves ``modifiedDate``."""
        held = self._existing(token_id).scopes
        return self.set_scopes(token_id, (*held, *(scope for scope in scopes if scope not in held)))

    def change(self, token_id: str, **fields: object) -> Token:
        """Set any fields of ``Token`` as given, also ways that the API would never allow; moves nothing else."""
        return self._put(msgspec.structs.replace(self._existing(token_id), **fields))

    def delete(self, token_id: str) -> Token:
        """Delete the token and return its last state, with which ``restore`` can bring it back."""
        token = self._existing(token_id)
        del self._tokens[token_id]
        return token

    def restore(self, token: Token) -> Token:
        """Bring back a deleted token; it answers to its old secret again."""
        return self._put(token)

    def purge(self) -> list[str]:
        """Free the memory of tokens that expired seven days ago or earlier; returns their ids."""
        now = self.now
        gone = [token.id for token in self._tokens.values() if token.is_purged(now)]
        for token_id in gone:
            del self._tokens[token_id]
        return gone

    def _existing(self, token_id: str) -> Token:
        token = self.get(token_id)
        if token is None:
            raise UnknownToken(f"the simulated environment holds no token {token_id}")
        return token

    def _put(self, token: Token) -> Token:
        self._tokens[token.id] = token
        return token


def _digest(secret: str) -> bytes:
    # A secret from outside may hold half a surrogate pair.
    return blake2b(secret.encode("utf-8", "surrogatepass"), digest_size=16).digest()
