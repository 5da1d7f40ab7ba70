"""Reduces a parsed answer to its canonical key. Imported by the answer process only: sympy may hang or grow here.

A number's key is its value: `p/q` exactly, or 20 significant digits where it is irrational. A formula's key is its
value at three fixed points: two formulas that agree there to 20 digits are the same function, whatever their form
(the idea of Schwartz 1980 and Zippel 1979). Both are computed from the answer alone, so that equality of keys is
symmetric and transitive.
"""

import itertools
import re
from collections.abc import Iterable
from fractions import Fraction
from zlib import crc32

import sympy
from math_verify import LatexExtractionConfig, parse
from sympy.core.function import AppliedUndef
from sympy.core.relational import Relational

_TWO_NUMBERS = re.compile(r"-?[\d.]+(?: [\d.]+)+")
"""math-verify adds them, as if they were a whole number and a fraction."""
_LEFT_OUT = re.compile(r"\\[lc]?dots|\.\.\.")
"""math-verify reads 1, 2, ..., 9 as the set of the three."""
_OR = re.compile(r"\bor\b|\\(?:cup|vee|lor)\b")

_DEEPEST = 16
_POINTS = 3
_PRECISION = 40
_SIGNIFICANT = 20
_NEGLIGIBLE = Fraction(1, 10**30)
_LARGEST_DENOMINATOR = 10**6
_LARGEST_IN_DISGUISE = 10**9
_LARGEST_BITS = 20_000
_LARGEST_FACTORIAL = 2_000


class Unreadable(Exception):
    """The answer is not a formula that has a value."""


def formulas(tidied: str) -> list[sympy.Basic]:
    """Parse a tidied answer with math-verify; the empty list where it is no formula, or one of more than 16 levels.

    Must run on the main thread.
    """
    levels = itertools.accumulate((c in "{([") - (c in "})]") for c in tidied)
    if max(levels, default=0) > _DEEPEST:  # a tower of powers would cost the process its life
        return []
    config = [LatexExtractionConfig()]
    # math-verify's own time-out is off: it cannot interrupt C code, and the parent process kills this one.
    parsed = parse(f"${tidied}$", config, fallback_mode="no_fallback", parsing_timeout=None)
    return [e for e in parsed if isinstance(e, sympy.Basic | sympy.MatrixBase)]


def value_key(tidied: str) -> str:
    """Return the canonical key of a tidied answer. Raises `Unreadable`, and whatever sympy raises."""
    parsed = formulas(tidied)
    if not parsed or _TWO_NUMBERS.fullmatch(tidied) or _LEFT_OUT.search(tidied):
        raise Unreadable(tidied)
    return _key(parsed[0] if _OR.search(tidied) else _narrowed(parsed[0]))


def _key(e: sympy.Basic) -> str:
    if isinstance(e, sympy.MatrixBase):
        return _listed("[", [_listed("[", map(_key, row), "]") for row in e.tolist()], "]")
    if isinstance(e, sympy.Tuple):
        return _listed("(", map(_key, e), ")")
    if isinstance(e, sympy.Set):
        return _set_key(e)
    if isinstance(e, sympy.And | Relational):
        return _relation_key(e)
    if isinstance(e, sympy.Expr):
        return _value(_evaluated(e))
    raise Unreadable(str(type(e)))


def _narrowed(e: sympy.Basic) -> sympy.Basic:
    """Return the common solutions of inequalities, or `e` where there are none: "x < 1, x > 3" is meant as "or"."""
    if not isinstance(e, sympy.FiniteSet) or not all(isinstance(r, Relational) for r in e.args):
        return e
    if any(isinstance(r, sympy.Eq) for r in e.args):
        return e
    if len(e.free_symbols) != 1:
        raise Unreadable("inequalities in several unknowns")
    common = sympy.Intersection(*map(_solutions, e.args))
    return e if common is sympy.S.EmptySet else common


def _listed(left: str, keys: Iterable[str], right: str) -> str:
    return left + ", ".join(keys) + right


