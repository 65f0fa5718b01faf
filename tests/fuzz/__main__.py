"""Fuzz all documents of a server of its own, or those that are named.

    python -m tests.fuzz [-n EXAMPLES] [NAME ...]

All of them are some 300,000 requests and take an hour or so.
"""

from __future__ import annotations

import argparse
import sys

from tests.fuzz.fuzzing import fuzzer


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="fuzz a server by its documents")
    parser.add_argument("names", nargs="*", metavar="NAME", help="a document: apis/apps/v1 (all of them)")
    parser.add_argument("-n", "--examples", type=int, default=20, help="random requests for each operation (20)")
    arguments = parser.parse_args()
    total = failed = 0
    with fuzzer() as found:
        for name in arguments.names or found.documents():
            outcome = found.run(name, examples=arguments.examples, seconds=4 * 3600)
            total += outcome.requests
            failed += not outcome.passed
            print(f"{'ok    ' if outcome.passed else 'FAILED'} {outcome.requests:>7}  {name}", flush=True)
            if not outcome.passed:
                print(outcome.report, flush=True)
    print(f"{total} requests, {failed} documents with failures")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
