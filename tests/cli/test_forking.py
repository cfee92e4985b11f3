"""Copies of a process, forked in one that has nothing else under way."""

import subprocess
import sys
import textwrap

import pytest

_BEGIN = """
    import asyncio, os, sys
    from auditor.cli.forking import copies

    async def code_of(copy):
        async with copy.held() as child:
            child.take("order")
            heard = await child.hear()
            return heard, await child.ended()
"""


def run(script: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(_BEGIN) + textwrap.dedent(script)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("closed", [(), (0,), (0, 1, 2)])
def test_copy_has_streams_of_its_own_whatever_the_process_has(closed: tuple[int, ...]) -> None:
    done = run(
        f"""
        result = os.dup(1)
        for number in {closed}:
            os.close(number)

        def work():
            order = os.read(0, 100)
            os.write(1, order)
            print("said to nobody", file=sys.stderr)
            return 7

        with copies(1, work) as (copy,):
            os.write(result, repr(asyncio.run(code_of(copy))).encode())
        """
    )
    assert done.stdout == repr((b'"order"\n', 7))


def test_copy_hears_of_the_end_of_its_process_though_others_live() -> None:
    done = run(
        """
        def work():
            while os.read(0, 100):
                pass
            os.write(1, b"heard\\n")
            return 0

        async def both(first, second):
            async with first.held() as one, second.held() as other:
                first.stdin.close()
                return await one.hear()

        with copies(2, work) as (first, second):
            os.close(first.ends[0])
            first.ends = (os.open(os.devnull, os.O_RDONLY), *first.ends[1:])
            print(asyncio.run(both(first, second)))
        """
    )
    assert done.stdout == "b'heard\\n'\n", done.stderr


def test_copy_is_gone_once_it_is_let_go() -> None:
    done = run(
        """
        def work():
            os.read(0, 100)

        with copies(1, work) as (copy,):
            pass
        try:
            os.kill(copy.pid, 0)
        except ProcessLookupError:
            print("gone")
        """
    )
    assert done.stdout == "gone\n"


def test_copy_that_breaks_off_ends_with_the_code_of_what_could_not_work() -> None:
    done = run(
        """
        def work():
            raise KeyboardInterrupt

        with copies(1, work) as (copy,):
            print(asyncio.run(code_of(copy)))
        """
    )
    assert done.stdout == "(None, 3)\n"
