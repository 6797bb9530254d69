"""Every error that the source can raise, read from its syntax tree: code, status and message."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parent.parent.parent
FRONTEND: Final = "openai_frontend"
_SOURCES: Final = (FRONTEND, "speech_protocol", "speech_engines")


@dataclass(frozen=True, slots=True)
class RaisedError:
    """`code` and `message` are None if they are computed; placeholders of a message are `{}`. `status`: of an
    ApiError."""

    where: str
    code: str | None
    status: int | None
    message: str | None


def raised_errors() -> list[RaisedError]:
    """All of them."""
    return [
        error for package in _SOURCES for path in sorted((ROOT / package).rglob("*.py")) for error in _of_file(path)
    ]


@cache
def _constants() -> dict[str, str]:
    """Texts that modules give a name in capitals."""
    return {
        target.id: statement.value.value
        for package in _SOURCES
        for path in (ROOT / package).rglob("*.py")
        for statement in ast.parse(path.read_text()).body
        if isinstance(statement, ast.Assign | ast.AnnAssign)
        for target in (statement.targets if isinstance(statement, ast.Assign) else [statement.target])
        if isinstance(target, ast.Name) and isinstance(statement.value, ast.Constant)
        if isinstance(statement.value.value, str)
    }


def _of_file(path: Path) -> Iterator[RaisedError]:
    tree = ast.parse(path.read_text())
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        for call in ast.walk(function):
            if isinstance(call, ast.Call) and (found := _arguments(call)):
                code, status, message = found
                where = f"{path.relative_to(ROOT)}:{call.lineno}"
                yield RaisedError(where, _code(code), _status(status), _text(message, function, call.lineno))


def _arguments(call: ast.Call) -> tuple[ast.expr | None, ast.expr | None, ast.expr] | None:
    """Code, status and message of a call that makes an error."""
    given = dict(enumerate(call.args)) | {keyword.arg: keyword.value for keyword in call.keywords}
    match call.func:
        case ast.Name("ApiError") if len(call.args) >= 3:
            return given[1], given[0], given[2]
        case ast.Name("invalid"):
            return given.get(2, given.get("code", ast.Constant("invalid_value"))), ast.Constant(400), given[1]
        case ast.Name("SpeechError" | "UnreachableError" | "ReplacedError") if len(call.args) >= 2:
            return given[0], None, given[1]
        case ast.Name("ReferenceAudioError") if call.args:
            return ast.Constant("invalid_reference_audio"), None, given[0]
    return None


def _code(node: ast.expr | None) -> str | None:
    match node:
        case ast.Constant(str(value)):
            return value
        case ast.Attribute(ast.Name("ErrorCode"), name):
            return name.lower()
    return None


def _status(node: ast.expr | None) -> int | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, int) else None


def _text(node: ast.expr, function: ast.AST, line: int) -> str | None:
    match node:
        case ast.Constant(str(value)):
            return value
        case ast.JoinedStr(values):
            return "".join(_part(part, function, line) for part in values)
        case ast.BinOp(left, ast.Add(), right):
            parts = [_text(side, function, line) for side in (left, right)]
            return "".join(part or "{}" for part in parts)
        case ast.Name(name):
            return _assigned(name, function, line) or _constants().get(name)
        case ast.IfExp(_, first, _):
            return _text(first, function, line)
    return None


def _part(node: ast.expr, function: ast.AST, line: int) -> str:
    """A piece of an f-string."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    name = node.value.id if isinstance(node, ast.FormattedValue) and isinstance(node.value, ast.Name) else ""
    return _constants().get(name) or _assigned(name, function, line) or "{}"


def _assigned(name: str, function: ast.AST, line: int) -> str | None:
    """The text last given to a variable before `line`, and what was added to it."""
    given = [
        statement
        for statement in ast.walk(function)
        if isinstance(statement, ast.Assign | ast.AugAssign) and statement.lineno <= line
        for target in (statement.targets if isinstance(statement, ast.Assign) else [statement.target])
        if isinstance(target, ast.Name) and target.id == name
    ]
    text: str | None = None
    for statement in sorted(given, key=lambda statement: statement.lineno):
        part = _text(statement.value, function, statement.lineno - 1)
        text = part if isinstance(statement, ast.Assign) else f"{text}{part or '{}'}"
    return text
