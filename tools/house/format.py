"""Brings notebooks, tests, tools and .ci to `ruff format` at 100 columns. Runs once and is then deleted.

    PYTHON tools/house/format.py RUFF [PATH ...]          # PYTHON: 3.12 or later with black; RUFF: the tree's .venv/bin/ruff

Without paths: all notebooks, tests, .ci, docs and tools. Long comments, docstrings and strings first, then `ruff format`; every cell's syntax tree
stays equal, apart from white space in docstrings, or the cell is left as it was and named.
"""
import ast
import io
import json
import re
import subprocess
import sys
import textwrap
import tokenize
from pathlib import Path

import black

WIDTH = 100
MODE = black.Mode(line_length=WIDTH, preview=True, enabled_features={black.Preview.string_processing})
ITEM = re.compile(r"\s*(?:[A-Za-z_*][\w, *`.]{0,60}: |[-*] |\d+[.)] |>>> |\.\.\. |\||```|Args:|Returns:|Raises:|Yields:)")
LEAVE = re.compile(r"\s*(?:>>> |\.\.\. |\||```)")
FIXED = re.compile(r"#\s*(?:type:|noqa|pragma|%%|!|\||mypy:|ruff:|fmt:)")


def fold(text, first, rest):
    """Wraps words, keeping short pieces of code between backticks whole."""
    text = re.sub(r"`[^`\n]{1,50}`", lambda m: m[0].replace(" ", "\0"), " ".join(text.split()))
    lines = textwrap.wrap(text, WIDTH, initial_indent=first, subsequent_indent=rest, break_long_words=False, break_on_hyphens=False)
    return [line.replace("\0", " ") for line in lines]


def tokens_of(text):
    return list(tokenize.generate_tokens(io.StringIO(text).readline))


def comments(text):
    """Long comments wrapped; a comment behind a line that is too long goes above it."""
    lines = text.split("\n")
    try:
        tokens = tokens_of(text)
    except (tokenize.TokenError, SyntaxError):
        return text
    inside = {}                                         # lines that begin inside a string -> line where it begins
    starts = []
    for token in tokens:
        if token.type == tokenize.STRING and token.end[0] > token.start[0]:
            inside.update(dict.fromkeys(range(token.start[0] + 1, token.end[0] + 1), token.start[0]))
        if token.type == tokenize.FSTRING_START:
            starts.append(token.start[0])
        if token.type == tokenize.FSTRING_END:
            begin = starts.pop()
            inside.update({n: begin for n in range(begin + 1, token.end[0] + 1) if n not in inside})
    put = {}
    out = dict(enumerate(lines, 1))
    gone = set()
    own = {t.start[0] for t in tokens if t.type == tokenize.COMMENT and lines[t.start[0] - 1][:t.start[1]].strip() == ""}
    for token in tokens:
        if token.type != tokenize.COMMENT:
            continue
        number, column = token.start
        line = lines[number - 1]
        if len(line) <= WIDTH or FIXED.match(token.string) or "# noqa" in token.string or "# type:" in token.string or number in gone:
            continue
        before, words = line[:column], token.string.lstrip("#").strip()
        if number in own:
            last = number                               # take the following full-line comments of the paragraph along
            while last + 1 in own and not FIXED.match(lines[last].strip()) and lines[last][:column] == before and len(lines[last]) > column + 2 \
                    and lines[last][column:column + 3].rstrip() != "#" and lines[last][column + 2:column + 3].islower():
                last += 1
                words += " " + lines[last - 1].strip().lstrip("#").strip()
                gone.add(last)
                out[last] = None
            out[number] = "\n".join(fold(words, before + "# ", before + "# "))
        else:
            target = number
            while target in inside:
                target = inside[target]
            indent = re.match(r"\s*", lines[target - 1])[0]
            put.setdefault(target, []).extend(fold(words, indent + "# ", indent + "# "))
            out[number] = before.rstrip()
    result = []
    for number in range(1, len(lines) + 1):
        result += put.get(number, [])
        if out[number] is not None:
            result.append(out[number])
    return "\n".join(result)


