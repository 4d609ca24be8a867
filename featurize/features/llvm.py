"""Machine code in the making: LLVM's values and loops, in a form that arithmetic can be written in.

A function that adds two vectors of eight floats, from its first line to its call::

    >>> import ctypes
    >>> import numpy as np
    >>> module = ir.Module()
    >>> x, y, total = arguments(module, "add", ir.VoidType(), *[FLOAT.as_pointer()] * 3)
    >>> def add(i):
    ...     total.write(i, x.read(i) + y.read(i))
    >>> _ = loop(0, number(x, 8), 1, add)
    >>> _ = x.builder.ret_void()
    >>> engine = machine_code(module)
    >>> call = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 3)(engine.get_function_address("add"))
    >>> a, b, c = np.arange(8, dtype=np.float32), np.full(8, 0.5, np.float32), np.zeros(8, np.float32)
    >>> call(a.ctypes.data, b.ctypes.data, c.ctypes.data)
    >>> c.tolist()
    [0.5, 1.5, 2.5, 3.5, 4.5, 5.5, 6.5, 7.5]

Python's `add` runs once, to append the instructions; the loop over them is LLVM's.

Nothing here lets LLVM reorder or fuse: every operation rounds as IEEE 754 says, so the code gives the same bits on
every processor, only not at the same speed.
"""

from collections.abc import Callable
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir

# Eight floats fill one register of AVX, two of SSE or NEON. With sixteen, the FFT's buffers leave the first cache.
LANES = 8

INT, INDEX, FLOAT = ir.IntType(32), ir.IntType(64), ir.FloatType()
INTS, INDICES, FLOATS = (ir.VectorType(kind, LANES) for kind in (INT, INDEX, FLOAT))


class Value:
    """A number, a vector of `LANES` numbers or a pointer that the code will have when it runs.

    Arithmetic appends an instruction to the code. A Python number beside a value stands for itself, in every lane.

    Attributes
    ----------
    builder
        llvmlite's, which the code is appended to.
    raw
        llvmlite's value.
    """

    def __init__(self, builder: Any, raw: Any) -> None:
        self.builder, self.raw = builder, raw

    def value(self, raw: Any) -> "Value":
        """Return llvmlite's value, in the code of this one, as a value."""
        return Value(self.builder, raw)

    def like(self, other: "Value | float") -> "Value":
        """Return a Python number as a constant of this value's type, and a value as it is."""
        if isinstance(other, Value):
            return other
        kind = self.raw.type
        return self.value(ir.Constant(kind, [other] * LANES if isinstance(kind, ir.VectorType) else other))

    def _is_float(self) -> bool:
        return isinstance(getattr(self.raw.type, "element", self.raw.type), ir.FloatType)

    def _with(self, name: str, other: "Value | float") -> "Value":
        instruction = getattr(self.builder, "f" + name if self._is_float() else name)
        return self.value(instruction(self.raw, self.like(other).raw))

    def __add__(self, other: "Value | float") -> "Value":
        return self._with("add", other)

    def __sub__(self, other: "Value | float") -> "Value":
        return self._with("sub", other)

    def __mul__(self, other: "Value | float") -> "Value":
        return self._with("mul", other)

    def __truediv__(self, other: "Value | float") -> "Value":
        return self._with("div", other)

    def __lt__(self, other: "Value | float") -> "Value":
        compare = self.builder.fcmp_ordered if self._is_float() else self.builder.icmp_signed
        return self.value(compare("<", self.raw, self.like(other).raw))

    def choose(self, yes: "Value", no: "Value") -> "Value":
        """Return `yes` where this is true, and `no` where not."""
        return self.value(self.builder.select(self.raw, yes.raw, no.raw))

    def as_type(self, kind: Any) -> "Value":
        """Return the same bits as another type."""
        return self.value(self.builder.bitcast(self.raw, kind))

    def spread(self) -> "Value":
        """Return a vector that has this number in every lane."""
        empty = ir.Constant(ir.VectorType(self.raw.type, LANES), ir.Undefined)
        first = self.builder.insert_element(empty, self.raw, ir.Constant(INT, 0))
        return self.value(self.builder.shuffle_vector(first, empty, ir.Constant(INTS, [0] * LANES)))

    def at(self, index: "Value | int") -> "Value":
        """Return the pointer to the element that lies so many elements further."""
        return self.value(self.builder.gep(self.raw, [number(self, index).raw]))

    def read(self, index: "Value | int" = 0) -> "Value":
        """Return the element that lies so many elements behind this pointer."""
        return self.value(self.builder.load(self.at(index).raw, align=4))

    def write(self, index: "Value | int", value: "Value") -> None:
        """Store an element so many elements behind this pointer."""
        self.builder.store(value.raw, self.at(index).raw, align=4)

    def vectors(self) -> "Value":
        """Return this pointer to floats as one to vectors of them."""
        return self.as_type(FLOATS.as_pointer())


