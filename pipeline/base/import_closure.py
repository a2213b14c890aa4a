"""Which of the project's own modules a module imports, directly or not, at any depth and also inside functions."""

import ast
from pathlib import Path

PACKAGES = ("earshot", "pipeline", "eval", "train", "stages")


def import_closure(module_name: str, *, root: Path) -> set[str]:
    """Paths (relative to ``root``) of all project files that importing and running ``module_name`` can read.

    Modules that are found by name while the program runs (datasets, methods) have to be asked for by themselves.
    Raises ValueError when there is no such module.
    """
    if _module_path(module_name, root) is None:
        raise ValueError(f"{module_name}: no module of {', '.join(PACKAGES)} in {root}")
    found: set[str] = set()
    waiting = [module_name]
    while waiting:
        name = waiting.pop()
        path = _module_path(name, root)
        if path is None or path.relative_to(root).as_posix() in found:
            continue
        found.add(path.relative_to(root).as_posix())
        parts = name.split(".")
        waiting.extend(".".join(parts[:i]) for i in range(1, len(parts)))
        waiting.extend(
            imported_names(
                path, package=name if path.name == "__init__.py" else name.rpartition(".")[0]
            )
        )
    # An __init__.py with nothing but a docstring says nothing that could change a result.
    return {path for path in found if not is_only_docstring(root / path)}


def _module_path(name: str, root: Path) -> Path | None:
    if name.split(".")[0] not in PACKAGES:
        return None
    base = root.joinpath(*name.split("."))
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.is_file():
            return path
    return None


def imported_names(path: Path, *, package: str) -> list[str]:
    """The dotted names that a file imports: of modules, or of names in modules."""
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names.extend(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parents, base]).rstrip(".")
            names.append(base)
            names.extend(f"{base}.{alias.name}" for alias in node.names)
    return names


def is_only_docstring(path: Path) -> bool:
    """Whether a file is an ``__init__.py`` with nothing but a docstring, so that importing it does nothing."""
    body = ast.parse(path.read_text()).body
    return (
        path.name == "__init__.py"
        and len(body) <= 1
        and all(isinstance(node, ast.Expr) for node in body)
    )
