"""One module's details beside its interface: what names mean, what tests use, and what must be true of both.

A test needs the code of everything it calls, so that is added to its atom's dependencies. Modules form no circle, so
this is always possible for what lies in other modules; within the module it must not close a circle.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import networkx as nx

from mge_ray.domain.atom import parse_signature
from mge_ray.pipeline.outline import parse
from mge_ray.pipeline.spec.checks import Interface
from mge_ray.pipeline.spec.documents import AtomDetail, DetailsDocument, Requirement, TestDetail
from mge_ray.pipeline.spec.skeletons import package_imports, signature_of
from mge_ray.pipeline.spec.steps import SYSTEM

Key = tuple[str, str]  # module, symbol
FIXTURES = frozenset({"tmp_path", "monkeypatch", "capsys", "caplog", "recwarn", "request"})


def test_path(module: str) -> str:
    """Return where a module's tests lie."""
    return f"tests/test_{module}.py"


test_path.__test__ = False  # type: ignore[attr-defined]  # pytest would collect the name


@dataclass(frozen=True)
class Details:
    """A details document with its module's interface."""

    document: DetailsDocument
    interface: Interface

    @property
    def module(self) -> str:
        """The module's name."""
        return self.document.module

    @cached_property
    def atoms(self) -> dict[str, AtomDetail]:
        """Atoms by symbol."""
        return {atom.symbol: atom for atom in self.document.atoms}

    @cached_property
    def skeleton_text(self) -> str:
        """The module's skeleton, its new helpers included."""
        nodes = (parse_signature(atom.signature) for atom in self.document.atoms if atom.symbol not in self.stubs)
        helpers = [
            f"{signature_of(node)}:\n    raise NotImplementedError\n"
            for node in nodes
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        ]
        return "\n\n".join([self.interface.files[self.interface.path(self.module)], *helpers])

    @cached_property
    def files(self) -> dict[str, str]:
        """The package and this module's tests, as they can be run before anything is written."""
        own = {} if self.module == SYSTEM else {self.interface.path(self.module): self.skeleton_text}
        return {**self.interface.files, **own, test_path(self.module): self.test_text}

    @cached_property
    def test_text(self) -> str:
        """The module's test file."""
        return "\n\n\n".join(
            part.strip() for part in (self.document.preamble, *(test.code for test in self.document.tests))
        ).lstrip() + ("\n")

    @cached_property
    def _preamble(self) -> ast.Module:
        return parse(self.document.preamble) or ast.Module([], [])

    @property
    def stubs(self) -> frozenset[str]:
        """The symbols that the module's skeleton leaves open."""
        return frozenset() if self.module == SYSTEM else frozenset(self.interface.skeletons[self.module].stubs)

    def meant(self, reference: str) -> tuple[Key, ...] | None:
        """Return the atoms a reference names; none for what the skeleton has finished, None for what there is not."""
        own = self.stubs | self.atoms.keys()
        if reference in own:
            return ((self.module, reference),)
        found = self._in(self.module, reference)
        if found is None and "." in reference:
            module, _, rest = reference.partition(".")
            if module in self.interface.below(self.module):
                found = self._in(module, rest)
        return found

    def _in(self, module: str, symbol: str) -> tuple[Key, ...] | None:
        skeleton = self.interface.skeletons.get(module)
        if skeleton is None:
            return None
        if symbol in skeleton.stubs:
            return ((module, symbol),)
        if symbol.partition(".")[0] in skeleton.names:
            return tuple((module, method) for method in skeleton.methods_of(symbol))
        return None

    @cached_property
    def needs(self) -> nx.DiGraph[Key]:
        """Edges from an atom to what it says it depends on."""
        graph: nx.DiGraph[Key] = nx.DiGraph()
        for atom in self.document.atoms:
            graph.add_node((self.module, atom.symbol))
            for reference in atom.depends_on:
                graph.add_edges_from(((self.module, atom.symbol), key) for key in self.meant(reference) or ())
        return graph

    def used_by(self, test: TestDetail) -> set[Key]:
        """Return the atoms that a test's code names, also through the helpers above the tests."""
        imported = self._imported
        used: set[Key] = set()
        for node in self._reached(test):
            if isinstance(node, ast.Name) and node.id in imported:
                module, name = imported[node.id]
                found = self._in(module, name) if name else ()
                used.update(key for key in found or () if name == key[1] or _is_special(key[1]))
                if module == self.module and name in self.atoms:  # a helper, which the skeleton does not have
                    used.add((module, name))
            elif isinstance(node, ast.Attribute):
                used.update(self._methods.get(node.attr, ()))
                if isinstance(node.value, ast.Name) and imported.get(node.value.id, ("", "x"))[1] == "":
                    used.update(self._in(imported[node.value.id][0], node.attr) or ())
        return used

    @cached_property
    def _imported(self) -> dict[str, tuple[str, str]]:
        trees = [self._preamble, *(tree for test in self.document.tests if (tree := parse(test.code)))]
        package = self.interface.document.package
        return {bound: (module, name) for tree in trees for _, module, name, bound in package_imports(tree, package)}

    @cached_property
    def _methods(self) -> dict[str, set[Key]]:
        """Methods to be written by their last name, here and in the modules below."""
        found: dict[str, set[Key]] = {}
        for module in {self.module, *self.interface.below(self.module)} - {SYSTEM}:
            for symbol in self.interface.skeletons[module].stubs:
                if "." in symbol:
                    found.setdefault(symbol.rpartition(".")[2], set()).add((module, symbol))
        return found

    def _reached(self, test: TestDetail) -> Iterator[ast.AST]:
        """Yield the syntax of a test and of the helpers, fixtures and values above the tests that it names."""
        above = {name: node for node in self._preamble.body for name in _defined(node)}
        waiting: list[ast.AST] = [parse(test.code) or ast.Module([], [])]
        seen: set[str] = set()
        while waiting:
            for node in ast.walk(waiting.pop()):
                name = node.id if isinstance(node, ast.Name) else node.arg if isinstance(node, ast.arg) else ""
                if name in above and name not in seen:
                    seen.add(name)
                    waiting.append(above[name])
                yield node

    def lacking(self, test: TestDetail) -> set[Key]:
        """Return the atoms that a test uses and its atom does not rest on: it has to wait for them, too."""
        return {key for key in self.used_by(test) if key[0] != self.module} | self.lacking_here(test)

    def lacking_here(self, test: TestDetail) -> set[Key]:
        """Return those of them that lie in this module."""
        at = (self.module, test.atom)
        own = {key for key in self.used_by(test) if key[0] == self.module}
        known = {at} | (set(nx.descendants(self.needs, at)) if at in self.needs else set())
        by_leaf = {key[1].rpartition(".")[2] for key in known if "." in key[1]}
        return {key for key in own - known if not ("." in key[1] and key[1].rpartition(".")[2] in by_leaf)}


