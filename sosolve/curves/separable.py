"""Which parameters a formula is linear in, and the model split into offset + sum of coefficient times parameter.

Everything is decided on the tree of the text: f is linear in a set S of parameters when no product multiplies two
parts with members of S, no divisor, exponent, base or argument of a function holds one, but for the branches of
`where`. That is sound, and complete but for disguises such as exp(log(a)). Used for variable projection (Golub and
Pereyra, SIAM J. Numer. Anal. 10, 1973).
"""

from __future__ import annotations

from .grammar import Call, Name, Negative, Number, Power, Product, Sum, Tree, children, names


def linear_names(tree: Tree, parameters: tuple[str, ...]) -> tuple[str, ...]:
    """Return a large set of parameters in which a tree is jointly linear, in the order of `parameters`.

    Joint linearity holds when it holds for every pair. The set is built greedily: parameters with the fewest
    conflicts first, earlier ones first among equals; so a*(b + c*x) gives (b, c) rather than (a,).
    """
    bent: set[str] = set()
    clash: dict[str, set[str]] = {name: set() for name in parameters}

    def visit(tree: Tree) -> set[str]:
        """Return the parameters of a tree; those it is not linear in go to `bent`, products of two to `clash`."""
        if isinstance(tree, Name):
            return {tree.id} & clash.keys()
        inner = [visit(part) for part in children(tree)]
        seen: set[str] = set().union(*inner)
        if is_choice(tree):
            bent.update(inner[0])
        elif isinstance(tree, Power | Call):
            bent.update(seen)
        if isinstance(tree, Product):
            seen = set()
            for sign, found in zip(tree.signs, inner, strict=True):
                bent.update(found if sign < 0 else found & seen)
                for name in found:
                    clash[name] |= seen
                for name in seen:
                    clash[name] |= found
                seen |= found
        return seen

    visit(tree)
    chosen: set[str] = set()
    for name in sorted(parameters, key=lambda name: len(clash[name] - bent)):
        if name not in bent and not clash[name] & chosen:
            chosen.add(name)
    return tuple(name for name in parameters if name in chosen)


def is_choice(tree: Tree) -> bool:
    """Return whether a tree is one of two parts, as its first part says."""
    return isinstance(tree, Call) and tree.function == "where"


def split(tree: Tree, linear: tuple[str, ...]) -> tuple[Tree, tuple[Tree, ...]]:
    """Return (offset, coefficients) with tree = offset + sum_k coefficients[k] * linear[k].

    Parameters
    ----------
    tree : Tree
        Jointly linear in `linear`.
    linear : tuple of str
    """
    parts = _parts(tree, frozenset(linear))
    zero = Number(0.0)
    return parts.get(None, zero), tuple(parts.get(name, zero) for name in linear)


def _parts(tree: Tree, chosen: frozenset[str]) -> dict[str | None, Tree]:
    if not names(tree) & chosen:
        return {None: tree}
    match tree:
        case Name(id):
            return {id: Number(1.0)}
        case Negative(part):
            return {key: Negative(inner) for key, inner in _parts(part, chosen).items()}
        case Sum(signs, parts):
            gathered: dict[str | None, list[tuple[int, Tree]]] = {}
            for sign, part in zip(signs, parts, strict=True):
                for key, inner in _parts(part, chosen).items():
                    gathered.setdefault(key, []).append((sign, inner))
            return {key: _sum(terms) for key, terms in gathered.items()}
        case Product(signs, parts):
            at = next(k for k, part in enumerate(parts) if names(part) & chosen)
            return {
                key: Product(signs, (*parts[:at], inner, *parts[at + 1 :]))
                for key, inner in _parts(parts[at], chosen).items()
            }
        case Call(function, (test, *branches)) if is_choice(tree):
            first, second = (_parts(branch, chosen) for branch in branches)
            zero = Number(0.0)
            return {key: Call(function, (test, first.get(key, zero), second.get(key, zero))) for key in first | second}
    raise ValueError(f"received a tree that is not linear in {sorted(chosen)}; expected one: choose other parameters")


def _sum(terms: list[tuple[int, Tree]]) -> Tree:
    if len(terms) == 1:
        sign, tree = terms[0]
        return tree if sign > 0 else Negative(tree)
    return Sum(tuple(sign for sign, _ in terms), tuple(tree for _, tree in terms))
