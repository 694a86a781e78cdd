"""A small part of Python as machine code, by LLVM alone: hundredths of a second, where Numba takes tenths and more.

What is known are functions of floats, whole numbers and arrays of floats, of which their annotations tell; names,
assigned one by one or several at once; `if`, `for` over a range, `return`; sums, products, comparisons, `and`, `or` and
`not` (both sides are always evaluated), choices `a if test else b`; elements of arrays; calls of one another, of
functions that are arguments, and of the C library. A name keeps its kind. Whole numbers are not negative where they
are divided. Arithmetic is that of floating point to the last bit, and division by zero gives inf or NaN; only sums with
`+=`, in functions that are named as `summed`, may be added up in another order, so that vectors can do it.

`room(n)` is an array of n zeros on the stack, `power_of_two(k)` is 2.0**k for -1022 <= k <= 1023.
"""

from __future__ import annotations

import ast
import re
import struct
from collections.abc import Collection, Mapping
from typing import Any

ARRAY, FLOAT, INT, BOOL, NONE = "ptr", "double", "i64", "i1", "void"
KINDS = {"Array": ARRAY, "Callable": ARRAY, "float": FLOAT, "int": INT, "bool": BOOL, "None": NONE}
#: Functions that LLVM knows itself, and those of the C library by their names in Python's `math`.
INTRINSIC = {"sqrt": "llvm.sqrt.f64", "fabs": "llvm.fabs.f64", "floor": "llvm.floor.f64"}
MATHS = {
    "exp", "expm1", "log", "log10", "log2", "log1p", "pow", "sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh",
    "tanh", "asinh", "acosh", "atanh", "erf", "erfc", "hypot", "atan2",
}  # fmt: skip
#: The first version whose language has one kind of pointers and says of functions what memory they touch.
FIRST_LLVM = 16
#: Reassociation lets sums vectorise; NaN and inf stay what they are.
SUMMED = " reassoc nsz contract"
#: Of a function of the C library: it has no side effects, and LLVM shall not put another one in its place.
PURE = " nobuiltin nounwind willreturn memory(none)"
OPERATORS: dict[type, tuple[str, str]] = {
    ast.Add: ("fadd", "add nsw"),
    ast.Sub: ("fsub", "sub nsw"),
    ast.Mult: ("fmul", "mul nsw"),
    ast.Div: ("fdiv", ""),
    ast.FloorDiv: ("", "sdiv"),
}
COMPARISONS: dict[type, tuple[str, str]] = {
    ast.Lt: ("olt", "slt"),
    ast.LtE: ("ole", "sle"),
    ast.Gt: ("ogt", "sgt"),
    ast.GtE: ("oge", "sge"),
    ast.NotEq: ("une", "ne"),
    ast.Eq: ("oeq", "eq"),
}
Value = tuple[str, str]


def translated(source: str, constants: Mapping[str, float], summed: Collection[str] = ()) -> str:
    """Return functions in LLVM's language.

    Parameters
    ----------
    source : str
        Of functions; other statements are left out, and so is `room`.
    constants : mapping of str to float
    summed : collection of str
        Functions whose sums may be added up in any order.

    Raises
    ------
    NotImplementedError, KeyError
        For what is not known here.
    """
    functions = [node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef) and node.name != "room"]
    known = {node.name: [_kind(a.annotation) for a in node.args.args] + [_kind(node.returns)] for node in functions}
    called: set[str] = set()
    text = [_Function(node, known, constants, node.name in summed, called).text() for node in functions]
    for name in sorted(called):
        arguments = ", ".join([FLOAT] * (2 if name in ("pow", "hypot", "atan2") else 1))
        text.append(f"declare double @{name}({arguments}){'' if name in INTRINSIC.values() else PURE}")
    return "\n".join(text)


def _kind(annotation: Any) -> str:
    return KINDS[annotation.id if isinstance(annotation, ast.Name) else str(annotation.value)]


