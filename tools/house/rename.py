"""Renames names over notebooks, tests, tools and docs, by the table in renames.py. Runs once and is then deleted.

    PYTHON tools/house/rename.py                 # report only
    PYTHON tools/house/rename.py --write         # then: nbdev_export
    PYTHON tools/house/rename.py --write --no-attributes

PYTHON is 3.12 or later (exact positions in f-strings) with mypy installed, which resolves attributes; run at the root of the tree,
whose .venv mypy looks into for libraries.
"""
import ast
import builtins
import io
import json
import re
import sys
import tokenize
from collections import Counter, defaultdict
from fnmatch import fnmatchcase
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import renames as table

KIT = "spar_kit"
MAGIC = re.compile(r"\s*[%!?]")
WORD = re.compile(r"[A-Za-z_]\w*")


# ---------------------------------------------------------------- sources
class Unit:
    """Python text of one notebook, file or page, in which positions of edits are found."""

    def __init__(self, path: Path):
        self.path, self.kind = path, path.suffix[1:]
        self.module = None
        self.edits = {}                              # (start, end) in bytes of self.data -> new text
        raw = path.read_text(encoding="utf-8")
        self.raw = raw
        self.pieces = []                             # (source, holder): code pieces
        if self.kind == "ipynb":
            self.book = json.loads(raw)
            for cell in self.book["cells"]:
                if cell["cell_type"] == "code":
                    text = "".join(cell["source"])
                    found = re.search(r"^#\|\s*default_exp\s+(\S+)", text, re.M)
                    if found:
                        self.module = f"{KIT}.{found[1]}"
                    self.pieces.append((text, cell))
        elif self.kind == "py":
            self.pieces = [(raw, None)]
            if path.parts[0] == KIT:
                self.module = ".".join(path.with_suffix("").parts)
        else:
            for found in re.finditer(r"^```(?:python|py)\n(.*?)^```", raw, re.M | re.S):
                self.pieces.append((found[1], found.span(1)))
        self.text, self.spans = "", []
        for text, _ in self.pieces:
            start = len(self.text.encode())
            self.text += text
            self.spans.append((start, len(self.text.encode())))
            self.text += "\n" if not text.endswith("\n") else ""
        self.data = self.text.encode()
        lines = self.text.split("\n")
        for n, line in enumerate(lines):             # magics set aside; only where the text is no Python as it is
            if self.kind == "ipynb" and MAGIC.match(line):
                lines[n] = ""
        self.plain = "\n".join(lines)
        self.starts = [0]
        for line in self.text.split("\n"):
            self.starts.append(self.starts[-1] + len(line.encode()) + 1)
        self.fault = None
        try:
            self.tree = ast.parse(self.text)
        except SyntaxError:
            try:
                self.tree = ast.parse(self.plain)
            except SyntaxError as error:
                self.tree, self.fault = ast.Module([], []), str(error)

    def at(self, line: int, column: int) -> int:
        return self.starts[line - 1] + column

    def edit(self, start: int, old: str, new: str) -> bool:
        end = start + len(old.encode())
        if self.data[start:end].decode(errors="replace") != old:
            return False
        self.edits[start, end] = new
        return True

    def write(self) -> None:
        for number in range(len(self.pieces)):
            low, high = self.spans[number]
            data = self.data[low:high]
            for (start, end), new in sorted(self.edits.items(), reverse=True):
                if low <= start and end <= high:
                    data = data[:start - low] + new.encode() + data[end - low:]
            text, holder = self.pieces[number]
            self.pieces[number] = (data.decode(), holder)
        if self.kind == "ipynb":
            for text, cell in self.pieces:
                cell["source"] = text.splitlines(True)
            raw = json.dumps(self.book, indent=1, ensure_ascii=False) + "\n"
        elif self.kind == "py":
            raw = self.pieces[0][0]
        else:
            raw = self.raw
            for text, (start, end) in reversed(self.pieces):
                raw = raw[:start] + text + raw[end:]
        if raw != self.raw:
            self.path.write_text(raw, encoding="utf-8")


# ---------------------------------------------------------------- scopes
class Scope:
    def __init__(self, kind, parent, node):
        self.kind, self.parent, self.node = kind, parent, node
        self.bound = set()
        self.outer = {}                              # names declared global or nonlocal
        self.modules = {}                            # names bound to modules of the kit
        self.origins = {}                            # names imported from modules of the kit: (module, name)


