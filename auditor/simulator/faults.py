"""Which requests go wrong, and how: by probability with a seed, or by plan. Decides only; ``wire`` carries out."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import fnmatchcase
from hashlib import blake2b


class Fault(StrEnum):
    """What can happen to a request between a client and the API."""

    LATENCY = "latency"
    """The right answer, late."""
    RESET = "reset"
    """The connection is reset before any answer."""
    TRUNCATED = "truncated"
    """The right answer's first half; Content-Length promised all of it."""
    DRIP = "drip"
    """The right answer, byte by byte."""
    HTML = "html"
    """A login page with status 200."""
    PROXY_FORBIDDEN = "proxy-forbidden"
    """A proxy's HTML page with status 403."""
    SERVER_ERROR = "server-error"
    """503 in the API's error envelope."""
    SERVER_ERROR_EMPTY = "server-error-empty"
    """502 without a body."""
    THROTTLED = "throttled"
    """429 with ``Retry-After``."""
    OVERSIZED = "oversized"
    """Valid JSON of 10 MB, without a Content-Length to warn of it."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What happens to the requests that match, in the order of their arrival."""

    faults: tuple[Fault | None, ...] = ()
    """For the first request, the second, and so on; None lets one pass."""
    then: Fault | None = None
    """For all that follow; None lets them pass."""
    path: str = "*"
    """A glob over the path below the environment's base, such as ``/api/v2/apiTokens/lookup``."""
    token_id: str | None = None
    """Only requests about this token: looked up, read, updated or deleted. None: any request."""

    def matches(self, path: str, token_id: str | None) -> bool:
        """Whether a request falls under this plan."""
        return fnmatchcase(path, self.path) and self.token_id in (None, token_id)

    def fault(self, number: int) -> Fault | None:
        """Return what happens to matching request ``number``, counted from 0."""
        return self.faults[number] if number < len(self.faults) else self.then


@dataclass(frozen=True, slots=True)
class Faults:
    """The settings of fault injection. The first plan that matches decides; probability concerns all other requests."""

    plans: tuple[Plan, ...] = ()
    probability: Mapping[Fault, float] = field(default_factory=dict)
    """For each request, 0 to 1; all together at most 1."""
    path: str = "*"
    """A glob over the paths that probability concerns."""
    seed: int | str = 0
    latency_seconds: float = 1.0
    retry_after_seconds: int | None = 1
    oversized_bytes: int = 10_000_000
    drip_seconds: float = 0.1
    """Between two bytes."""

    def __post_init__(self) -> None:
        total = sum(self.probability.values())
        if total > 1 or any(share < 0 for share in self.probability.values()):
            raise ValueError(f"fault probabilities must lie between 0 and 1 and not exceed 1 together (got {total})")

    def draw(self, path: str, token_id: str | None, number: int) -> Fault | None:
        """Return what probability holds for the request ``number`` (from 0) with this path about this token.

        It depends on the seed and the arguments alone: the order in which concurrent requests arrive changes nothing.
        """
        if not self.probability or not fnmatchcase(path, self.path):
            return None
        digest = blake2b(f"{self.seed} {path} {token_id} {number}".encode(), digest_size=7).digest()
        point = int.from_bytes(digest) / (1 << 56)
        for fault, share in self.probability.items():
            if point < share:
                return fault
            point -= share
        return None


class Injector:
    """Counts requests and says of each what goes wrong with it."""

    def __init__(self, faults: Faults) -> None:
        self.faults = faults
        self.injected: Counter[Fault] = Counter()
        self._planned = [0] * len(faults.plans)
        self._drawn: Counter[tuple[str, str | None]] = Counter()

    def next(self, path: str, token_id: str | None) -> Fault | None:
        """Return what happens to the request that just arrived, and count it."""
        fault = self._decide(path, token_id)
        if fault is not None:
            self.injected[fault] += 1
        return fault

    def _decide(self, path: str, token_id: str | None) -> Fault | None:
        for position, plan in enumerate(self.faults.plans):
            if plan.matches(path, token_id):
                number = self._planned[position]
                self._planned[position] += 1
                return plan.fault(number)
        key = (path, token_id)
        number = self._drawn[key]
        self._drawn[key] += 1
        return self.faults.draw(path, token_id, number)