def docstrings(text):
    try:
        tree = ast.parse(text)
    except SyntaxError:
        return text
    lines = text.split("\n")
    spans = []
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and node.body:
            first = node.body[0]
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
                spans.append((first.lineno, first.end_lineno, first.col_offset))
    for begin, end, column in sorted(spans, reverse=True):
        part = lines[begin - 1:end]
        if all(len(line) <= WIDTH for line in part) or not part[0].lstrip().startswith(('"""', 'r"""')) or not part[-1].rstrip().endswith('"""'):
            continue
        indent = " " * column
        blocks, code = [], False
        for line in part:
            stripped = line.strip()
            previous = blocks[-1] if blocks else None
            width = len(line) - len(line.lstrip())
            if stripped.startswith("```"):
                code = not code
                blocks.append([line])
            elif code or not stripped or not previous or not previous[-1].strip() or ITEM.match(line) or LEAVE.match(previous[0]) or stripped == '"""':
                blocks.append([line])
            elif previous[0].strip() in ("Args:", "Returns:", "Raises:", "Yields:") or previous[0].strip().endswith("::"):
                blocks.append([line])
            else:
                base = len(previous[0]) - len(previous[0].lstrip())
                hang = base + (4 if ITEM.match(previous[0]) and previous[0] is not part[0] else 0)
                if width == hang or len(previous) > 1 and width == len(previous[-1]) - len(previous[-1].lstrip()):
                    previous.append(line)
                else:
                    blocks.append([line])
        result, code = [], False
        for block in blocks:
            if block[0].strip().startswith("```"):
                code = not code
            if code or LEAVE.match(block[0]) or all(len(line) <= WIDTH for line in block):
                result += block
                continue
            start = re.match(r"\s*", block[0])[0]
            hang = start + "    " if block[0] is not part[0] and ITEM.match(block[0]) else indent if block[0] is part[0] else start
            result += fold(" ".join(block), start, hang)
        lines[begin - 1:end] = result
    return "\n".join(lines)


class Same(ast.NodeTransformer):
    """Docstrings without their white space."""

    def visit(self, node):
        self.generic_visit(node)
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and node.body:
            first = node.body[0]
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
                first.value.value = " ".join(first.value.value.split())
        return node


def shape(text):
    return ast.dump(Same().visit(ast.parse(text)))


def tidy(text, name, notes, cell):
    """One cell or file."""
    head, body = [], text
    if cell:
        lines = text.split("\n")
        while lines and (lines[0].startswith("#|") or lines[0].startswith("%%")):
            head.append(lines.pop(0))
        body = "\n".join(lines)
    if not body.strip() or any(h.startswith("%%") and h.split()[0] not in ("%%capture", "%%time") for h in head):
        return text
    try:
        before = shape(body)
    except SyntaxError:
        notes.append(f"no plain Python, left as it is: {name}")
        return text
    semicolon = cell and body.rstrip().endswith(";")
    for step in ("comments", "docstrings", "black", "comments", "docstrings"):
        try:
            new = comments(body) if step == "comments" else docstrings(body) if step == "docstrings" else black.format_str(body, mode=MODE)
        except Exception as error:                      # whatever black cannot do stays for ruff
            notes.append(f"{step}: {name}: {type(error).__name__}: {str(error)[:100]}")
            continue
        if step == "black" and cell:
            new = new.rstrip("\n") + (";" if semicolon and not new.rstrip().endswith(";") else "")
        try:
            if shape(new) == before:
                body = new
            else:
                notes.append(f"{step} would change the program, left out: {name}")
        except SyntaxError:
            notes.append(f"{step} breaks the syntax, left out: {name}")
    return "\n".join([*head, body])


def main():
    ruff, *given = sys.argv[1:]
    paths = [Path(p) for p in given] or sorted([*Path("nbs").rglob("*.ipynb"), *Path("tests").rglob("*.py"), *Path(".ci").glob("*.py"),
                                                *Path("docs").rglob("*.py"), *Path("tools").rglob("*.py")])
    notes, shapes = [], {}

    def pieces(path):
        if path.suffix == ".py":
            return [("", path.read_text(encoding="utf-8"))]
        return [(c.get("id", str(n)), "".join(c["source"])) for n, c in enumerate(json.loads(path.read_text(encoding="utf-8"))["cells"]) if c["cell_type"] == "code"]

    def plain(text):
        return "\n".join("" if re.match(r"\s*[%!]", line) else line for line in text.split("\n"))

    for path in paths:
        for name, text in pieces(path):
            try:
                shapes[path, name] = shape(plain(text))
            except SyntaxError:
                notes.append(f"not compared: {path} {name}")

    def run(transform):
        for path in paths:
            raw = path.read_text(encoding="utf-8")
            if path.suffix == ".py":
                new = transform(raw, str(path), notes, False)
            else:
                book = json.loads(raw)
                for number, cell in enumerate(book["cells"]):
                    if cell["cell_type"] == "code":
                        cell["source"] = transform("".join(cell["source"]), f"{path} {cell.get('id', number)}", notes, True).splitlines(True)
                new = json.dumps(book, indent=1, ensure_ascii=False) + "\n"
            if new != raw:
                path.write_text(new, encoding="utf-8")

    run(tidy)
    command = [ruff, "format", "--quiet", "--line-length", str(WIDTH), *map(str, paths)]
    subprocess.run(command, check=True)
    run(lambda text, name, notes, cell: docstrings(comments(text)) if not re.search(r"^\s*[%!]", text, re.M) else text)
    subprocess.run(command, check=True)
    for path in paths:
        for name, text in pieces(path):
            if (path, name) in shapes and shape(plain(text)) != shapes[path, name]:
                notes.append(f"CHANGED: {path} {name}")
    print(*notes, sep="\n")
    done = subprocess.run([ruff, "check", "--line-length", str(WIDTH), "--select", "E501,E702,E731", "--output-format", "concise", "--no-cache", *map(str, paths)],
                          capture_output=True, text=True)
    print(done.stdout)


main()