def number(code: Value, index: Value | int) -> Value:
    """Return an index as a value in the code of `code`."""
    return index if isinstance(index, Value) else code.value(ir.Constant(INDEX, index))


def loop(
    start: Value | int, stop: Value, step: int, body: Callable[..., tuple[Value, ...] | None], *carried: Value
) -> tuple[Value, ...]:
    """Append a loop over a range.

    `body` appends the code of a round: it takes the index and the carried values, and returns those of the next round.
    The first round takes `carried`, and the values of the last round are returned.
    """
    b = stop.builder
    before, head, inside, after = b.block, *(b.append_basic_block() for _ in range(3))
    b.branch(head)
    b.position_at_end(head)
    firsts = [number(stop, start), *carried]
    phis = [stop.value(b.phi(first.raw.type)) for first in firsts]
    b.cbranch((phis[0] < stop).raw, inside, after)
    b.position_at_end(inside)
    nexts = [*(body(*phis) or ())]
    nexts.insert(0, phis[0] + step)
    for phi, first, following in zip(phis, firsts, nexts, strict=True):
        phi.raw.add_incoming(first.raw, before)
        phi.raw.add_incoming(following.raw, b.block)
    b.branch(head)
    b.position_at_end(after)
    return tuple(phis[1:])


def transposed(rows: list[Value]) -> list[Value]:
    """Transpose a square of `LANES` vectors.

    To interleave row i with row i + LANES / 2 moves one bit of the column's number into the row's; after as many rounds
    as the number has bits, the rows are columns.
    """
    half, builder = LANES // 2, rows[0].builder
    masks = [
        ir.Constant(INTS, [lane for i in range(start, start + half) for lane in (i, LANES + i)]) for start in (0, half)
    ]
    for _ in range(LANES.bit_length() - 1):
        pairs = [(rows[i // 2], rows[i // 2 + half], masks[i % 2]) for i in range(LANES)]
        rows = [first.value(builder.shuffle_vector(first.raw, second.raw, mask)) for first, second, mask in pairs]
    return rows


def arguments(module: ir.Module, name: str, result: ir.Type, *kinds: ir.Type) -> list[Value]:
    """Start a function and return its arguments; code that is appended to one of them becomes its body."""
    function = ir.Function(module, ir.FunctionType(result, kinds), name)
    builder = ir.IRBuilder(function.append_basic_block())
    return [Value(builder, argument) for argument in function.args]


def machine_code(module: ir.Module) -> llvm.ExecutionEngine:
    """Compile a module for this processor; the engine knows its functions by name, and owns them.

    Raises a RuntimeError if LLVM makes no code for this processor.
    """
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    try:
        features = llvm.get_host_cpu_features().flatten()
    except RuntimeError:
        # LLVM cannot ask every processor; then it goes by the name.
        features = ""
    machine = llvm.Target.from_default_triple().create_target_machine(llvm.get_host_cpu_name(), features, opt=2)
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(str(module)), machine)
    engine.finalize_object()
    return engine
