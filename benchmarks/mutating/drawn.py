"""Mutants drawn at random among all that cosmic-ray makes of some modules."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import cosmic_ray.plugins
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.ast.ast_query import ASTQuery
from cosmic_ray.mutating import mutate_code

NOTHING_TO_MUTATE = {"name", "string", "newline", "endmarker", "fstring_string"}


@dataclass(frozen=True)
class Mutant:
    """One small change of one module.

    Attributes:
        name: tells it from the others; stays as it is when other lines of the module change.
        module: its path from the root.
        operator: what cosmic-ray calls the change.
        line: where it begins, from 1.
        within: function or class that holds it; "" for none.
        before, after: the changed lines.
        text: the whole changed module.
    """

    name: str
    module: str
    operator: str
    line: int
    within: str
    before: str
    after: str
    text: str


@dataclass(frozen=True)
class _Place:
    rank: str
    module: str
    operator: str
    occurrence: int
    line: int
    within: str


def drawn(root: Path, modules: list[str], count: int, seed: int) -> list[Mutant]:
    """Draw mutants, each with the same chance.

    The order is that of hashes of the seed and of what is changed: a change elsewhere in the code neither adds nor
    takes away any. What does not compile is no mutant, nor is a changed annotation, which nothing evaluates.
    """
    sources = {module: (root / module).read_text(encoding="utf-8") for module in modules}
    places = sorted(
        (place for module, source in sources.items() for place in _places(module, source, seed)),
        key=lambda place: place.rank,
    )
    found: list[Mutant] = []
    for place in places:
        if len(found) == count:
            break
        mutant = _mutant(place, sources[place.module])
        if mutant is not None:
            found.append(mutant)
    return found


def _places(module: str, source: str, seed: int) -> Iterator[_Place]:
    lines = source.splitlines()
    nodes = [node for node in ast_nodes(get_ast(source)) if node.type not in NOTHING_TO_MUTATE]
    for name in cosmic_ray.plugins.operator_names():
        kind = cosmic_ray.plugins.get_operator(name)
        if kind.arguments():  # needs to be told what to replace
            continue
        operator, same = kind(), Counter[str]()
        positions = ((node, start) for node in nodes for start, _ in operator.mutation_positions(node))
        for occurrence, (node, (line, _)) in enumerate(positions):
            within = ASTQuery(node).get_definition_name() or ""
            what = f"{seed} {module} {within} {name} {lines[line - 1].strip()}"
            same[what] += 1
            rank = sha256(f"{what} {same[what]}".encode()).hexdigest()
            yield _Place(rank, module, name, occurrence, line, within)


def _mutant(place: _Place, source: str) -> Mutant | None:
    operator = cosmic_ray.plugins.get_operator(place.operator)()
    text = mutate_code(source, operator, place.occurrence)
    if text is None or text == source:
        return None
    try:
        if _evaluated(text) == _evaluated(source):
            return None
    except SyntaxError:
        return None
    before, after = source.splitlines(), text.splitlines()
    first = next(n for n, pair in enumerate(zip(before, after, strict=False)) if pair[0] != pair[1])
    # The same number of lines stays below the change.
    left = next(
        n for n, pair in enumerate(zip(before[::-1], after[::-1], strict=False)) if pair[0] != pair[1]
    )
    return Mutant(
        place.rank[:10],
        place.module,
        place.operator.removeprefix("core/"),
        place.line,
        place.within,
        "\n".join(line.strip() for line in before[first : len(before) - left]),
        "\n".join(line.strip() for line in after[first : len(after) - left]),
        text,
    )


class _WithoutAnnotations(ast.NodeTransformer):
    def visit_arg(self, node: ast.arg) -> ast.arg:
        node.annotation = None
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        node.returns = None
        self.generic_visit(node)
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AnnAssign:
        node.annotation = ast.Constant(None)
        self.generic_visit(node)
        return node


def _evaluated(source: str) -> str:
    """The code without its annotations."""
    tree = ast.parse(source)
    compile(source, "<mutant>", "exec", dont_inherit=True)
    return ast.dump(_WithoutAnnotations().visit(tree))
