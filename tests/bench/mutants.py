"""Mutation testing of fusion, curves, metrics and articles: is each changed line noticed by a test?

    nice python tests/bench/mutants.py
    nice python tests/bench/mutants.py weight data/articles  # modules with one of these in the path

A mutant is one change of one expression or statement. Each runs in a fork, with the fast tests that
execute its line, until one fails. The table counts mutants and survivors; a survivor that no test
can notice is listed with the reason in `mutants.txt`, any other is printed, and the status is 1.
"""

import ast
import contextlib
import copy
import importlib
import json
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.machinery import SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
REASONS = Path(__file__).with_name("mutants.txt")
PATHS = [
    *sorted((ROOT / "newsimg/weight").glob("[!_]*.py")),
    *(
        ROOT / "newsimg/evaluation" / f"{name}.py"
        for name in ("breakpoints", "curve", "curve_bounds", "member_curves", "metric_names")
    ),
    *(ROOT / "newsimg/evaluation" / f"{name}.py" for name in ("metrics", "query_curve", "tuning")),
    *(
        ROOT / "newsimg/data" / f"{name}.py"
        for name in ("article_pictures", "articles", "editions", "newsimages")
    ),
]
TESTS = ["tests/weight", "tests/evaluation", "tests/data", "tests/test_pipeline.py"]
PYTEST = ["-q", "-x", "-n0", "-p", "no:cacheprovider", "--rootdir", str(ROOT)]

SWAPS: dict[type, type] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq, ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult, ast.Mod: ast.Mult, ast.Pow: ast.Mult, ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd, ast.And: ast.Or, ast.Or: ast.And, ast.Break: ast.Continue,
    ast.Continue: ast.Break,
}  # fmt: skip
NAMES = [("min", "max"), ("minimum", "maximum"), ("any", "all"), ("zeros", "ones")]
NAMES += [("argmin", "argmax"), ("lower", "upper"), ("nanmean", "nansum")]
OTHER_NAME = dict(NAMES) | {b: a for a, b in NAMES}
NOT_MUTATED = {"annotation", "returns", "decorator_list", "keywords", "format_spec", "bases", "ctx"}


@dataclass(frozen=True)
class Mutant:
    """A module's code with one change."""

    path: Path
    line: int
    runs_on_import: bool
    key: str
    code: CodeType


def list_alternatives(node: ast.AST) -> Iterator[ast.AST]:
    """Yield what may take the place of a node."""
    new: Any
    match node:
        case ast.Compare(ops=ops):
            for i, op in enumerate(ops):
                if swapped := SWAPS.get(type(op)):
                    new = copy.deepcopy(node)
                    new.ops[i] = swapped()
                    yield new
        case ast.BinOp() | ast.BoolOp() | ast.AugAssign() if type(node.op) in SWAPS:
            new = copy.copy(node)
            new.op = SWAPS[type(node.op)]()
            yield new
        case ast.UnaryOp(operand=operand):
            yield operand
        case ast.Constant(value=bool(value)):
            yield ast.Constant(not value)
        case ast.Constant(value=int(value) | float(value)):
            yield ast.Constant(value + 1)
        case ast.Constant(value=str(value)):
            yield ast.Constant("" if value else "XX")
        case ast.JoinedStr():
            yield ast.Constant("")
        case ast.Attribute(attr=name) if name in OTHER_NAME:
            yield ast.Attribute(node.value, OTHER_NAME[name], node.ctx)
        case ast.Call(args=arguments, keywords=keywords):
            for i, argument in enumerate(arguments):
                if not isinstance(argument, ast.Constant | ast.Starred):
                    new = copy.copy(node)
                    new.args = [*arguments[:i], ast.Constant(None), *arguments[i + 1 :]]
                    yield new
            for i in range(len(keywords)):
                new = copy.copy(node)
                new.keywords = keywords[:i] + keywords[i + 1 :]
                yield new
        case ast.If(test=test) | ast.IfExp(test=test) | ast.While(test=test):
            if not isinstance(test, ast.Compare | ast.UnaryOp):
                new = copy.copy(node)
                new.test = ast.UnaryOp(ast.Not(), test)
                yield new
        case ast.Assign(value=value) | ast.AnnAssign(value=ast.expr() as value):
            if not isinstance(value, ast.Constant):
                new = copy.copy(node)
                new.value = ast.Constant(None)
                yield new
        case ast.Return(value=ast.expr() as value):
            if not isinstance(value, ast.Constant):
                yield ast.Return(ast.Constant(None))
        case ast.Break() | ast.Continue():
            yield SWAPS[type(node)]()
        case ast.Raise() | ast.Expr(value=ast.Call()):
            yield ast.Pass()