class Scopes(ast.NodeVisitor):
    def __init__(self, unit: Unit):
        self.unit = unit
        self.top = self.scope = Scope("module", None, unit.tree)
        self.uses = []                               # (name, scope, byte position)
        self.aliases = []                            # (scope, alias, module, position)
        self.attributes = []                         # (node, scope)
        self.calls = []
        self.texts = []                              # annotations in quotes
        self.functions = {}                          # qualified name -> scope
        self.path = []
        self.visit(unit.tree)

    def use(self, name, node, position=None, scope=None):
        self.uses.append((name, scope or self.scope, self.unit.at(node.lineno, node.col_offset) if position is None else position))

    def bind(self, name, scope=None):
        scope = scope or self.scope
        if name not in scope.outer:
            scope.bound.add(name)

    def search(self, node, pattern, name, base=None):
        start = self.unit.at(node.lineno, node.col_offset) if base is None else base
        end = self.unit.at(node.end_lineno, node.end_col_offset)
        found = re.search(pattern.encode(), self.unit.data[start:end])
        return None if found is None else start + found.start(1)

    def visit_Name(self, node):
        if isinstance(node.ctx, (ast.Store, ast.Del)):
            self.bind(node.id)
        self.use(node.id, node)

    def visit_NamedExpr(self, node):
        scope = self.scope
        while scope.kind == "comprehension":
            scope = scope.parent
        self.bind(node.target.id, scope)
        self.use(node.target.id, node.target, scope=scope)
        self.visit(node.value)

    def annotation(self, node):
        if node is None:
            return
        for part in ast.walk(node):
            if isinstance(part, ast.Constant) and isinstance(part.value, str):
                self.texts.append((part, self.scope))
        self.visit(node)

    def function(self, node):
        a = node.args
        name = getattr(node, "name", "<lambda>")
        if name != "<lambda>":
            for decorator in node.decorator_list:
                self.visit(decorator)
            self.bind(name)
            self.use(name, node, self.search(node, rf"def\s+({name})\b", name))
        for default in [*a.defaults, *(d for d in a.kw_defaults if d)]:
            self.visit(default)
        every = [*a.posonlyargs, *a.args, *([a.vararg] if a.vararg else []), *a.kwonlyargs, *([a.kwarg] if a.kwarg else [])]
        for arg in every:
            self.annotation(arg.annotation)
        self.annotation(getattr(node, "returns", None))
        self.path.append(name)
        inner = Scope("function", self.scope, node)
        self.functions.setdefault(".".join(self.path), []).append(inner)
        outside, self.scope = self.scope, inner
        for arg in every:
            self.bind(arg.arg)
            self.use(arg.arg, arg)
        body = node.body if isinstance(node.body, list) else [node.body]
        for part in body:                            # global and nonlocal first
            for inside in ast.walk(part):
                if isinstance(inside, ast.Global):
                    inner.outer.update(dict.fromkeys(inside.names, "global"))
                elif isinstance(inside, ast.Nonlocal):
                    inner.outer.update(dict.fromkeys(inside.names, "nonlocal"))
        for part in body:
            self.visit(part)
        self.scope = outside
        self.path.pop()

    visit_FunctionDef = visit_AsyncFunctionDef = visit_Lambda = function

    def visit_ClassDef(self, node):
        for part in [*node.decorator_list, *node.bases, *(k.value for k in node.keywords)]:
            self.visit(part)
        self.bind(node.name)
        self.use(node.name, node, self.search(node, rf"class\s+({node.name})\b", node.name))
        self.path.append(node.name)
        outside, self.scope = self.scope, Scope("class", self.scope, node)
        for part in node.body:
            self.visit(part)
        self.scope = outside
        self.path.pop()

    def comprehension(self, node):
        self.visit(node.generators[0].iter)
        outside, self.scope = self.scope, Scope("comprehension", self.scope, node)
        for number, generator in enumerate(node.generators):
            self.visit(generator.target)
            if number:
                self.visit(generator.iter)
            for test in generator.ifs:
                self.visit(test)
        for part in ((node.key, node.value) if isinstance(node, ast.DictComp) else (node.elt,)):
            self.visit(part)
        self.scope = outside

    visit_ListComp = visit_SetComp = visit_GeneratorExp = visit_DictComp = comprehension

    def visit_AnnAssign(self, node):
        self.annotation(node.annotation)
        self.visit(node.target)
        if node.value:
            self.visit(node.value)

    def visit_Global(self, node):
        for name in node.names:
            self.use(name, node, self.search(node, rf"\b({name})\b", name))

    visit_Nonlocal = visit_Global

    def visit_ExceptHandler(self, node):
        if node.type:
            self.visit(node.type)
        if node.name:
            self.bind(node.name)
            base = self.unit.at(node.type.end_lineno, node.type.end_col_offset)
            self.use(node.name, node, self.search(node, rf"\s+as\s+({node.name})\b", node.name, base))
        for part in node.body:
            self.visit(part)

    def visit_MatchAs(self, node):
        if node.pattern:
            self.visit(node.pattern)
        if node.name:
            self.bind(node.name)
            self.use(node.name, node, self.unit.at(node.end_lineno, node.end_col_offset) - len(node.name.encode()))

    def visit_MatchStar(self, node):
        if node.name:
            self.bind(node.name)
            self.use(node.name, node, self.unit.at(node.end_lineno, node.end_col_offset) - len(node.name.encode()))

    def visit_Import(self, node):
        for alias in node.names:
            local = alias.asname or alias.name.split(".")[0]
            self.bind(local)
            if alias.name.split(".")[0] == KIT:
                self.scope.modules[local] = alias.name if alias.asname else KIT
            if alias.asname:
                self.use(local, alias, self.unit.at(alias.end_lineno, alias.end_col_offset) - len(local.encode()))

    def visit_ImportFrom(self, node):
        base = node.module or ""
        if node.level and self.unit.module:
            base = ".".join([*self.unit.module.split(".")[:-node.level], *([base] if base else [])])
        for alias in node.names:
            local = alias.asname or alias.name
            self.bind(local)
            if base.split(".")[0] == KIT:
                self.scope.origins[local] = (base, alias.name)
            self.aliases.append((self.scope, alias, base, self.unit.at(alias.lineno, alias.col_offset)))
            if alias.asname:
                self.use(local, alias, self.unit.at(alias.end_lineno, alias.end_col_offset) - len(local.encode()))

    def visit_Attribute(self, node):
        self.attributes.append((node, self.scope))
        self.visit(node.value)

    def visit_Assign(self, node):
        call = node.value
        if (isinstance(call, ast.Call) and ast.unparse(call.func) in ("importlib.import_module", "import_module") and call.args
                and isinstance(call.args[0], ast.Constant) and str(call.args[0].value).startswith(KIT)):
            for target in node.targets:
                if isinstance(target, ast.Name):
                    self.scope.modules[target.id] = call.args[0].value
        self.generic_visit(node)

    def visit_Call(self, node):
        self.calls.append((node, self.scope))
        self.generic_visit(node)

    def resolve(self, name, scope):
        """The scope that binds a name; None for a built-in name."""
        first = True
        while scope is not None:
            if name in scope.outer:
                if scope.outer[name] == "global":
                    return self.top
            elif name in scope.bound and (scope.kind != "class" or first):
                return scope
            scope, first = scope.parent, False
        return None


