"""Runs the Autobahn cases against our two sides and the bare codec library, and compares.

Usage: compare.py FOLDER, where FOLDER holds the examples `ws_echo` and `ws_echo_client`.
Exits with 1 when a case goes worse with ours than with the bare library.
"""

import asyncio
import sys
from asyncio.subprocess import PIPE
from collections import Counter
from pathlib import Path

import kosoku

# Best first. A case is judged by the messages exchanged and by how the connection was closed.
MESSAGES = ["OK", "NON-STRICT", "INFORMATIONAL", "UNIMPLEMENTED", "FAILED", "ERROR"]
CLOSES = ["OK", "INFORMATIONAL", "FAILED BY CLIENT", "WRONG CODE", "UNCLEAN", "FAILED"]

# permessage-deflate, which the protocol does without: offered by neither side.
COMPRESSION = ("12.", "13.")

AT_ONCE = 4
SUITE_SECONDS = 100


def rank(scale, verdict):
    return scale.index(verdict.value) if verdict.value in scale else len(scale)


def is_worse(ours, bare):
    return rank(MESSAGES, ours.behavior) > rank(MESSAGES, bare.behavior) or rank(
        CLOSES, ours.behavior_close
    ) > rank(CLOSES, bare.behavior_close)


async def results(running):
    """The verdicts by case, whether all were good or not."""
    try:
        cases = await asyncio.wait_for(running, SUITE_SECONDS)
    except kosoku.FailureError as failure:
        cases = failure.results
    return {case.case_id: case for case in cases}


async def run_servers(folder):
    echo = await asyncio.create_subprocess_exec(folder / "ws_echo", stdin=PIPE, stdout=PIPE)
    try:
        addresses = {}
        while len(addresses) < 2:
            kind, address = (await echo.stdout.readline()).decode().split()
            addresses[kind] = address
        return {
            kind: await results(
                kosoku.run_fuzzingclient(f"ws://{address}", concurrency=AT_ONCE)
            )
            for kind, address in addresses.items()
        }
    finally:
        echo.stdin.close()
        await echo.wait()


async def run_client(folder, kind):
    async with kosoku.run_fuzzingserver(port=0) as suite:
        address = f"{suite.address}:{suite.port}"
        client = await asyncio.create_subprocess_exec(folder / "ws_echo_client", kind, address)
        try:
            verdicts = await results(suite.get_result())
            if await client.wait() != 0:
                sys.exit(f"the {kind} client ended with {client.returncode}")
            return verdicts
        finally:
            if client.returncode is None:
                client.kill()


def compare(side, ours, bare):
    """Prints what is worse, and gives the numbers of good, bad and left-out cases."""
    if not bare or ours.keys() != bare.keys():
        sys.exit(f"{side}: {len(ours)} cases of ours, {len(bare)} of the bare library")
    counts = Counter()
    for name, case in ours.items():
        if is_worse(case, bare[name]):
            counts["worse"] += 1
            print(
                f"{side} case {name}: {case.behavior.value}, close {case.behavior_close.value}"
                f" ({case.remote_close_code}); the bare library: {bare[name].behavior.value},"
                f" close {bare[name].behavior_close.value}\n  {case.expectation}"
            )
        elif name.startswith(COMPRESSION) and case.behavior.value == "UNIMPLEMENTED":
            counts["left out"] += 1
        else:
            counts["good"] += 1
    print(
        f"{side}: {len(ours)} cases, {counts['worse']} worse than the bare library;"
        f" ours {verdicts_of(ours)}; bare {verdicts_of(bare)}"
    )
    return counts


def verdicts_of(cases):
    counts = Counter(case.behavior.value for case in cases.values())
    return ", ".join(f"{counts[name]} {name}" for name in MESSAGES if counts[name])


async def main():
    folder = Path(sys.argv[1])
    servers = await run_servers(folder)
    clients = {kind: await run_client(folder, kind) for kind in ("gateway", "bare")}
    total = compare("server", servers["gateway"], servers["bare"])
    total += compare("client", clients["gateway"], clients["bare"])
    print(f"websocket: {total['good']} passed, {total['worse']} failed, {total['left out']} skipped")
    sys.exit(1 if total["worse"] else 0)


asyncio.run(main())