def list_slots(node: ast.AST) -> Iterator[tuple[Any, Any, ast.AST]]:
    """Yield each node that may be replaced, with the list or node, and the key, that holds it."""
    for field, value in ast.iter_fields(node):
        if field in NOT_MUTATED and not (isinstance(node, ast.Call) and field == "keywords"):
            continue
        children = value if isinstance(value, list) else [value]
        for i, child in enumerate(children):
            if not isinstance(child, ast.AST) or isinstance(child, ast.Import | ast.ImportFrom):
                continue
            if isinstance(child, ast.Assign) and ast.unparse(child.value).startswith("TypeVar("):
                continue
            if isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant):
                continue  # a docstring
            if isinstance(node, ast.JoinedStr) and isinstance(child, ast.Constant):
                continue
            yield (value, i, child) if isinstance(value, list) else (node, field, child)
            yield from list_slots(child)


def put(holder: Any, key: Any, value: ast.AST) -> None:
    """Set an item of a list, or an attribute of a node."""
    if isinstance(holder, list):
        holder[key] = value
    else:
        setattr(holder, key, value)


def list_mutants(path: Path) -> Iterator[Mutant]:
    """Yield all mutants of a module."""
    source = path.read_text(encoding="utf-8")
    lines, tree, seen = source.splitlines(), ast.parse(source), Counter[str]()
    bodies = [n.body for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)]
    in_functions = {id(n) for body in bodies for statement in body for n in ast.walk(statement)}
    for holder, key, node in list(list_slots(tree)):
        for new in list_alternatives(node):
            if not isinstance(node, ast.expr | ast.stmt):
                continue
            put(holder, key, ast.fix_missing_locations(ast.copy_location(new, node)))
            with contextlib.suppress(SyntaxError, ValueError):
                code = compile(ast.fix_missing_locations(tree), str(path), "exec")
                old_text, new_text = (ast.unparse(n).split("\n")[0] for n in (node, new))
                change = f"{lines[node.lineno - 1].strip()} | {old_text} -> {new_text}"
                seen[change] += 1
                name = f"{path.relative_to(ROOT)} | {change}"
                name += f" #{seen[change]}" if seen[change] > 1 else ""
                yield Mutant(path, node.lineno, id(node) not in in_functions, name, code)
            put(holder, key, node)


def run_pytest(arguments: list[str], base: str, plugins: list[Any]) -> int:
    """Run tests in this process, silently."""
    import pytest

    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
    return int(pytest.main([*PYTEST, f"--basetemp={base}", *arguments], plugins=plugins))


class Tracer:
    """Note which tests run which lines of the mutated modules, and how long they take."""

    def __init__(self, result: Path) -> None:
        self.result, self.test = result, ""
        self.lines: dict[str, dict[int, set[str]]] = {str(path): defaultdict(set) for path in PATHS}
        self.seconds: dict[str, float] = {}
        self.failed: list[str] = []

    def trace(self, frame: FrameType, event: str, argument: object) -> Any:
        """See `sys.settrace`."""
        lines = self.lines.get(frame.f_code.co_filename)
        if lines is None:
            return None
        lines[frame.f_lineno].add(self.test)
        return self.trace

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.test, self.seconds[nodeid] = nodeid, time.perf_counter()
        sys.settrace(self.trace)
        threading.settrace(self.trace)

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        self.seconds[nodeid] = time.perf_counter() - self.seconds[nodeid]

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.failed:
            self.failed.append(report.nodeid)

    def pytest_sessionfinish(self) -> None:
        modules = [
            m for m in sys.modules if not m.startswith(("newsimg", "test", "conftest", "__"))
        ]
        self.result.write_text(
            json.dumps(
                {
                    "lines": {
                        path: {line: sorted(tests) for line, tests in lines.items()}
                        for path, lines in self.lines.items()
                    },
                    "seconds": self.seconds,
                    "failed": self.failed,
                    "modules": modules,
                }
            )
        )