def check_details(details: Details, module: str, requirements: tuple[Requirement, ...]) -> list[str]:
    """Return what is wrong with a module's atoms, tests and their requirements."""
    document = details.document
    if document.module != module:
        return [f"the details are of module {document.module!r}; {module!r} was asked for"]
    problems = [*_atoms(details), *_tests(details, requirements)]
    if problems:
        return problems
    return [*_circles(details), *_context(details)]


def _atoms(details: Details) -> Iterator[str]:
    symbols = [atom.symbol for atom in details.document.atoms]
    for symbol in sorted({one for one in symbols if symbols.count(one) > 1}):
        yield f"atom {symbol} stands twice"
    if details.module == SYSTEM:
        if symbols:
            yield "the tests of the whole package write no code; leave 'atoms' empty"
        return
    missing = sorted(details.stubs - set(symbols))
    if missing:
        yield f"no atom writes {', '.join(missing[:20])}; every function that only raises needs one"
    names = details.interface.skeletons[details.module].names
    for atom in details.document.atoms:
        if atom.symbol not in details.stubs:
            yield from _helper(atom, names)
        elif atom.signature:
            yield f"atom {atom.symbol}: its signature stands in the skeleton; leave 'signature' out"
        for reference in atom.depends_on:
            if details.meant(reference) is None:
                yield f"atom {atom.symbol} depends on {reference!r}, which neither this module nor one below it has"


