"""The mistakes: every place in every function where an operator of the table applies.

And, apart from these, other values in the rows of a module's tables.
"""

import ast
import copy
import importlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from types import CodeType, MappingProxyType
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Another value in a table of a module."""

    table: str
    #: Number of the row, from 0.
    number: int
    #: An expression in the module.
    value: CodeType
    #: The functions of the module that look into the table.
    readers: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One mistake in one function, or in one row of a table."""

    #: Path of the source, as it was given.
    path: str
    line: int
    #: Qualified name of the function or method, as `co_qualname` has it; of a row its table's.
    function: str
    #: Number among the mistakes of its line.
    number: int
    #: What it makes of what.
    change: str
    #: The function's new body, or the row.
    put: CodeType | Row

    @property
    def reached_by(self) -> frozenset[str]:
        """The functions that have to run for a test to notice."""
        return self.put.readers if isinstance(self.put, Row) else frozenset({self.function})

    @property
    def name(self) -> str:
        """The same as long as the line says the same."""
        return f"{self.path}:{self.function}: {self.change}"

    def __str__(self) -> str:
        return f"{self.path}:{self.line} {self.function}: {self.change}"


_COMPARISONS: Final[Mapping[type[ast.cmpop], type[ast.cmpop]]] = MappingProxyType(
    {
        ast.Eq: ast.NotEq,
        ast.NotEq: ast.Eq,
        ast.Lt: ast.LtE,
        ast.LtE: ast.Lt,
        ast.Gt: ast.GtE,
        ast.GtE: ast.Gt,
        ast.Is: ast.IsNot,
        ast.IsNot: ast.Is,
        ast.In: ast.NotIn,
        ast.NotIn: ast.In,
    }
)
_ARITHMETIC: Final[Mapping[type[ast.operator], type[ast.operator]]] = MappingProxyType(
    {
        ast.Add: ast.Sub,
        ast.Sub: ast.Add,
        ast.Mult: ast.Add,
        ast.FloorDiv: ast.Mult,
        ast.Mod: ast.Mult,
        ast.BitAnd: ast.BitOr,
        ast.BitOr: ast.BitAnd,
    }
)


def _compare(node: ast.AST) -> Iterator[ast.AST]:
    if isinstance(node, ast.Compare):
        for place, operator in enumerate(node.ops):
            changed = copy.deepcopy(node)
            changed.ops[place] = _COMPARISONS[type(operator)]()
            yield changed


def _calculate(node: ast.AST) -> Iterator[ast.AST]:
    if isinstance(node, ast.BinOp) and type(node.op) in _ARITHMETIC:
        yield ast.BinOp(left=node.left, op=_ARITHMETIC[type(node.op)](), right=node.right)


def _decide(node: ast.AST) -> Iterator[ast.AST]:
    match node:
        case ast.BoolOp(op=ast.And(), values=values):
            yield ast.BoolOp(op=ast.Or(), values=values)
        case ast.BoolOp(op=ast.Or(), values=values):
            yield ast.BoolOp(op=ast.And(), values=values)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield operand
        case ast.If(test=test) | ast.While(test=test) | ast.IfExp(test=test):
            changed = copy.copy(node)
            changed.test = ast.UnaryOp(op=ast.Not(), operand=test)
            yield changed


def _count(node: ast.AST) -> Iterator[ast.AST]:
    match node:
        case ast.Constant(value=bool() as value):
            yield ast.Constant(value=not value)
        case ast.Constant(value=int() as value):
            yield ast.Constant(value=value + 1)
        case ast.Constant(value=bytes() as value) if value:
            yield ast.Constant(value=value[:-1] + bytes(((value[-1] + 1) % 256,)))


def _leave_out(node: ast.AST) -> Iterator[ast.AST]:
    """Statements that do something; a docstring does not."""
    match node:
        case ast.Expr(value=ast.YieldFrom(value=ast.Tuple(elts=[]))):
            return  # it makes a generator of the function, and does nothing else
        case ast.Expr(value=ast.YieldFrom()):
            yield ast.Expr(value=ast.YieldFrom(value=ast.Tuple(elts=[], ctx=ast.Load())))
        case ast.Expr(value=ast.Call() | ast.Await()) | ast.Raise() | ast.Continue() | ast.Break():
            yield ast.Pass()
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript()]) | ast.AugAssign():
            yield ast.Pass()
        case ast.Return(value=ast.Constant(value=None)):
            return
        case ast.Return(value=ast.expr()):
            yield ast.Return(value=ast.Constant(value=None))


_OPERATORS: Final[tuple[Callable[[ast.AST], Iterator[ast.AST]], ...]] = (
    _compare,
    _calculate,
    _decide,
    _count,
    _leave_out,
)


def mutants(source: str, path: str) -> Iterator[Mutant]:
    """Every mistake that the operators make of a module, function by function."""
    tree = ast.parse(source)
    for function in _functions(tree.body, ""):
        yield from _of_function(tree, function, path)


@dataclass(frozen=True, slots=True)
class _Function:
    name: str
    node: ast.FunctionDef | ast.AsyncFunctionDef


def _functions(body: list[ast.stmt], prefix: str) -> Iterator[_Function]:
    """Functions of the module and methods of its classes; what is inside them belongs to them."""
    for node in body:
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                yield _Function(prefix + node.name, node)
            case ast.ClassDef():
                yield from _functions(node.body, f"{prefix}{node.name}.")