def fork(function: Any, *arguments: Any, timeout: float) -> int:
    """Call a function in a fork; return its status, or 1 if it takes too long."""
    child = os.fork()
    if not child:
        os.setpgid(0, 0)
        with contextlib.suppress(BaseException):
            os._exit(function(*arguments))
        os._exit(1)
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return 1


def run_mutant(mutant: Mutant, tests: list[str], base: str) -> int:
    """Run tests with the mutant in its module's place."""
    name = ".".join(mutant.path.relative_to(ROOT).with_suffix("").parts)

    class Loader(SourceFileLoader):
        def get_code(self, fullname: str) -> CodeType:
            return mutant.code

    class Finder:
        @staticmethod
        def find_spec(fullname: str, path: object = None, target: object = None) -> Any:
            if fullname != name:
                return None
            location = str(mutant.path)
            return spec_from_file_location(name, location, loader=Loader(name, location))

    sys.meta_path.insert(0, Finder)
    return run_pytest(tests, base, [])


def find_tests(folder: Path) -> Any:
    """Run all tests once; return which of them run which lines, and import what they import."""
    result = folder / "baseline.json"
    fork(run_pytest, TESTS, f"{folder}/base", [Tracer(result)], timeout=3600)
    baseline = json.loads(result.read_text())
    if baseline["failed"]:
        raise SystemExit("\n".join(["tests fail without a mutant:", *baseline["failed"]]))
    return baseline


def choose_tests(mutant: Mutant, baseline: Any) -> list[str]:
    """Return the tests that run a mutant's line, the quickest first."""
    covered = {int(n): tests for n, tests in baseline["lines"][str(mutant.path)].items()}
    tests = set().union(*covered.values())
    if not mutant.runs_on_import:  # a statement of several lines counts by the first
        before = [n for n in covered if n <= mutant.line]
        tests = set(covered[max(before)]) if before else set()
    return sorted(tests, key=baseline["seconds"].__getitem__)


_is_killed: Callable[[int], bool]  # workers are forks, which have it without a copy


def _call(number: int) -> bool:
    return _is_killed(number)


def main() -> int:
    """Print the table and the survivors."""
    os.chdir(ROOT)
    os.environ["OMP_NUM_THREADS"] = "1"
    sys.path.insert(0, str(ROOT))
    paths = [p for p in PATHS if not sys.argv[1:] or any(a in str(p) for a in sys.argv[1:])]
    folder = Path(tempfile.mkdtemp(prefix="mutants"))
    baseline = find_tests(folder)
    for name in baseline["modules"]:
        with contextlib.suppress(Exception):
            importlib.import_module(name)
    lines = REASONS.read_text(encoding="utf-8").splitlines() if REASONS.is_file() else []
    known = {line.rpartition(" ## ")[0] for line in lines}
    mutants = [mutant for path in paths for mutant in list_mutants(path)]

    def is_killed(number: int) -> bool:
        tests = choose_tests(mutants[number], baseline)
        if not tests:
            return False
        timeout = 20 + 10 * sum(baseline["seconds"][test] for test in tests)
        base = f"{folder}/{number}"
        return fork(run_mutant, mutants[number], tests, base, timeout=timeout) != 0

    global _is_killed
    _is_killed = is_killed
    counts: dict[Path | None, Counter[str]] = defaultdict(Counter)
    with multiprocessing.get_context("fork").Pool() as pool:
        for mutant, dead in zip(mutants, pool.imap(_call, range(len(mutants))), strict=True):
            state = "killed" if dead else "equivalent" if mutant.key in known else "survivors"
            for path in (mutant.path, None):
                counts[path].update(["mutants", state])
            if state == "survivors":
                print(f"{mutant.line}: {mutant.key}", flush=True)
    columns = ("mutants", "killed", "equivalent", "survivors")
    print(f"\n| module | {' | '.join(columns)} |\n|---|---|---|---|---|")
    for path, own in counts.items():
        name = path.relative_to(ROOT) if path else "all"
        print(f"| {name} | {' | '.join(str(own[column]) for column in columns)} |")
    return int(counts[None]["survivors"] > 0)


if __name__ == "__main__":
    sys.exit(main())