# ---------------------------------------------------------------- renaming
class Job:
    def __init__(self, root: Path):
        paths = sorted([*Path("nbs").rglob("*.ipynb"), *Path("tests").rglob("*.py"), *Path(".ci").glob("*.py"), *Path("docs").rglob("*.py"),
                        *Path("docs").rglob("*.md"), Path("CONTRIBUTING.md"), Path("tools/house/freeze.py"), Path(f"{KIT}/__init__.py")])
        self.units = [Unit(p) for p in paths if ".ipynb_checkpoints" not in p.parts]
        self.scopes = {u: Scopes(u) for u in self.units}
        self.modules = {u.module: u for u in self.units if u.module}
        self.packages = {m.rsplit(".", n)[0] for m in self.modules for n in range(1, m.count(".") + 1)}
        self.notes = []
        self.counts = Counter()
        self.names = {}                              # (module, old) -> new
        for module, rows in table.NAMES.items():
            for row in rows.split():
                old, new = row.split(">")
                self.names[f"{KIT}.{module}", old] = new
        self.check_definitions()
        self.targets = {}                            # unit -> {(scope, name): new}

    def origin(self, module, name, depth=0):
        """Where a name that a module offers is defined."""
        unit = self.modules.get(module)
        if unit is None or depth > 8:
            return module, name
        found = self.scopes[unit].top.origins.get(name)
        return (module, name) if found is None else self.origin(*found, depth + 1)

    def check_definitions(self):
        for (module, old), new in list(self.names.items()):
            unit = self.modules.get(module)
            top = self.scopes[unit].top if unit else None
            if unit is None or old not in top.bound or old in top.origins:
                self.notes.append(f"not found: {module}.{old}")
                del self.names[module, old]
            elif new in top.bound and (module, new) not in self.names:
                self.notes.append(f"CONFLICT: {module} has {new} already (for {old})")
                del self.names[module, old]

    def module_of(self, unit, node, scope):
        """The module of the kit that an expression is, or None."""
        scopes = self.scopes[unit]
        if isinstance(node, ast.Name):
            holder = scopes.resolve(node.id, scope)
            if holder is None:
                return None
            if node.id in holder.modules:
                return holder.modules[node.id]
            if node.id in holder.origins:
                base, name = holder.origins[node.id]
                full = f"{base}.{name}"
                return full if full in self.modules or full in self.packages else None
        if isinstance(node, ast.Attribute):
            base = self.module_of(unit, node.value, scope)
            full = f"{base}.{node.attr}"
            return full if base and (full in self.modules or full in self.packages) else None
        return None

    def rename_names(self):
        for unit in self.units:
            scopes = self.scopes[unit]
            targets = {}
            for name in scopes.top.bound:
                new = self.names.get((unit.module, name))
                if new and name not in scopes.top.origins:
                    targets[scopes.top, name] = (new, (unit.module, name))
            imports = {}
            for scope, alias, base, position in scopes.aliases:
                if base.split(".")[0] != KIT:
                    continue
                key = self.origin(base, alias.name)
                new = self.names.get(key)
                if new:
                    imports[position] = (alias, new, key)
                    if alias.asname in (None, alias.name):      # `import old as old` offers it again: both are renamed
                        targets[scope, alias.name] = (new, key)
            for (path, function, old), new in self.locals(unit):
                for scope in scopes.functions.get(function, []) if function else [scopes.top]:
                    if old in scope.bound:
                        targets[scope, old] = (new, ("local", f"{path}:{function}.{old}"))
            uses = defaultdict(list)
            free = defaultdict(set)
            for name, scope, position in scopes.uses:
                holder = scopes.resolve(name, scope)
                if (holder, name) in targets:
                    uses[holder, name].append((scope, position))
                if holder is None:
                    free[name].add(scope)
            kept = set()
            for target, (new, key) in targets.items():
                holder, old = target
                trouble = None
                for scope, _ in [*uses[target], (holder, 0)]:
                    while scope is not None:
                        if new in scope.bound and (scope, new) not in targets:
                            trouble = trouble or (scope, scope.node)
                        if scope is holder:
                            break
                        scope = scope.parent
                if hasattr(builtins, new) and free[new]:
                    trouble = trouble or (None, None)
                if trouble:
                    where = "built-in" if trouble[0] is None else f"{trouble[0].kind} {getattr(trouble[1], 'name', '')}:{getattr(trouble[1], 'lineno', '')}"
                    self.notes.append(f"CONFLICT: {unit.path}: {old} > {new}: the new name is bound in {where}")
                    kept.add(target)
            for target, (new, key) in targets.items():
                if target in kept:
                    if target[0] is scopes.top and key[0] == unit.module:
                        raise SystemExit(f"a definition cannot be renamed, mend the table: {key} > {new}")
                    continue
                for _, position in uses[target]:
                    if position is None or not unit.edit(position, target[1], new):
                        self.notes.append(f"LOST: {unit.path}: {target[1]} at {position}")
                    self.counts[key] += 1
            for position, (alias, new, key) in imports.items():
                holder = next(s for s, a, _, _ in scopes.aliases if a is alias)
                extra = f" as {alias.name}" if (holder, alias.name) in kept and not alias.asname else ""
                unit.edit(position, alias.name, new + extra)
                self.counts[key] += 1
            for node, scope in scopes.attributes:
                module = self.module_of(unit, node.value, scope)
                if module:
                    key = self.origin(module, node.attr)
                    if key in self.names:
                        unit.edit(unit.at(node.end_lineno, node.end_col_offset) - len(node.attr.encode()), node.attr, self.names[key])
                        self.counts[key] += 1
            for node, scope in scopes.calls:
                said = ast.unparse(node.func)
                if said.split(".")[-1] in ("setattr", "getattr", "hasattr", "delattr", "object") and len(node.args) > 1:
                    module, text = self.module_of(unit, node.args[0], scope), node.args[1]
                    if module and isinstance(text, ast.Constant) and isinstance(text.value, str):
                        key = self.origin(module, text.value)
                        if key in self.names:
                            unit.edit(unit.at(text.lineno, text.col_offset) + 1, text.value, self.names[key])
                            self.counts[key] += 1
            for node, scope in scopes.texts:
                base = unit.at(node.lineno, node.col_offset)
                raw = unit.data[base:unit.at(node.end_lineno, node.end_col_offset)].decode()
                for word in WORD.finditer(raw):
                    holder = scopes.resolve(word[0], scope)
                    if (holder, word[0]) in targets and (holder, word[0]) not in kept:
                        unit.edit(base + len(raw[:word.start()].encode()), word[0], targets[holder, word[0]][0])
            self.targets[unit] = {name: new for (scope, name), (new, key) in targets.items() if scope is scopes.top and (scope, name) not in kept}

    def locals(self, unit):
        for row, new in table.LOCALS.items():
            path, _, rest = row.partition(":")
            if fnmatchcase(unit.path.as_posix(), path):
                function, _, old = rest.rpartition(".")
                yield (path, function, old), new

    # ------------------------------------------------------------ attributes, fields, parameters
    def rename_attributes(self):
        import os

        from mypy import build, nodes, options, types
        rules = {}                                   # (class or function pattern, old) -> new
        for owner, rows in table.ATTRIBUTES.items():
            for row in rows.split():
                old, new = row.split(">")
                rules[f"{KIT}.{owner}", old] = new
        olds = {old for _, old in rules}
        if not rules:
            return
        sources, names = [], {}
        lines, offset = {}, 100_000                  # lines of each unit are unique, since mypy keeps the types of all in one table
        for number, unit in enumerate(self.units):
            if unit.kind == "md" or unit.fault or unit.path == Path(f"{KIT}/__init__.py"):
                continue
            name = f"unit{number}_"
            names[name] = unit
            text = unit.plain if unit.kind == "ipynb" else unit.text
            lines[unit] = offset
            sources.append(build.BuildSource(f"/nowhere/{name}.py", name, "\n" * offset + text))
            offset += text.count("\n") + 10
        o = options.Options()
        o.python_version, o.python_executable = (3, 11), os.path.abspath(".venv/bin/python")
        o.export_types = o.preserve_asts = o.check_untyped_defs = o.ignore_missing_imports = o.allow_redefinition = True
        o.incremental, o.ignore_errors = False, True
        o.show_traceback = True
        o.cache_dir = os.devnull
        o.mypy_path = [os.getcwd(), os.path.abspath("tests")]
        for pattern in ("torch.*", "numpy.*", "pandas.*", "numba.*", "pytest.*", "_pytest.*", "hypothesis.*", "typer.*", "rich.*", "click.*", "psutil.*",
                        "tqdm.*", "jinja2.*", "nbformat.*", "papermill.*", "av.*", "cv2.*", "shapely.*", "transformers.*", "peft.*", "plotly.*", "scipy.*", "sklearn.*", "open3d.*", "pyarrow.*", "openai.*", "distributed.*", "dask.*", "IPython.*", "ipywidgets.*",
                        "nbconvert.*", "pydantic.*", "playwright.*", "matplotlib.*", "huggingface_hub.*", "tokenizers.*", "PIL.*"):
            o.per_module_options[pattern] = {"follow_imports": "skip"}
        o.build_per_module_cache()
        result = build.build(sources, o)

        def canonical(full: str) -> str:
            head, _, rest = full.partition(".")
            return f"{names[head].module}.{rest}" if head in names and names[head].module else full

        def owners(kind, attr, found):
            kind = types.get_proper_type(kind)
            if isinstance(kind, types.UnionType):
                for item in kind.items:
                    owners(item, attr, found)
            elif isinstance(kind, types.TypeVarType):
                owners(kind.upper_bound, attr, found)
            elif isinstance(kind, types.TypeType):
                owners(kind.item, attr, found)
            elif isinstance(kind, types.TupleType):
                owners(kind.partial_fallback, attr, found)
            elif isinstance(kind, types.Instance):
                bases = [base for base in kind.type.mro if attr in base.names]
                found.update(canonical(base.fullname) for base in bases or [kind.type])
            elif isinstance(kind, types.FunctionLike) and kind.is_type_obj():
                info = kind.type_object()
                bases = [base for base in info.mro if attr in base.names]
                found.update(canonical(base.fullname) for base in bases or [info])
            elif isinstance(kind, types.NoneType):
                pass
            elif isinstance(kind, (types.CallableType, types.Overloaded)):
                found.add("function")
            else:
                found.add("?")

        defined = defaultdict(set)                   # attribute -> classes of the tree that define it
        class_defs = []
        for unit in self.units:
            module = unit.module or unit.path.as_posix()
            for node in ast.walk(unit.tree):
                if isinstance(node, ast.ClassDef):
                    for part in node.body:
                        if isinstance(part, (ast.FunctionDef, ast.AsyncFunctionDef)):
                            defined[part.name].add(f"{module}.{node.name}")
                            class_defs.append((unit, f"{module}.{node.name}", part.name, part))
                        else:
                            for target in part.targets if isinstance(part, ast.Assign) else [part.target] if isinstance(part, ast.AnnAssign) else []:
                                if isinstance(target, ast.Name):
                                    defined[target.id].add(f"{module}.{node.name}")
                                    class_defs.append((unit, f"{module}.{node.name}", target.id, target))
                    for part in ast.walk(node):
                        if isinstance(part, ast.Attribute) and isinstance(part.ctx, ast.Store) and isinstance(part.value, ast.Name) and part.value.id == "self":
                            defined[part.attr].add(f"{module}.{node.name}")

        def rule(owner, attr):
            for (pattern, old), new in rules.items():
                if old == attr and fnmatchcase(owner, pattern):
                    return new, f"{pattern}.{old}"
            return None

        # definitions in classes
        known = set()
        for unit, owner, attr, node in class_defs:
            hit = rule(owner, attr)
            if hit:
                known.add(hit[1])
                if isinstance(node, ast.Name):
                    position = unit.at(node.lineno, node.col_offset)
                else:
                    position = self.scopes[unit].search(node, rf"def\s+({attr})\b", attr)
                unit.edit(position, attr, hit[0])
                self.counts["attribute", hit[1]] += 1
                scope = next((s for n, s, p in self.scopes[unit].uses if p == position), None)
                for name, where, place in self.scopes[unit].uses:           # used by its plain name in the class body
                    if name == attr and where is scope and place != position:
                        unit.edit(place, attr, hit[0])
        # names that nothing else in the tree has, nor usual objects
        import datetime
        import pathlib
        usual = {a for kind in (str, bytes, list, dict, set, tuple, int, float, pathlib.Path, re.Match, io.BytesIO, datetime.datetime, slice, Exception) for a in dir(kind)}
        usual |= table.LIBRARY_ATTRIBUTES
        sole = {}
        for attr in olds:
            hits = {h[0] for c in defined[attr] if (h := rule(c, attr))}
            if len(hits) == 1 and all(rule(c, attr) for c in defined[attr]) and attr not in usual:
                sole[attr] = next(iter(hits))
        job = self
        unsure = Counter()

        def decide(unit, attr, found, position):
            hits = {h for f in found if (h := rule(f, attr))}
            others = {f for f in found if not rule(f, attr) and f != "?"}
            if len({h[0] for h in hits}) == 1 and not others:
                new = next(iter(hits))
            elif found <= {"?"} and attr in (here := dict(row.split(">") for row in table.BY_FILE.get(unit.path.as_posix(), "").split())):
                new = (here[attr], f"{attr} (by file)")
            elif attr in sole and found <= {"?"}:
                new = (sole[attr], f"{attr} (by name)")
            else:
                if hits or "?" in found or not found:
                    unsure[f"{unit.path}: {attr} of {sorted(found)}"] += 1
                return
            if unit.edit(position, attr, new[0]):
                job.counts["attribute", new[1]] += 1
            else:
                job.notes.append(f"LOST: {unit.path}: .{attr} at {position}")

        all_ends, all_arguments = {}, {}
        for node in list(result.types):
            if node.line < 100_000:
                continue
            if isinstance(node, nodes.MemberExpr) and node.name in olds:
                all_ends[node.end_line, node.end_column] = node
            elif isinstance(node, nodes.CallExpr):
                for name, value in zip(node.arg_names, node.args):
                    if name in olds:
                        all_arguments[value.line, value.column, name] = node

        for name, unit in names.items():
            scopes = self.scopes[unit]
            for node, scope in scopes.attributes:
                if node.attr not in olds or self.module_of(unit, node.value, scope):
                    continue
                member, found = all_ends.get((node.end_lineno + lines[unit], node.end_col_offset)), set()
                kind = result.types.get(member.expr) if member is not None else None
                if kind is None:
                    found.add("?")
                else:
                    owners(kind, node.attr, found)
                decide(unit, node.attr, found, unit.at(node.end_lineno, node.end_col_offset) - len(node.attr.encode()))
            for node, scope in scopes.calls:
                for keyword in node.keywords:
                    if keyword.arg not in olds:
                        continue
                    call = all_arguments.get((keyword.value.lineno + lines[unit], keyword.value.col_offset, keyword.arg))
                    found = set()
                    callee = call.callee if call is not None else None
                    full = getattr(callee, "fullname", "") or ""
                    target = getattr(callee, "node", None)
                    if full in ("dataclasses.replace", "copy.replace") or ast.unparse(node.func).split(".")[-1] == "replace" and node.args:
                        kind = result.types.get(call.args[0]) if call is not None else None
                        owners(kind, keyword.arg, found) if kind is not None else found.add("?")
                    elif isinstance(target, nodes.TypeInfo):
                        found.update(canonical(b.fullname) for b in target.mro if keyword.arg in b.names)
                        if not found:
                            found.add(canonical(target.fullname))
                    elif isinstance(callee, nodes.MemberExpr):
                        kind = result.types.get(callee.expr)
                        holders = set()
                        if kind is not None:
                            owners(kind, callee.name, holders)
                        found.update(f"{h}.{callee.name}" for h in holders if h != "?") or found.add("?")
                        if full:
                            found = {canonical(full)}
                    elif full:
                        found.add(canonical(full))
                        kind = types.get_proper_type(result.types.get(callee))
                        if full == "builtins.cls" or isinstance(kind, types.FunctionLike) and kind.is_type_obj():
                            found = set()
                            owners(kind, keyword.arg, found)
                    else:
                        found.add("?")
                    decide(unit, keyword.arg, found, unit.at(keyword.lineno, keyword.col_offset))
            # parameters of functions and methods
            for path, inside in scopes.functions.items():
                module = unit.module or unit.path.as_posix()
                for scope in inside:
                    for old in olds & scope.bound:
                        hit = rule(f"{module}.{path}", old)
                        if not hit:
                            continue
                        for use, where, position in scopes.uses:
                            if use == old and scopes.resolve(use, where) is scope:
                                chain, clash = where, False
                                while chain is not scope:
                                    clash, chain = clash or hit[0] in chain.bound, chain.parent
                                if clash or hit[0] in scope.bound:
                                    self.notes.append(f"CONFLICT: {unit.path}: {path}({old} > {hit[0]})")
                                unit.edit(position, old, hit[0])
                                self.counts["attribute", hit[1]] += 1
            for node in ast.walk(unit.tree):
                if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in sole:
                    unsure[f"{unit.path}:{node.lineno}: string {node.value!r}"] += 1
        self.notes += [f"unsure: {key} x{count}" for key, count in sorted(unsure.items())]

    # ------------------------------------------------------------ prose
    def rename_prose(self):
        """Whole identifiers between backticks, in comments, docstrings and pages; and dotted paths everywhere."""
        counted = defaultdict(set)
        for unit in self.units:
            if unit.module:
                for name in self.scopes[unit].top.bound - set(self.scopes[unit].top.origins):
                    counted[name].add(self.names.get((unit.module, name)))
                for node in ast.walk(unit.tree):
                    if isinstance(node, ast.ClassDef):
                        for part in node.body:
                            for target in [part.target] if isinstance(part, ast.AnnAssign) else []:
                                if isinstance(target, ast.Name):
                                    counted[target.id].add(None)
        self.everywhere = {old: next(iter(new)) for old, new in counted.items() if len(new) == 1 and None not in new}
        dotted = {f"{module}.{old}": f"{module}.{new}" for (module, old), new in self.names.items()}
        self.dotted = re.compile("|".join(sorted((re.escape(d) for d in dotted), key=len, reverse=True)) + r"(?!x)x" if not dotted else
                                 r"\b(?:" + "|".join(sorted((re.escape(d) for d in dotted), key=len, reverse=True)) + r")\b(?![./]\w*(?:py|ipynb)\b)")
        self.paths = dotted

        def prose(text, local):
            names = {**self.everywhere, **local}

            def inside(match):
                code = match[2]
                if code.strip() in names:
                    return match[1] + code.replace(code.strip(), names[code.strip()]) + match[1]
                found = re.match(r"\.?([A-Za-z_]\w*)(\(|\.[A-Za-z_])", code)
                if found and found[1] in names and not code.startswith("."):
                    code = names[found[1]] + code[found.end(1):]
                return match[1] + code + match[1]
            text = re.sub(r"(?<!`)(`{1,2})([^`\n]+)\1(?!`)", inside, text)
            return self.dotted.sub(lambda m: dotted[m[0]], text) if dotted else text

        self.prose = prose
        for unit in self.units:
            local = dict(self.targets.get(unit, {}))
            if unit.kind in ("ipynb", "py"):
                documents = set()
                for node in ast.walk(unit.tree):
                    if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) or isinstance(node, ast.Expr):
                        value = node.value if isinstance(node, ast.Expr) else None
                        if isinstance(value, ast.Constant) and isinstance(value.value, str):
                            documents.add((value.lineno, value.col_offset))
                try:
                    tokens = list(tokenize.generate_tokens(io.StringIO(unit.plain).readline))
                except (tokenize.TokenError, IndentationError) as error:
                    self.notes.append(f"no tokens: {unit.path}: {error}")
                    tokens = []
                lines = unit.plain.split("\n")
                for token in tokens:
                    if token.type in (tokenize.COMMENT, tokenize.STRING, tokenize.FSTRING_MIDDLE):
                        column = len(lines[token.start[0] - 1][:token.start[1]].encode())
                        is_prose = token.type == tokenize.COMMENT or (token.start[0], column) in documents
                        new = prose(token.string, local) if is_prose else self.dotted.sub(lambda m: dotted[m[0]], token.string) if dotted else token.string
                        if new != token.string and token.type != tokenize.FSTRING_MIDDLE:
                            unit.edit(unit.at(token.start[0], column), token.string, new)
                        if not is_prose and ("import " in token.string and KIT in token.string):
                            for word in WORD.findall(token.string):
                                if word in self.everywhere:
                                    self.notes.append(f"code in a string: {unit.path}:{token.start[0]}: {word}")
        # markdown cells and pages are changed when they are written
        for unit in self.units:
            local = dict(self.targets.get(unit, {}))
            if unit.kind == "ipynb":
                for cell in unit.book["cells"]:
                    if cell["cell_type"] == "markdown":
                        old = "".join(cell["source"])
                        new = prose(old, local)
                        if new != old:
                            cell["source"] = new.splitlines(True)
                            self.counts["markdown"] += 1


