"""Prints what a log line costs: the whole of it, and the part of that which keeps secrets out."""

import io
import timeit

import structlog

from auditor.log import configure
from auditor.redaction import may_hold_secret, redact

LINE = {"environment": "prod", "sweep": 12, "enrolled": 2_000, "found": 1_990, "status": "complete", "seconds": 1.25}
FINDING = {"environment": "prod", "token": "dt0c01.ST2EY72KQINMH574WMNVI7YN", "rule": "DT-EXP-01", "severity": "high"}


def microseconds(call: str, names: dict[str, object]) -> float:
    """Return the best of five, in microseconds a call."""
    return min(timeit.repeat(call, number=20_000, repeat=5, globals=names)) / 20_000 * 1e6


def main() -> None:
    """Measure both renderers with a plain line and one that names a token."""
    for name, fields in (("plain line", LINE), ("line with a token's label", FINDING)):
        out = io.StringIO()
        configure("json", "info", out, environ={})
        log = structlog.get_logger("bench").bind()
        log.info("sweep_finished", **fields)
        names: dict[str, object] = {
            "log": log,
            "fields": fields,
            "line": out.getvalue(),
            "redact": redact,
            "may_hold_secret": may_hold_secret,
        }
        check = microseconds("may_hold_secret(line)", names)
        whole = microseconds("log.info('sweep_finished', **fields)", names)
        configure("console", "info", io.StringIO(), environ={})
        names["log"] = structlog.get_logger("bench").bind()
        console = microseconds("log.info('sweep_finished', **fields)", names)
        print(f"{name}: JSON {whole:.1f} µs, of which keeping secrets out {check:.1f} µs; console {console:.1f} µs")


if __name__ == "__main__":
    main()