class _Function:
    """Writes one function."""

    def __init__(self, node: Any, known: Mapping, constants: Mapping, summed: bool, called: set[str]):
        self.node, self.known, self.constants, self.called = node, known, constants, called
        self.flags = SUMMED if summed else ""
        self.names: dict[str, Value] = {}  # name -> where it is kept, and what kind it is
        self.opening: list[str] = []
        self.lines: list[str] = []
        self.n, self.ended = 0, False

    def text(self) -> str:
        *kinds, self.result = self.known[self.node.name]
        arguments = []
        for argument, kind in zip(self.node.args.args, kinds, strict=True):
            arguments.append(f"{kind} noalias %in_{argument.arg}" if kind == ARRAY else f"{kind} %in_{argument.arg}")
            self.store(argument.arg, (f"%in_{argument.arg}", kind))
        self.block(self.node.body)
        if not self.ended:
            self.lines.append("ret void" if self.result == NONE else "unreachable")
        head = f"define {self.result} @{self.node.name}({', '.join(arguments)}) nounwind {{"
        return "\n".join([head, *self.opening, *self.lines, "}"])

    # ------------------------------------------------------------------ statements

    def block(self, statements: list) -> None:
        for statement in statements:
            self.statement(statement)

    def statement(self, node: Any) -> None:
        match node:
            case ast.Expr(value=ast.Constant()):
                return  # a docstring
            case ast.Expr(value=call):
                self.value(call)
            case ast.Assign(targets=[ast.Tuple(elts=targets)], value=ast.Tuple(elts=values)):
                for target, value in zip(targets, [self.value(value) for value in values], strict=True):
                    self.assign(target, value)
            case ast.Assign(targets=[target]):
                self.assign(target, self.value(node.value))
            case ast.AugAssign():
                old, change = self.value(node.target), self.value(node.value)
                self.assign(node.target, self.arithmetic(node.op, old, change, self.flags))
            case ast.If():
                self.choice(node)
            case ast.For(target=ast.Name(id=name), iter=ast.Call(func=ast.Name(id="range"), args=limits)):
                self.loop(name, limits, node.body)
            case ast.Return(value=None):
                self.end("ret void")
            case ast.Return(value=value):
                self.end(f"ret {self.result} {self.value(value)[0]}")
            case _:
                raise NotImplementedError(ast.dump(node))

    def assign(self, target: Any, value: Value) -> None:
        if isinstance(target, ast.Name):
            self.store(target.id, value)
        else:
            self.lines.append(f"store double {self.as_float(value)[0]}, ptr {self.place(target)}")

    def store(self, name: str, value: Value) -> None:
        if name not in self.names:
            self.names[name] = f"%{name}", value[1]
            self.opening.append(f"%{name} = alloca {value[1]}")
        place, kind = self.names[name]
        if kind != value[1]:
            raise NotImplementedError(f"{name} is {kind}")
        self.lines.append(f"store {kind} {value[0]}, ptr {place}")

    def end(self, line: str) -> None:
        self.lines.append(line)
        self.ended = True

    def go(self, label: str) -> None:
        if not self.ended:
            self.lines.append(f"br label %{label}")

    def label(self, label: str) -> None:
        self.lines.append(f"{label}:")
        self.ended = False

    def choice(self, node: Any) -> None:
        test, number = self.value(node.test)[0], self.number()
        self.lines.append(f"br i1 {test}, label %yes{number}, label %no{number}")
        for label, statements in ((f"yes{number}", node.body), (f"no{number}", node.orelse)):
            self.label(label)
            self.block(statements)
            self.go(f"then{number}")
        self.label(f"then{number}")

    def loop(self, name: str, limits: list, body: list) -> None:
        found, number = [self.value(limit) for limit in limits], self.number()
        first, last = found if len(found) == 2 else (("0", INT), found[0])
        self.store(name, first)
        self.go(f"test{number}")
        self.label(f"test{number}")
        test = self.new(f"icmp slt i64 {self.value(ast.Name(name))[0]}, {last[0]}", BOOL)
        self.lines.append(f"br i1 {test[0]}, label %body{number}, label %end{number}")
        self.label(f"body{number}")
        self.block(body)
        self.store(name, self.new(f"add nsw i64 {self.value(ast.Name(name))[0]}, 1", INT))
        self.go(f"test{number}")
        self.label(f"end{number}")

    # ------------------------------------------------------------------ expressions

    def number(self) -> int:
        self.n += 1
        return self.n

    def new(self, instruction: str, kind: str) -> Value:
        name = f"%.{self.number()}"
        self.lines.append(f"{name} = {instruction}")
        return name, kind

    def value(self, node: Any) -> Value:
        """Write an expression and return its value and kind."""
        match node:
            case ast.Name(id=name) if name in self.names:
                place, kind = self.names[name]
                return self.new(f"load {kind}, ptr {place}", kind)
            case ast.Name(id=name):
                return _constant(self.constants[name])
            case ast.Constant(value=value):
                return _constant(value)
            case ast.Subscript():
                return self.new(f"load double, ptr {self.place(node)}", FLOAT)
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                value, kind = self.value(operand)
                return self.new(f"{'fneg double' if kind == FLOAT else 'sub nsw i64 0,'} {value}", kind)
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return self.new(f"xor i1 {self.value(operand)[0]}, true", BOOL)
            case ast.BinOp(left=left, op=operation, right=right):
                return self.arithmetic(operation, self.value(left), self.value(right))
            case ast.BoolOp(op=operation, values=[first, *rest]):
                word, found = ("and" if isinstance(operation, ast.And) else "or"), self.value(first)
                for other in rest:
                    found = self.new(f"{word} i1 {found[0]}, {self.value(other)[0]}", BOOL)
                return found
            case ast.Compare(left=left, ops=[operation], comparators=[right]):
                return self.compared(operation, self.value(left), self.value(right))
            case ast.IfExp():
                return self.chosen(self.value(node.test), self.value(node.body), self.value(node.orelse))
            case ast.Call(func=ast.Name(id=name), args=arguments):
                return self.call(name, arguments)
        raise NotImplementedError(ast.dump(node))

    def place(self, node: Any) -> str:
        array, at = self.value(node.value), self.value(node.slice)
        return self.new(f"getelementptr inbounds double, ptr {array[0]}, i64 {at[0]}", ARRAY)[0]

    def as_float(self, value: Value) -> Value:
        if value[1] != INT:
            return value
        if value[0].lstrip("-").isdigit():
            return _constant(float(value[0]))
        return self.new(f"sitofp i64 {value[0]} to double", FLOAT)

    def alike(self, left: Value, right: Value) -> tuple[Value, Value]:
        return (left, right) if left[1] == right[1] else (self.as_float(left), self.as_float(right))

    def arithmetic(self, operation: Any, left: Value, right: Value, flags: str = "") -> Value:
        left, right = self.alike(left, right)
        word = OPERATORS[type(operation)][left[1] == INT]
        return self.new(f"{word}{flags if left[1] == FLOAT else ''} {left[1]} {left[0]}, {right[0]}", left[1])

    def compared(self, operation: Any, left: Value, right: Value) -> Value:
        left, right = self.alike(left, right)
        whole = left[1] == INT
        word = f"{'icmp' if whole else 'fcmp'} {COMPARISONS[type(operation)][whole]}"
        return self.new(f"{word} {left[1]} {left[0]}, {right[0]}", BOOL)

    def chosen(self, test: Value, first: Value, second: Value) -> Value:
        first, second = self.alike(first, second)
        return self.new(f"select i1 {test[0]}, {first[1]} {first[0]}, {second[1]} {second[0]}", first[1])

    def call(self, name: str, arguments: list) -> Value:
        if name == "room":
            size = arguments[0].value
            place = f"%.{self.number()}"
            self.opening += [
                f"{place} = alloca [{size} x double]",
                f"store [{size} x double] zeroinitializer, ptr {place}",
            ]
            return place, ARRAY
        given = [self.value(argument) for argument in arguments]
        if name in ("max", "min"):
            first, second = given
            return self.chosen(self.compared(ast.Gt() if name == "max" else ast.Lt(), second, first), second, first)
        if name == "power_of_two":
            whole = self.new(f"fptosi double {given[0][0]} to i64", INT)
            bits = self.new(f"shl i64 {self.new(f'add i64 {whole[0]}, 1023', INT)[0]}, 52", INT)
            return self.new(f"bitcast i64 {bits[0]} to double", FLOAT)
        if name in self.names:  # a function that is an argument
            kind, place = NONE, self.value(ast.Name(name))[0]
        elif name in self.known:
            *kinds, kind = self.known[name]
            given = [
                self.as_float(value) if wanted == FLOAT else value for value, wanted in zip(given, kinds, strict=True)
            ]
            place = f"@{name}"
        elif name in INTRINSIC or name in MATHS:
            given, kind = [self.as_float(value) for value in given], FLOAT
            place = f"@{INTRINSIC.get(name, name)}"
            self.called.add(place[1:])
        else:
            raise NotImplementedError(name)
        text = f"call {kind} {place}({', '.join(f'{kind} {value}' for value, kind in given)})"
        if kind != NONE:
            return self.new(text, kind)
        self.lines.append(text)
        return "", NONE