def main():
    root = Path.cwd()
    write = "--write" in sys.argv
    job = Job(root)
    for unit in job.units:
        if unit.fault:
            job.notes.append(f"not parsed: {unit.path}: {unit.fault}")
    job.rename_names()
    if "--no-attributes" not in sys.argv:
        job.rename_attributes()
    job.rename_prose()
    for note in sorted(job.notes):
        print(note)
    for (module, old), new in sorted(job.names.items()):
        print(f"{job.counts[module, old]:5} {module}.{old} > {new}")
    for key, count in sorted((k, c) for k, c in job.counts.items() if k[0] in ("attribute", "local")):
        print(f"{count:5} {key[0]} {key[1]}")
    if write:
        for unit in job.units:
            unit.write()
            if unit.kind == "md":
                text = unit.path.read_text(encoding="utf-8")
                parts = re.split(r"(^```.*?^```)", text, flags=re.M | re.S)
                new = "".join(p if p.startswith("```") else job.prose(p, {}) for p in parts)
                if new != text:
                    unit.path.write_text(new, encoding="utf-8")
        for path in (Path("pyproject.toml"), Path("mkdocs.yml"), Path("Makefile")):
            text = path.read_text(encoding="utf-8")
            new = job.dotted.sub(lambda m: job.paths[m[0]], text) if job.paths else text
            if new != text:
                path.write_text(new, encoding="utf-8")


main()
