"""`python -P -m bloomery_worker.checking PACKAGE`: tries a recipe, and ends with 1 where something is not right."""

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

import yaml

from bloomery_worker.checking.subject import Subject
from bloomery_worker.checking.suite import Suite, Verdict
from bloomery_worker.failures import ConfigError
from bloomery_worker.process import TrainerProcess

_MARKS = {True: "ok", False: "FAILED", None: "-"}


def main(arguments: list[str]) -> int:
    """Runs the checks, and prints a line for each as it ends."""
    parser = argparse.ArgumentParser(prog="python -P -m bloomery_worker.checking", description=__doc__)
    parser.add_argument("package", help="that has the recipe.yaml, such as class_prior")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a parameter of its jobs")
    parser.add_argument("--only", action="append", default=[], metavar="CHECK", help="one of the checks")
    given = parser.parse_args(arguments)
    parameters = {name: yaml.safe_load(value) for name, _, value in (one.partition("=") for one in given.set)}
    try:
        subject = Subject.read(given.package)
    except ConfigError as problem:
        print(f"{problem}; {problem.hint}", file=sys.stderr)
        return 2
    if strange := subject.unknown(parameters):
        there = ", ".join(one["id"] for one in subject.content.get("parameters", ()))
        parser.error(f"no parameter {', '.join(strange)}; the parameters are {there}")
    with tempfile.TemporaryDirectory() as folder:
        suite = Suite(subject, Path(folder), TrainerProcess.spawn, parameters)
        if unknown := set(given.only) - set(suite.checks):
            parser.error(f"no check {', '.join(sorted(unknown))}; the checks are {', '.join(suite.checks)}")
        return asyncio.run(_run(suite, given.only))


async def _run(suite: Suite, only: list[str]) -> int:
    passed = True
    async for verdict in suite.run(only):
        print(_line(verdict), flush=True)
        passed &= verdict.passed is not False
    return 0 if passed else 1


def _line(verdict: Verdict) -> str:
    return f"{_MARKS[verdict.passed]:7}{verdict.check:15}{verdict.why}".rstrip()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
