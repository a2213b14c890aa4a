"""Find which of the project's own modules a module imports, directly or not, at any depth."""

import ast
import functools
from pathlib import Path

PACKAGES = ("earshot", "pipeline", "eval", "train", "stages")


def import_closure(module_name: str, *, root: Path) -> set[str]:
    """Return the project files that importing and running a module can read.

    Imports inside functions count, too. Modules that are found by name while the program runs
    (datasets, methods) do not: ask for each of them.

    Args:
        module_name: Dotted, for example ``stages.train``.
        root: Folder that holds the packages.

    Returns:
        Paths relative to ``root``, with forward slashes.

    Raises:
        ValueError: There is no such module.
    """
    if _find_module(module_name, root) is None:
        raise ValueError(f"{module_name}: no module of {', '.join(PACKAGES)} in {root}")

    found: set[str] = set()
    waiting = [module_name]

    while waiting:
        name = waiting.pop()
        # A name can also be a function or class within a module. No file has that name.
        path = _find_module(name, root)
        if path is None or path.relative_to(root).as_posix() in found:
            continue
        found.add(path.relative_to(root).as_posix())

        # Importing a.b.c also runs a/__init__.py and a/b/__init__.py.
        parts = name.split(".")
        waiting.extend(".".join(parts[:i]) for i in range(1, len(parts)))

        # Relative imports start at the package. In an __init__.py that is the module itself.
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        waiting.extend(imported_names(path, package=package))

    # An __init__.py with nothing but a docstring cannot change a result.
    return {path for path in found if not is_only_docstring(root / path)}


def imported_names(path: Path, *, package: str) -> list[str]:
    """Return the dotted names that a file imports: modules, or names in modules.

    ``package`` is the package of the file; relative imports start there.
    """
    names = []
    for level, base, aliases in _list_imports(path.read_text(encoding="utf-8")):
        if level:
            # One dot is the package itself. Each further dot goes one package up.
            parents = package.split(".")[: len(package.split(".")) - level + 1]
            base = ".".join([*parents, base]).rstrip(".")
        names += [base, *(f"{base}.{alias}" for alias in aliases)]
    return names


def is_only_docstring(path: Path) -> bool:
    """Return whether a file is an ``__init__.py`` that does nothing when it is imported."""
    if path.name != "__init__.py":
        return False

    body = ast.parse(path.read_text(encoding="utf-8")).body
    return len(body) <= 1 and all(isinstance(node, ast.Expr) for node in body)


def _find_module(name: str, root: Path) -> Path | None:
    if name.split(".")[0] not in PACKAGES:
        return None

    base = root.joinpath(*name.split("."))
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.is_file():
            return path
    return None


# Stages share most of their imports, and parsing costs more than all else here.
@functools.lru_cache(maxsize=1024)
def _list_imports(source: str) -> list[tuple[int, str, list[str]]]:
    """Return level (0: absolute), module and imported names of each import statement."""
    imports: list[tuple[int, str, list[str]]] = []
    # All of the tree, because imports inside functions count.
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            imports += [(0, alias.name, []) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            imports.append((node.level, node.module or "", [alias.name for alias in node.names]))
    return imports