def _of_function(tree: ast.Module, function: _Function, path: str) -> Iterator[Mutant]:
    places = [
        (parent, name, index, node)
        for parent in ast.walk(ast.Module(body=function.node.body, type_ignores=[]))
        for name, index, node in _children(parent)
    ]
    places += [
        (function.node, "body", index, node) for index, node in enumerate(function.node.body)
    ]
    numbers: dict[int, int] = {}
    for parent, name, index, node in places:
        if isinstance(parent, ast.Module) or _is_annotation(parent, name):
            continue
        for operator in _OPERATORS:
            for changed in operator(node):
                line = getattr(node, "lineno", function.node.lineno)
                numbers[line] = numbers.get(line, 0) + 1
                ast.copy_location(changed, node)
                _put(parent, name, index, changed)
                code = _code_of(ast.fix_missing_locations(copy.deepcopy(tree)), path, function.name)
                _put(parent, name, index, node)
                yield Mutant(
                    path=path,
                    line=line,
                    function=function.name,
                    number=numbers[line],
                    change=f"{_words(node)} -> {_words(changed)}",
                    put=code,
                )


def _children(parent: ast.AST) -> Iterator[tuple[str, int | None, ast.AST]]:
    for name, value in ast.iter_fields(parent):
        if isinstance(value, ast.AST):
            yield name, None, value
        elif isinstance(value, list):
            for index, item in enumerate(value):
                if isinstance(item, ast.AST):
                    yield name, index, item


def _is_annotation(parent: ast.AST, name: str) -> bool:
    return name in {"annotation", "returns", "type_comment"} or (
        # A message is for people.
        isinstance(parent, ast.JoinedStr | ast.FormattedValue)
    )


def _put(parent: ast.AST, name: str, index: int | None, node: ast.AST) -> None:
    if index is None:
        setattr(parent, name, node)
    else:
        getattr(parent, name)[index] = node


def _words(node: ast.AST) -> str:
    text = " ".join(ast.unparse(node).split())
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


_LONGEST: Final = 70


def _code_of(tree: ast.Module, path: str, name: str) -> CodeType:
    waiting = [compile(tree, path, "exec")]
    while waiting:
        code = waiting.pop()
        if code.co_qualname == name:
            return code
        waiting += [one for one in code.co_consts if isinstance(one, CodeType)]
    raise LookupError(f"{path}: no function {name}")


def rows(source: str, path: str) -> Iterator[Mutant]:
    """Other values in the tables of a module: what decides is data, and no function's body."""
    tree = ast.parse(source)
    functions = list(_functions(tree.body, ""))
    for node in tree.body:
        match node:
            case (
                ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value)
                | ast.Assign(targets=[ast.Name(id=name)], value=value)
            ):
                names = _handed_on(tree, name)
                readers = frozenset(one.name for one in functions if _reads(one.node, names))
                if readers and (table := _table(value)) is not None:
                    whole = table if None not in table.keys else _spelt_out(table, name, path)
                    yield from _of_table(whole, name, path, readers)


def _handed_on(tree: ast.Module, table: str) -> set[str]:
    """What the table is read by in a function: its name, or an object of a class that holds it."""
    classes = {
        node.name for node in tree.body if isinstance(node, ast.ClassDef) and _reads(node, {table})
    }
    objects = {
        name
        for node in tree.body
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Call)
        for name in _targets(node)
        if _reads(node.value.func, classes)
    }
    return {table} | objects


def _targets(node: ast.Assign | ast.AnnAssign) -> list[str]:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    return [target.id for target in targets if isinstance(target, ast.Name)]


def _reads(place: ast.AST, names: set[str]) -> bool:
    return any(isinstance(node, ast.Name) and node.id in names for node in ast.walk(place))


def _table(value: ast.expr) -> ast.Dict | None:
    """A literal mapping, in a read-only view or not."""
    match value:
        case ast.Call(func=ast.Name(id="MappingProxyType"), args=[ast.Dict() as table]):
            return table
        case ast.Dict() as table:
            return table
    return None


def _spelt_out(table: ast.Dict, name: str, path: str) -> ast.Dict:
    """A table with rows of others in it, row by row, as its module has it."""
    module = importlib.import_module(module_name(path))
    rows = ", ".join(f"{_spelt(key)}: {_spelt(one)}" for key, one in vars(module)[name].items())
    whole = ast.parse(f"{{{rows}}}", mode="eval").body
    assert isinstance(whole, ast.Dict)
    for node in ast.walk(whole):
        ast.copy_location(node, table)
    return whole


def _spelt(value: object) -> str:
    match value:
        case Enum():
            return f"{type(value).__name__}.{value.name}"
        case tuple():
            return f"({''.join(f'{_spelt(one)}, ' for one in value)})"
        case _:
            return repr(value)


def module_name(path: str) -> str:
    """Of a source below the current folder."""
    return path.removesuffix(".py").replace("/", ".").removesuffix(".__init__")


def _of_table(table: ast.Dict, name: str, path: str, readers: frozenset[str]) -> Iterator[Mutant]:
    values = list(dict.fromkeys(ast.unparse(value) for value in table.values))
    for number, (key, value) in enumerate(zip(table.keys, table.values, strict=True)):
        assert key is not None
        before = ast.unparse(value)
        for index, after in enumerate(_others(key, before, values), 1):
            yield Mutant(
                path=path,
                line=value.lineno,
                function=name,
                number=index,
                change=f"{ast.unparse(key)}: {before} -> {after}",
                put=Row(
                    table=name,
                    number=number,
                    value=compile(after, path, "eval"),
                    readers=readers,
                ),
            )


def _others(key: ast.expr, before: str, values: list[str]) -> list[str]:
    """Of a row with `before`: the table's next value, none at all, and to stay where one is."""
    others = [values[(values.index(before) + 1) % len(values)]]
    if "None" in values:
        others.append("None")
    if isinstance(key, ast.Tuple) and (state := ast.unparse(key.elts[0])) in values:
        others.append(state)
    return [other for other in dict.fromkeys(others) if other != before]