def _set_key(e: sympy.Set) -> str:
    if isinstance(e, sympy.Union | sympy.Complement | sympy.Intersection):
        e = e.func(*e.args)
    if isinstance(e, sympy.FiniteSet):
        return _members_key(list(e.args))
    if isinstance(e, sympy.Interval):
        # Nothing tells an open interval from a point of the plane: both have the same key.
        left, right = "(" if e.left_open else "[", ")" if e.right_open else "]"
        return _listed(left, map(_key, (e.start, e.end)), right)
    if isinstance(e, sympy.Union):
        return " U ".join(sorted(map(_key, e.args)))
    if e is sympy.S.EmptySet:
        return "{}"
    if e is sympy.S.Reals:
        return "(-oo, oo)"
    if isinstance(e, sympy.Complement):
        return " - ".join(map(_key, e.args))
    if not e.args:
        return str(e)
    raise Unreadable(str(type(e)))


def _members_key(members: list[sympy.Basic]) -> str:
    relations = [m for m in members if isinstance(m, Relational)]
    if relations and len(relations) == len(members):
        if any(not isinstance(r, sympy.Eq) for r in relations):
            return _set_key(sympy.Union(*(_solutions(r) for r in relations)))
        names = sorted(str(r.lhs) for r in relations)
        if len(set(names)) > 1:  # x = 1, y = 2: the names matter
            return _listed("{", sorted(f"{r.lhs} = {_key(r.rhs)}" for r in relations), "}")
    keys = sorted({_key(m) for m in members})
    return keys[0] if len(keys) == 1 else _listed("{", keys, "}")


def _relation_key(e: sympy.And | Relational) -> str:
    if isinstance(e, sympy.And):
        parts = e._unsorted_args if hasattr(e, "_unsorted_args") else e.args
        if all(isinstance(p, sympy.Eq) for p in parts):  # x = 2 + 3 = 5: the last side is the answer
            return _key(parts[-1].rhs)
        return _set_key(_solutions(e))
    if isinstance(e, sympy.Eq):
        for name, other in ((e.lhs, e.rhs), (e.rhs, e.lhs)):
            if _is_name(name) and not (name.free_symbols & other.free_symbols and isinstance(name, sympy.Symbol)):
                return _key(other)
        if not e.free_symbols:  # 2 + 3 = 5
            return _key(e.rhs)
        difference = e.lhs - e.rhs
        return _solved_for_y(difference) or "0 = " + _up_to_scale(difference, signed=False)
    if len(e.free_symbols) == 1:
        return _set_key(_solutions(e))
    if isinstance(e, sympy.Ne):
        return "0 != " + _up_to_scale(e.lhs - e.rhs, signed=False)
    strict = isinstance(e, sympy.StrictGreaterThan | sympy.StrictLessThan)
    return ("0 < " if strict else "0 <= ") + _up_to_scale(e.gts - e.lts, signed=True)


def _solved_for_y(difference: sympy.Expr) -> str | None:
    """Return the key of `f(x)` where `difference = 0` says `y = f(x)`: 2x - y + 3 = 0 is the line y = 2x + 3."""
    for y in difference.free_symbols:
        slope = difference.diff(y)
        if y.name == "y" and len(difference.free_symbols) > 1 and slope.is_number and slope != 0:
            return _key(-difference.subs(y, 0) / slope)
    return None


def _is_name(e: sympy.Basic) -> bool:
    """Say whether `e` only names the answer: `x`, `f(x)`, `(x, y)`."""
    parts = e.args if isinstance(e, sympy.Tuple | sympy.Interval) and len(e.free_symbols) > 1 else (e,)
    return all(isinstance(p, sympy.Symbol | AppliedUndef | sympy.logic.boolalg.BooleanAtom) for p in parts)


def _solutions(e: sympy.Basic) -> sympy.Set:
    if len(e.free_symbols) != 1:
        raise Unreadable("an inequality in several unknowns")
    return e.as_set()