def _helper(atom: AtomDetail, names: frozenset[str]) -> Iterator[str]:
    if atom.symbol in names or "." in atom.symbol or not atom.symbol.startswith("_"):
        yield f"atom {atom.symbol} is no function the skeleton leaves open, nor a new private helper such as _name"
        return
    node = parse_signature(atom.signature) if atom.signature else None
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or node.name != atom.symbol:
        yield f"atom {atom.symbol}: a new helper needs its signature, `def {atom.symbol}(...) -> ...`"


def _tests(details: Details, requirements: tuple[Requirement, ...]) -> Iterator[str]:
    document = details.document
    known = {one.id: one for one in requirements}
    names = [test.name for test in document.tests]
    for name in sorted({one for one in names if names.count(one) > 1}):
        yield f"test {name} stands twice"
    preamble = parse(document.preamble)
    if preamble is None:
        yield "the preamble is no valid Python"
    fixtures = FIXTURES | {name for node in (preamble.body if preamble else ()) for name in _defined(node)}
    for test in document.tests:
        yield from _test(test, fixtures)
        if unknown := sorted(set(test.covers) - known.keys()):
            yield f"test {test.name} covers {', '.join(unknown)}, which there is not"
        if test.atom not in details.atoms and not (details.module == SYSTEM and test.atom == ""):
            yield f"test {test.name} judges {test.atom!r}, which is no atom of this module"
    judged = {test.atom for test in document.tests}
    if untested := [atom.symbol for atom in document.atoms if atom.symbol not in judged]:
        yield f"no test judges {', '.join(untested[:20])}"
    interface = details.interface
    owned = interface.document.system if details.module == SYSTEM else interface.modules[details.module].requirements
    covered = {one for test in document.tests for one in test.covers}
    if bare := [one for one in owned if known[one].level == "MUST" and one not in covered]:
        yield f"no test covers {', '.join(bare)}; each MUST of the module needs one"


def _test(test: TestDetail, fixtures: frozenset[str] | set[str]) -> Iterator[str]:
    tree = parse(test.code)
    if tree is None:
        yield f"test {test.name}: its code is no valid Python"
        return
    node = tree.body[0] if len(tree.body) == 1 else None
    if not isinstance(node, ast.FunctionDef) or node.name != test.name:
        yield f"test {test.name}: its code is exactly one function of that name, decorators included"
        return
    given = {
        value
        for inner in node.decorator_list
        for constant in ast.walk(inner)
        if isinstance(constant, ast.Constant) and isinstance(constant.value, str)
        for value in constant.value.replace(",", " ").split()
    }
    unknown = [one.arg for one in node.args.args if one.arg not in fixtures and one.arg not in given]
    if unknown:
        yield f"test {test.name} takes {', '.join(unknown)}, which no fixture or parametrization gives"


def _circles(details: Details) -> Iterator[str]:
    graph = details.needs
    if not nx.is_directed_acyclic_graph(graph):
        cycle = [edge[0][1] for edge in nx.find_cycle(graph)]
        yield f"the atoms depend on each other in a circle: {' -> '.join([*cycle, cycle[0]])}; join or split them"


def _context(details: Details) -> Iterator[str]:
    """Yield tests whose atom would have to wait for code that itself waits for the atom."""
    if details.module == SYSTEM or not nx.is_directed_acyclic_graph(details.needs):
        return
    graph = details.needs.copy()
    for test in details.document.tests:
        at = (details.module, test.atom)
        for key in sorted(details.lacking_here(test)):
            if nx.has_path(graph, key, at):
                why = f"calls {key[1]}, which rests on it: let it judge {key[1]}"
                yield f"test {test.name} judges {test.atom}, but {why}"
            else:
                graph.add_edge(at, key)


def _defined(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [node.name]
    if isinstance(node, ast.Assign):
        return [target.id for target in node.targets if isinstance(target, ast.Name)]
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        return [node.target.id]
    return []


def _is_special(symbol: str) -> bool:
    """Tell methods that run without being named, when an object is made or compared."""
    leaf = symbol.rpartition(".")[2]
    return leaf.startswith("__") and leaf.endswith("__")
