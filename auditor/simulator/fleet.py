"""A seeded generator of a realistic fleet of tokens of any size, one at a time."""

import itertools
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from random import Random
from typing import Final, NamedTuple

from auditor.simulator import profiles
from auditor.simulator.hostile import made_hostile
from auditor.simulator.minting import mint
from auditor.simulator.profiles import PROFILES, Profile
from auditor.simulator.token import Condition, SimulatedToken, Token, to_milliseconds

_CONDITIONS: Final = {
    Condition.HEALTHY: 76.0,
    Condition.NO_EXPIRY: 5.0,
    Condition.EXPIRING_SOON: 4.0,
    Condition.STALE: 3.5,
    Condition.NEVER_USED: 2.5,
    Condition.DISABLED: 2.0,
    Condition.LONG_LIVED: 1.5,
    Condition.EXPIRED: 1.5,
    Condition.OVER_PRIVILEGED: 1.0,
    Condition.PERSONAL_AUTOMATION: 1.0,
    Condition.AWKWARD_OWNER: 1.0,
    Condition.AWKWARD_NAME: 1.0,
}
_CONDITION_VALUES: Final = tuple(_CONDITIONS)
_CONDITION_WEIGHTS: Final = tuple(itertools.accumulate(_CONDITIONS.values()))
_PROFILE_WEIGHTS: Final = tuple(itertools.accumulate(profile.weight for profile in PROFILES))

_DAY: Final = 86_400_000
"""In milliseconds, the unit of all draws."""


def generate(seed: int | str, size: int, now: datetime, *, hostile: bool = False) -> Iterator[SimulatedToken]:
    """Yield ``size`` tokens as they stand at ``now``; nothing is kept, so any size will do.

    The same arguments give the same tokens, a smaller size gives the first of them, and secrets and ids depend on
    ``seed`` alone. With ``hostile`` every token carries something awkward besides (see ``auditor.simulator.hostile``).
    """
    rng = Random(f"fleet {seed}")  # noqa: S311  # a simulation; nothing here guards anything
    moment = to_milliseconds(now)
    for index in range(size):
        minted = mint(seed, index)
        condition = rng.choices(_CONDITION_VALUES, cum_weights=_CONDITION_WEIGHTS)[0]
        profile = rng.choices(PROFILES, cum_weights=_PROFILE_WEIGHTS)[0]
        token = _token(rng, minted.id, index, condition, profile, moment)
        yield SimulatedToken(minted.secret, made_hostile(token, index, moment) if hostile else token, condition)


def secrets(seed: int | str, size: int) -> Iterator[str]:
    """Yield the secrets of the fleet of ``seed``, in its order, without making the tokens."""
    return (mint(seed, index).secret for index in range(size))


class _Times(NamedTuple):
    """The dates of a token as milliseconds before now; negative ones lie ahead."""

    created: int
    expires: int | None
    used: int | None


def _token(rng: Random, token_id: str, index: int, condition: Condition, profile: Profile, now: datetime) -> Token:
    team_number = rng.randrange(len(profiles.TEAMS))
    team = profiles.TEAMS[team_number]
    times = _TIMES.get(condition, _healthy)(rng, profile.lifetime_days * _DAY)
    creation_date = now - timedelta(milliseconds=times.created)
    is_borrowed = condition is Condition.PERSONAL_AUTOMATION
    is_personal = profile.is_personal or is_borrowed
    scopes = rng.choice(profiles.OVER_PRIVILEGED if condition is Condition.OVER_PRIVILEGED else profile.scopes)
    purpose = rng.choice(profiles.MACHINES if is_borrowed else profile.purposes)
    name = f"{team}-{purpose}-{rng.choice(profiles.STAGES)}-{index:05d}"
    if condition is Condition.AWKWARD_NAME:
        name = rng.choice(profiles.AWKWARD_NAMES)
    owner: str | None = f"svc-{team}"
    if condition is Condition.AWKWARD_OWNER:
        owner = rng.choice(profiles.AWKWARD_OWNERS)
    elif is_personal or rng.random() < 0.3:
        owner = f"{rng.choice(profiles.GIVEN_NAMES)}.{rng.choice(profiles.FAMILY_NAMES)}"
    was_edited = rng.random() < 0.1
    modified = rng.randrange(max(times.expires or 0, 0), times.created) if was_edited else times.created
    address = _address(rng, team_number, is_personal and not is_borrowed)
    return Token(
        id=token_id,
        name=name,
        owner=owner,
        scopes=scopes,
        creation_date=creation_date,
        modified_date=now - timedelta(milliseconds=modified),
        expiration_date=None if times.expires is None else now - timedelta(milliseconds=times.expires),
        last_used_date=None if times.used is None else now - timedelta(milliseconds=times.used),
        last_used_ip_address=None if times.used is None else address,
        enabled=condition is not Condition.DISABLED,
        personal_access_token=is_personal,
        additional_metadata={profile.metadata_key: token_id} if profile.metadata_key else {},
    )


