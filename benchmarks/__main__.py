"""``python -m benchmarks setup`` makes the peers' environments; ``python -m benchmarks run`` compares everything side by side."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks import environments
from benchmarks.contenders import CONTENDERS, FITTERS
from benchmarks.fits.workloads import WORKLOADS as FITS
from benchmarks.workloads import DEFAULT, GROUPS, named

_CONTENDERS = {**CONTENDERS, **FITTERS}
_NAMES = (*GROUPS, *FITS)


def main(arguments: list[str] | None = None) -> int:
    given = _parser().parse_args(arguments)
    envs = given.envs or environments.default_folder()
    if given.command == "setup":
        if unknown := [name for name in given.names if name not in environments.ENVIRONMENTS]:
            print(f"unknown: {', '.join(unknown)}; there are {', '.join(environments.ENVIRONMENTS)}", file=sys.stderr)
            return 2
        failed = environments.setup(envs, tuple(given.names))
        if failed:
            print(f"not made: {', '.join(failed)}", file=sys.stderr)
        return 2 if failed else 0
    if given.command == "report":
        from benchmarks.report import show

        show(given.out, envs)
        return 0
    if given.command == "check-fits":
        from benchmarks.fits.equality import compare

        if not environments.is_whole(envs, "pyvene"):
            print("no environment for pyvene: python -m benchmarks setup", file=sys.stderr)
            return 2
        return compare(envs, given.out.resolve() / "work" / "equality", given.seeds, given.epochs)
    return _run(given, envs)


def _run(given: argparse.Namespace, envs: Path) -> int:
    from benchmarks import harness, report
    from benchmarks.fits.session import FitSession

    names = given.contenders.split(",") if given.contenders else list(_CONTENDERS)
    unknown = [name for name in names if name not in _CONTENDERS] + [n for n in given.names if n not in _NAMES]
    if unknown:
        known = f"contenders are {', '.join(_CONTENDERS)}; workloads are {', '.join(_NAMES)}"
        print(f"unknown: {', '.join(unknown)}; {known}", file=sys.stderr)
        return 2
    wanted = given.names or [*DEFAULT, *FITS]
    workloads = named([name for name in wanted if name in GROUPS])
    fits = [FITS[name] for name in dict.fromkeys(wanted) if name in FITS]
    contenders = [CONTENDERS[name] for name in names if name in CONTENDERS and workloads]
    fitters = [FITTERS[name] for name in names if name in FITTERS and fits]
    if lacking := harness.missing(envs, [*contenders, *fitters]):
        print(f"no environment for {', '.join(lacking)}: python -m benchmarks setup", file=sys.stderr)
        return 2
    if given.smoke:
        workloads, fits = [workload.smoke for workload in workloads], [workload.smoke for workload in fits]
    session = harness.Session(envs, given.out.resolve(), given.threads, contenders, workloads, given.smoke)
    session.prepare()
    fitting = FitSession(session, fitters, fits)
    if fits:
        fitting.prepare()
    try:
        if workloads:
            print(f"agreement on small workloads ({len(contenders)} contenders)")
            session.check()
        if fits:
            print(f"agreement on small fits ({len(fitters)} contenders)")
            fitting.check()
        if not given.only_check:
            session.time(given.rounds, given.seed)
            fitting.time(given.rounds, given.seed)
    except (harness.Disagreement, harness.Failure) as error:
        print(error, file=sys.stderr)
        return 1
    finally:
        if session.times:
            report.keep(session, fitting)
    if not given.only_check:
        report.show(session.out, envs)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--envs", type=Path, help=f"folder of the environments (else ${environments.VARIABLE}, else the cache)"
    )
    commands = parser.add_subparsers(dest="command", required=True)
    setup = commands.add_parser("setup", help="make one virtual environment per peer; what is there is only checked")
    setup.add_argument("names", nargs="*", metavar="NAME", help=f"some of {', '.join(environments.ENVIRONMENTS)} (all)")
    run = commands.add_parser("run", help="run contenders side by side")
    run.add_argument(
        "names", nargs="*", metavar="WORKLOAD", help=f"some of {', '.join(_NAMES)} ({' '.join([*DEFAULT, *FITS])})"
    )
    run.add_argument("--contenders", help=f"some of {','.join(_CONTENDERS)} (all)")
    run.add_argument("--rounds", type=int, default=3)
    run.add_argument("--threads", type=int, default=2)
    run.add_argument("--seed", type=int, default=0, help="of the order")
    run.add_argument("--only-check", action="store_true", help="compare logits and stop")
    run.add_argument("--smoke", action="store_true", help="two layers and two pairs of each: does it all work?")
    fits = commands.add_parser("check-fits", help="hierarchical equality fitted by pyvene and by us: do scores agree?")
    fits.add_argument("--seeds", type=int, default=8)
    fits.add_argument("--epochs", type=int, default=40)
    report = commands.add_parser("report", help="the table and the plot of a run that was kept")
    for command in (setup, run, fits, report):
        command.add_argument("--envs", type=Path, default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    for command in (run, fits, report):
        command.add_argument(
            "--out", type=Path, default=Path("out/benchmarks"), help="folder of the results (out/benchmarks)"
        )
    return parser


if __name__ == "__main__":
    sys.exit(main())
