"""Join ECMAScript modules into one script, which a page that is opened from a file can hold.

A page from a file cannot import other files. So the modules are concatenated, each after those that it
imports, and the words `import` and `export` are removed. All modules then share one scope: a name may be
declared at the top of one module only, and imports and exports cannot be renamed. Both are checked.
"""

import re
from pathlib import Path

from shared.input_file import read_file

IMPORT = re.compile(r'^import\s+(?:\{([^}]*)\}\s+from\s+)?"(\.[^"]*)";\n', re.MULTILINE)
EXPORT = re.compile(r"^export (?=(?:async )?function\b|class\b|const\b|let\b)", re.MULTILINE)
DECLARATION = re.compile(r"^(export )?(?:(?:async )?function|class|const|let|var) ([\w$]*)", re.MULTILINE)
OTHER = re.compile(r"^(?:import|export)\b.*", re.MULTILINE)


class Bundle:
    """The modules that one module needs, in the order in which they are loaded.

    Args:
        entry: the file of the module.
        texts: other content of some files.

    Raises:
        ValueError: a module cannot be joined with the others; the message names it.
    """

    def __init__(self, entry: Path, texts: dict[Path, str] | None = None) -> None:
        self._texts = texts or {}
        self._exports: dict[Path, set[str]] = {}
        self._owners: dict[str, Path] = {}
        self._parts: list[str] = []
        self._add(entry.resolve(), ())
        self.script = "\n".join(self._parts)

    def _add(self, path: Path, importers: tuple[Path, ...]) -> None:
        """Add a module after those that it imports."""
        if path in importers:
            raise ValueError(f"{path.name} imports itself, by way of {importers[-1].name}")
        if path in self._exports:
            return
        text = self._texts[path] if path in self._texts else read_file(path).decode()
        for names, place in IMPORT.findall(text):
            other = (path.parent / place).resolve()
            self._add(other, (*importers, path))
            wanted = {name.strip() for name in names.split(",")} - {""}
            if unknown := wanted - self._exports[other]:
                raise ValueError(f"{path.name}: {other.name} does not export {', '.join(sorted(unknown))}")
        self._exports[path] = set()
        for exported, name in DECLARATION.findall(text):
            if not name:
                raise ValueError(f"{path.name}: declare names one by one at the top of a module")
            if name in self._owners:
                raise ValueError(f"{path.name}: {self._owners[name].name} declares {name}, too")
            self._owners[name] = path
            if exported:
                self._exports[path].add(name)
        text = EXPORT.sub("", IMPORT.sub("", text))
        if (other_form := OTHER.search(text)) or "</script" in text:
            raise ValueError(f"{path.name}: cannot bundle {other_form[0] if other_form else '</script'}")
        self._parts.append(f"// {path.name}\n{text}")