def _address(rng: Random, team_number: int, is_from_desk: bool) -> str:
    """Return where the last use came from: the team's subnet, the VPN of people, or now and then the open net."""
    if is_from_desk:
        return f"10.200.{rng.randrange(8)}.{rng.randrange(1, 255)}"
    if rng.random() < 0.02:
        return f"34.197.2.{rng.randrange(1, 255)}"  # the network of the address on the provider's page
    return f"10.{20 + team_number}.{rng.randrange(4)}.{rng.randrange(1, 255)}"


def _recently(rng: Random, created: int) -> int:
    return min(created - 1, int(rng.expovariate(1 / (_DAY / 4))))


def _healthy(rng: Random, lifetime: int) -> _Times:
    """More than 60 days left, used within the last days, within the lifetime of its profile."""
    created = rng.randrange(_DAY, lifetime - 61 * _DAY)
    return _Times(created, created - lifetime, _recently(rng, created))


def _no_expiry(rng: Random, _lifetime: int) -> _Times:
    created = rng.randrange(30 * _DAY, 900 * _DAY)
    return _Times(created, None, _recently(rng, created))


def _long_lived(rng: Random, _lifetime: int) -> _Times:
    created = rng.randrange(30 * _DAY, 600 * _DAY)
    return _Times(created, created - rng.randrange(730 * _DAY, 1_825 * _DAY), _recently(rng, created))


def _expiring_soon(rng: Random, lifetime: int) -> _Times:
    left = rng.randrange(_DAY // 10, 30 * _DAY)
    return _Times(lifetime - left, -left, _recently(rng, lifetime - left))


def _expired(rng: Random, lifetime: int) -> _Times:
    """Expired within the seven days in which the environment still lists it; used until then."""
    expired = rng.randrange(_DAY // 20, 6 * _DAY)
    return _Times(expired + lifetime, expired, expired + _recently(rng, lifetime))


def _stale(rng: Random, lifetime: int) -> _Times:
    created = rng.randrange(min(75 * _DAY, lifetime * 7 // 10), lifetime * 8 // 10)
    return _Times(created, created - lifetime, rng.randrange(46 * _DAY, created - 5 * _DAY))


def _never_used(rng: Random, lifetime: int) -> _Times:
    created = rng.randrange(31 * _DAY, lifetime * 8 // 10)
    return _Times(created, created - lifetime, None)


def _disabled(rng: Random, lifetime: int) -> _Times:
    created = rng.randrange(20 * _DAY, lifetime - 20 * _DAY)
    return _Times(created, created - lifetime, rng.randrange(created // 4, created))


_TIMES: Final[dict[Condition, Callable[[Random, int], _Times]]] = {
    Condition.NO_EXPIRY: _no_expiry,
    Condition.LONG_LIVED: _long_lived,
    Condition.EXPIRING_SOON: _expiring_soon,
    Condition.EXPIRED: _expired,
    Condition.STALE: _stale,
    Condition.NEVER_USED: _never_used,
    Condition.DISABLED: _disabled,
}