def _evaluated(e: sympy.Basic) -> sympy.Basic:
    """Carry out what the parser left undone, exactly; refuse numbers of more than 20,000 bits."""
    if isinstance(e, sympy.Float):
        return sympy.Rational(str(e))
    if isinstance(e, sympy.Symbol) and e.name == "i":
        return sympy.I
    if not e.args:
        return e
    if isinstance(e, sympy.Sum | sympy.Product | sympy.Integral | sympy.Limit | sympy.Derivative):
        e = e.doit()
        return e if e.is_Atom or isinstance(e, sympy.Sum | sympy.Product) else _evaluated(e)
    args = [_evaluated(a) for a in e.args]
    _refuse_giants(e, args)
    if isinstance(e, sympy.Pow) and args[0].is_negative and args[1].is_Rational and args[1].q % 2 == 1:
        # Odd roots of negative numbers are real at school, not the principal complex ones.
        return (-1) ** (args[1].p % 2) * (-args[0]) ** args[1]
    return e.func(*args)


def _refuse_giants(e: sympy.Basic, args: list[sympy.Basic]) -> None:
    if isinstance(e, sympy.Pow | sympy.exp):
        base, exponent = (args[0], args[1]) if isinstance(e, sympy.Pow) else (sympy.Integer(3), args[0])
        if base.is_Rational and exponent.is_Rational:
            bits = max(int(base.p).bit_length(), int(base.q).bit_length())
            if bits * abs(exponent) > _LARGEST_BITS:
                raise Unreadable("a number too large to compute")
    elif isinstance(e, sympy.factorial | sympy.binomial | sympy.gamma) and any(
        a.is_Rational and abs(a) > _LARGEST_FACTORIAL for a in args
    ):
        raise Unreadable("a number too large to compute")


def _value(e: sympy.Basic) -> str:
    if e.is_Rational or e in (sympy.oo, -sympy.oo):
        return str(e)
    names = sorted(s.name for s in e.free_symbols)
    if not names:
        return _number(e)
    return f"{', '.join(names)} -> {'; '.join(map(_number, _at_points(e)))}"


def _at_points(e: sympy.Basic) -> list[sympy.Basic]:
    if e.atoms(AppliedUndef):
        raise Unreadable("an unknown function")
    points = ({s: _coordinate(s.name, point) for s in e.free_symbols} for point in range(_POINTS))
    return [_evaluated(e.xreplace(point)) for point in points]


def _coordinate(name: str, point: int) -> sympy.Rational:
    """Return a fixed rational in (1/3, 7/3), negative at the odd points: sqrt(x²) is not x."""
    return sympy.Rational(crc32(f"{name} {point}".encode()) % 19997, 9999) * (-1) ** point + (-1) ** point / sympy.S(3)


def _up_to_scale(e: sympy.Basic, *, signed: bool) -> str:
    """Key of a formula that may be multiplied by a constant (by a positive one where `signed`)."""
    e = _evaluated(e)
    if not e.free_symbols:
        raise Unreadable("a statement without unknowns")
    first, *others = _at_points(e)
    scale = sympy.Abs(first) if signed else first
    names = ", ".join(sorted(s.name for s in e.free_symbols))
    sign = [sympy.sign(first)] if signed else []
    return f"{names} -> {'; '.join(_number(v) for v in [*sign, *(o / scale for o in others)])}"


def _number(e: sympy.Basic) -> str:
    """Return the value of a constant: `p/q` where it is rational, else 20 significant digits, else `re + im I`."""
    real, imaginary = (_real(part) for part in e.evalf(_PRECISION).as_real_imag())
    return real if imaginary == "0" else f"{real} + {imaginary} I"


def _real(e: sympy.Basic) -> str:
    if not (e.is_Float or e.is_Rational) or not e.is_finite:
        raise Unreadable("not a number")
    value = Fraction(int(e.p), int(e.q)) if e.is_Rational else Fraction(str(e))
    near = value.limit_denominator(_LARGEST_DENOMINATOR)
    # (1 + sqrt 2)(1 - sqrt 2) is -1, which only its digits tell.
    if abs(value) < _LARGEST_IN_DISGUISE and abs(value - near) <= _NEGLIGIBLE * max(Fraction(1), abs(near)):
        return str(near)
    return str(sympy.Float(str(e), _PRECISION).n(_SIGNIFICANT))
