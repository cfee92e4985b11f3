import asyncio
import os
import sys
from pathlib import Path

import psutil
import pytest

from auditor.processes import Completed, OutputTooLarge, feed, located, run, scrubbed, started

PYTHON = sys.executable


def is_running(pid: int) -> bool:
    """Whether a process still runs; one that only waits to be reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def until_gone(pid: int) -> None:
    async with asyncio.timeout(10):
        while is_running(pid):  # noqa: ASYNC110 -- nobody tells of a grandchild's end
            await asyncio.sleep(0.01)


def test_child_sees_what_is_passed_on_and_nothing_else() -> None:
    environ = scrubbed({"PATH": "/bin", "HOME": "/root", "TOKEN": "x"}, {"PATH": "/usr/bin", "EXTRA": "1"})
    assert environ == {"PATH": "/usr/bin", "HOME": "/root", "EXTRA": "1"}


@pytest.mark.parametrize(
    ("program", "expected"), [("age", "age"), ("bin/age", "/etc/auditor/bin/age"), ("/usr/bin/age", "/usr/bin/age")]
)
def test_program_with_a_slash_is_found_from_the_directory(program: str, expected: str) -> None:
    assert located([program, "-d", "x/y"], Path("/etc/auditor")) == (expected, "-d", "x/y")


async def test_run_returns_exit_code_output_and_the_end_of_stderr() -> None:
    code = "import sys; sys.stdout.write(sys.stdin.read()); sys.stderr.write('e' * 5000 + ' last\\n'); sys.exit(3)"
    done = await run([PYTHON, "-c", code], environ={}, stdin=b"x" * 300_000, timeout_seconds=30)
    assert (done.exit_code, done.stdout) == (3, b"x" * 300_000)
    assert done.stderr.endswith("e last")
    assert len(done.stderr) < 2_001


async def test_program_need_not_read_its_input() -> None:
    done = await run([PYTHON, "-c", "print('done')"], environ={}, stdin=b"x" * 1_000_000, timeout_seconds=30)
    assert (done.exit_code, done.stdout) == (0, b"done\n")


@pytest.mark.parametrize("library", ["asyncio", "uvloop"])
def test_program_may_have_ended_before_its_input_is_written(library: str) -> None:
    async def fed() -> int:
        async with started([PYTHON, "-c", "pass"], environ={}, stdin=True) as process:
            assert process.stdin is not None
            await process.wait()
            async with asyncio.timeout(10):
                while not process.stdin.is_closing():  # noqa: ASYNC110 -- nothing is said of the pipe's end
                    await asyncio.sleep(0.01)
            await feed(process.stdin, b"x")
            return await process.wait()

    with asyncio.Runner(loop_factory=pytest.importorskip(library).new_event_loop) as runner:
        assert runner.run(fed()) == 0


@pytest.mark.parametrize("library", ["asyncio", "uvloop"])
@pytest.mark.parametrize("leave", ["sleep 60 &", "setsid sleep 60 & echo $! >&2;"])
def test_run_ends_with_the_program_although_something_that_it_left_behind_holds_its_pipes(
    library: str, leave: str
) -> None:
    async def ran() -> Completed:
        # "3<&0": what is left behind holds standard input, too, and more is written there than a pipe holds.
        argv = ["/bin/sh", "-c", f"exec 3<&0; echo said; echo why >&2; {leave} exit 7"]
        return await run(argv, environ={"PATH": os.defpath}, stdin=b"x" * 300_000, timeout_seconds=30)

    with asyncio.Runner(loop_factory=pytest.importorskip(library).new_event_loop) as runner:
        done = runner.run(ran())
    why, *escaped = done.stderr.split()
    for pid in escaped:
        os.kill(int(pid), 9)
    assert (done.exit_code, done.stdout, why) == (7, b"said\n", "why")


async def test_output_past_the_limit_ends_the_program() -> None:
    with pytest.raises(OutputTooLarge, match="more than 1000 bytes"):
        await run([PYTHON, "-c", "while True: print('x' * 100)"], environ={}, timeout_seconds=30, max_output=1000)


@pytest.mark.parametrize(("argv", "environ"), [(["echo", "a\0b"], {}), (["true"], {"NAME": "a\0b"})])
async def test_word_that_no_program_can_be_given_is_not_cut_off(argv: list[str], environ: dict[str, str]) -> None:
    with pytest.raises(OSError, match="NUL character"):
        await run(argv, environ={"PATH": os.defpath} | environ, timeout_seconds=30)


async def test_program_that_takes_too_long_is_ended() -> None:
    with pytest.raises(TimeoutError):
        await run(["sleep", "60"], environ={"PATH": os.defpath}, timeout_seconds=0.05)


async def test_children_of_a_program_end_with_it() -> None:
    async with started(["/bin/sh", "-c", "sleep 60 & echo $!; wait"], environ={"PATH": os.defpath}) as process:
        assert process.stdout is not None
        child = int(await process.stdout.readline())
        assert is_running(child)
    await until_gone(child)


async def test_program_ends_with_the_block_although_nobody_read_its_output() -> None:
    async with asyncio.timeout(30):
        async with started([PYTHON, "-c", "while True: print('x' * 1000)"], environ={}) as process:
            assert process.stdout is not None
            await process.stdout.readline()
        assert not is_running(process.pid)


async def test_block_ends_although_a_child_left_the_group_with_the_pipes() -> None:
    code = (
        "import subprocess\n"
        "child = subprocess.Popen(['sleep', '60'], start_new_session=True)\n"
        "print(child.pid, flush=True)\n"
    )
    async with asyncio.timeout(30):
        async with started([PYTHON, "-c", code], environ={"PATH": os.defpath}) as process:
            assert process.stdout is not None
            escaped = int(await process.stdout.readline())
        assert process.returncode is not None
    os.kill(escaped, 9)


async def test_stderr_that_is_not_wanted_does_not_hold_the_program_up() -> None:
    code = "import sys; sys.stderr.write('x' * 1_000_000); print('done')"
    async with asyncio.timeout(30), started([PYTHON, "-c", code], environ={}, stderr=False) as process:
        assert process.stderr is None
        assert process.stdout is not None
        assert await process.stdout.read() == b"done\n"
        assert await process.wait() == 0


async def test_program_that_does_not_exist_is_an_os_error() -> None:
    with pytest.raises(FileNotFoundError):
        await run(["no-such-program-anywhere"], environ={}, timeout_seconds=30)


async def test_program_that_is_cut_off_while_it_starts_is_ended() -> None:
    before = set(psutil.Process().children())
    for seconds in (0.0, 0.001, 0.002, 0.004):
        with pytest.raises(TimeoutError):
            await run([PYTHON, "-c", "import time; time.sleep(60)"], environ={}, timeout_seconds=seconds)
        assert set(psutil.Process().children()) <= before