def _constant(value: Any) -> Value:
    if isinstance(value, bool):
        return str(value).lower(), BOOL
    if isinstance(value, int):
        return str(value), INT
    return f"0x{struct.unpack('<Q', struct.pack('<d', value))[0]:016X}", FLOAT


def compiled(text: str, fast: bool) -> Any:
    """Return the engine that owns the machine code of a text in LLVM's language.

    Parameters
    ----------
    text : str
    fast : bool
        Whether to optimise, with vectors, which takes five times as long as writing code as it stands.

    Raises
    ------
    ImportError, AttributeError, TypeError, RuntimeError
        With another version of llvmlite, or of LLVM.
    NotImplementedError
        Where a function of the C library is missing: LLVM would end the process.
    """
    from llvmlite import binding

    if binding.llvm_version_info[0] < FIRST_LLVM:
        raise NotImplementedError(f"LLVM {binding.llvm_version_info}")
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    target = binding.Target.from_default_triple().create_target_machine(
        cpu=binding.get_host_cpu_name(),
        features=binding.get_host_cpu_features().flatten(),
        opt=2 if fast else 0,
        codemodel="jitdefault",
        jit=True,
    )
    module = binding.parse_assembly(text)
    if fast:
        tuning = binding.create_pipeline_tuning_options(speed_level=2)
        tuning.loop_vectorization, tuning.loop_unrolling, tuning.slp_vectorization = True, False, False
        builder = binding.create_pass_builder(target, tuning)
        builder.getModulePassManager().run(module, builder)
    engine = binding.create_mcjit_compiler(module, target)
    missing = [name for name in re.findall(r"declare double @(\w+)\(", text) if not binding.address_of_symbol(name)]
    if missing:
        raise NotImplementedError(", ".join(missing))
    engine.finalize_object()
    return engine
