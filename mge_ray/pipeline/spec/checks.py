"""What must be true of requirements and of an interface, beyond their form. Each problem is one line for the model."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import networkx as nx

from mge_ray.pipeline.spec.documents import (
    InterfaceDocument,
    ModuleInterface,
    Requirement,
    RequirementsDocument,
)
from mge_ray.pipeline.spec.skeletons import Skeleton, package_imports, read_module, signature_of, unannotated
from mge_ray.pipeline.spec.steps import SYSTEM

RESERVED = frozenset({SYSTEM, "tests", "test", "conftest"})
MAX_STUBS = 400


@dataclass(frozen=True)
class Interface:
    """An interface document with its modules read; made of a document that has passed `check_interface`."""

    document: InterfaceDocument

    @cached_property
    def modules(self) -> Mapping[str, ModuleInterface]:
        """Modules by name."""
        return {module.name: module for module in self.document.modules}

    @cached_property
    def skeletons(self) -> Mapping[str, Skeleton]:
        """What each module holds."""
        found = {module.name: read_module(module.skeleton) for module in self.document.modules}
        return {name: skeleton for name, skeleton in found.items() if skeleton is not None}

    @cached_property
    def files(self) -> dict[str, str]:
        """The package as files: every function that is to be written still raises."""
        package = self.document.package
        first = " ".join(self.document.summary.split())[:200].replace("\\", "/").replace('"', "'")
        return {
            f"{package}/__init__.py": f'"""{first}"""\n',
            **{self.path(module.name): module.skeleton.rstrip() + "\n" for module in self.document.modules},
        }

    def path(self, module: str) -> str:
        """Return a module's file."""
        return f"{self.document.package}/{module}.py"

    def below(self, module: str) -> frozenset[str]:
        """Return the modules that `module` may use, directly or not, without itself; all of them for the system."""
        if module == SYSTEM:
            return frozenset(self.modules)
        return frozenset(nx.descendants(_uses(self.document), module))


def place_of(quote: str, spec: str) -> int | None:
    """Return the line (from 1) on which `quote` begins in `spec`, whatever white space or line breaks lie between."""
    words = quote.split()
    if not words:
        return None
    placed = [(word, number) for number, line in enumerate(spec.splitlines(), start=1) for word in line.split()]
    text = " ".join(word for word, _ in placed)
    found = text.find(" ".join(words))
    return None if found < 0 else placed[text.count(" ", 0, found)][1]


def check_requirements(document: RequirementsDocument, spec: str) -> list[str]:
    """Return what is wrong: ids out of order, or a quote that the specification does not hold."""
    problems = []
    for number, requirement in enumerate(document.requirements, start=1):
        if requirement.id != f"R{number}":
            problems.append(f"requirement {number} has the id {requirement.id}; number them R1, R2, ... without gaps")
            break
    problems += [
        f"{one.id}: the quote {one.quote[:80]!r} does not stand in the specification; copy it word for word"
        for one in document.requirements
        if place_of(one.quote, spec) is None
    ]
    if not document.requirements and not document.note:
        problems.append("there is no requirement; say in 'note' why the specification demands nothing")
    return problems


def check_interface(document: InterfaceDocument, requirements: tuple[Requirement, ...]) -> list[str]:
    """Return what is wrong with the modules' names, order, texts and their share of the requirements."""
    problems = [*_names(document), *_shares(document, requirements)]
    if problems:
        return problems
    read = {module.name: read_module(module.skeleton) for module in document.modules}
    problems = [f"module {name}: its skeleton is no valid Python" for name, one in read.items() if one is None]
    if problems:
        return problems
    interface = Interface(document)
    for name in interface.skeletons:
        problems += _module(name, interface)
    count = sum(len(skeleton.stubs) for skeleton in interface.skeletons.values())
    if count == 0:
        problems.append("nothing is to be written: bodies of functions are `raise NotImplementedError`")
    elif count > MAX_STUBS:
        problems.append(f"{count} functions are to be written; {MAX_STUBS} is the most")
    return problems


def _names(document: InterfaceDocument) -> Iterator[str]:
    names = [module.name for module in document.modules]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"module {name} stands twice"
    for name in RESERVED.intersection([*names, document.package]):
        yield f"the name {name!r} is reserved; choose another one"
    known = set(names)
    for module in document.modules:
        for other in module.depends_on:
            if other not in known:
                yield f"module {module.name} depends on {other!r}, which is no module; write one of {_some(known)}"
    graph = _uses(document)
    if not nx.is_directed_acyclic_graph(graph):
        cycle = [edge[0] for edge in nx.find_cycle(graph)]
        yield f"the modules depend on each other in a circle: {' -> '.join([*cycle, cycle[0]])}"


def _shares(document: InterfaceDocument, requirements: tuple[Requirement, ...]) -> Iterator[str]:
    known = {one.id for one in requirements}
    given = set(document.system)
    for owner, ids in [(f"module {m.name}", m.requirements) for m in document.modules] + [("system", document.system)]:
        for unknown in sorted(set(ids) - known):
            yield f"{owner} names the requirement {unknown}, which there is not"
        given.update(ids)
    missing = [one.id for one in requirements if one.level == "MUST" and one.id not in given]
    if missing:
        yield f"no module has the requirements {', '.join(missing[:20])}; give each MUST to a module, or to 'system'"


def _module(name: str, interface: Interface) -> Iterator[str]:
    skeleton, package = interface.skeletons[name], interface.document.package
    if interface.modules[name].requirements and not skeleton.stubs:
        yield f"module {name} has requirements but no open function; give them to the module that makes them true"
    may_use = set(interface.modules[name].depends_on)
    for line, module, wanted, _ in package_imports(skeleton.tree, package):
        where = f"module {name}, line {line}"
        if module not in may_use:
            yield f"{where}: imports from {module!r}, which its depends_on does not list ({_some(may_use)})"
        elif wanted and wanted != "*" and wanted not in interface.skeletons[module].names:
            yield f"{where}: {module!r} does not define {wanted!r}"
    for symbol, stub in skeleton.stubs.items():
        missing = unannotated(stub)
        if missing:
            yield f"module {name}: {symbol} has no annotation for {', '.join(missing)}"
        if not ast.get_docstring(stub):
            yield f"module {name}: {symbol} has no docstring; it says what the function does"
        if len(signature_of(stub)) > 1_000:  # noqa: PLR2004 - as documents bound signatures
            yield f"module {name}: the signature of {symbol} is too long"


def _uses(document: InterfaceDocument) -> nx.DiGraph[str]:
    graph: nx.DiGraph[str] = nx.DiGraph()
    graph.add_nodes_from(module.name for module in document.modules)
    graph.add_edges_from((module.name, other) for module in document.modules for other in module.depends_on)
    return graph


def _some(names: set[str]) -> str:
    return ", ".join(sorted(names)[:10]) or "none"
