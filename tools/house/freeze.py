"""Hashes of what the kit makes, so that a move of its code can be proven to change nothing.

    python tools/house/freeze.py before.json               # of the tree that this file lies in; --root for another one
    python tools/house/freeze.py after.json
    python tools/house/freeze.py --equal before.json after.json

It calls the command line; only the writers of the two test formats are imported, by their new path first. Takes about two minutes of one core.

Left out of the hashes, since they name places in the code, versions, the machine or times:
- of `manifest.json`: every `environment` (versions, machine, the lock) and `parameters.source_parameters` values that are paths;
- of the page: the versions at its end, dates, seconds and the temporary folder.
Everything else, every image, pose, record and count, is in.
"""
import argparse
import hashlib
import html
import importlib
import json
import os
import random
import re
import subprocess
import sys
import tempfile
from pathlib import Path

WRITERS = {"write_scannet": ("spar_kit.scenes.readers.scannet.writer", "spar_kit.scenes.export"),
           "open_source": ("spar_kit.scenes.sources",)}


def find(name: str):
    """A function by the newest of its module paths that exists."""
    for module in WRITERS[name]:
        try:
            return getattr(importlib.import_module(module), name)
        except ModuleNotFoundError as error:
            last = error
    raise last


def spar(*words: object) -> str:
    done = subprocess.run([sys.executable, "-W", "ignore", "-m", "spar_kit", *map(str, words)], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"spar {' '.join(map(str, words))}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def plain(value: object, home: Path) -> object:
    """A manifest without its environment and without the temporary folder."""
    if isinstance(value, dict):
        return {key: plain(item, home) for key, item in value.items() if key != "environment"}
    if isinstance(value, list):
        return [plain(item, home) for item in value]
    return value.replace(str(home), "HOME") if isinstance(value, str) else value


def hashes(folder: Path, home: Path) -> dict[str, str]:
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            content = path.read_bytes()
            if path.name == "manifest.json":
                content = json.dumps(plain(json.loads(content), home), sort_keys=True).encode()
            found[path.relative_to(folder).as_posix()] = hashlib.sha256(content).hexdigest()
    return found


def predictions(folder: Path, path: Path, count: int, seed: int) -> None:
    """Answers to the generated questions: true, true in a sentence, of another question, near, a letter, or nonsense."""
    draw = random.Random(seed)
    records = []
    for file in sorted(folder.rglob("*.jsonl")):
        for line in file.read_text(encoding="utf-8").splitlines():
            record = json.loads(line)
            records.append((record["id"], file.parent.parent.name, file.parent.name, record["conversations"][0]["value"], record["conversations"][1]["value"]))
    by_task: dict[str, list[str]] = {}
    for _, task, _, _, answer in records:
        by_task.setdefault(task, []).append(answer)

    def near(text: str) -> str:
        return re.sub(r"\d+(?:\.\d+)?", lambda m: f"{float(m[0]) * draw.uniform(.5, 1.6):.2f}", text)

    with path.open("w", encoding="utf-8") as out:
        for n in range(count):
            id, task, form, question, answer = records[n % len(records)]
            said = (answer, f"The answer is **{answer}**.", draw.choice(by_task[task]), near(answer), draw.choice("ABCD"), f"<think>{draw.choice(by_task[task])}</think> {answer}",
                    "I cannot tell.", "")[draw.choice((0, 1, 2, 2, 3, 3, 4, 5, 6, 7))]
            row = {"id": f"{id}_{n // len(records)}", "task": task, "format": form, "question": question, "answer": answer, "prediction": said, "scene": id.rpartition("_")[0]}
            out.write(json.dumps(row) + "\n")


def page_text(path: Path, home: Path) -> list[str]:
    """The words of a page and the numbers of its figures, without dates, seconds, versions and the temporary folder."""
    text = re.sub(r"(?is)<style.*?</style>", " ", path.read_text(encoding="utf-8"))
    text = "\n".join(script[:2_000_000] if len(script) < 1_000_000 else "PLOTLY" for script in re.split(r"(?is)</?script[^>]*>", text))
    text = html.unescape(re.sub(r"<[^>]*>", "\n", text)).replace(str(home), "HOME")
    text = re.sub(r"\d{4}-\d\d-\d\d(?:[ T]\d\d:\d\d(?::\d\d)?)?|\b\d+(?:\.\d+)? (?:s|seconds)\b|\b\d+\.\d+\.\d+\b|[0-9a-f]{8}-[0-9a-f-]{27}|nonce-\S+", "X", text)
    return [line.strip() for line in text.splitlines() if line.strip()]


def freeze(root: Path, count: int) -> dict:
    os.environ["PYTHONPATH"] = str(root)
    sys.path[:0] = [str(root), str(root / "tests")]
    made: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as name:
        home = Path(name).resolve()
        os.chdir(home)                                                        # so that paths in manifests are the same each time
        common = ["--per-task", 20, "--seed", 0]
        room = ["--width", 160, "--height", 120, "--frames-per-scene", 36]
        for workers in (1, 2):
            spar("generate", "synthetic", "--scenes", 2, *room, *common, "--workers", workers, "--out", f"rooms{workers}")
            made[f"synthetic, {workers} workers"] = hashes(home / f"rooms{workers}", home)
        if made["synthetic, 1 workers"] != made["synthetic, 2 workers"]:
            raise SystemExit("one and two workers differ")
        source = find("open_source")("synthetic", seed=0, scenes=1, width=160, height=120, frames=36)
        scene = source.load("train0000")
        find("write_scannet")(scene, home / "scans")
        made["a ScanNet export"] = hashes(home / "scans", home)
        spar("generate", "scannet:scans", *common, "--frames-per-scene", 36, "--out", "from_scannet")
        made["from a ScanNet export"] = hashes(home / "from_scannet", home)
        from exporters.spar7m import write_release
        write_release(home / "released", scene, count=2)
        made["an imitation of SPAR-7M"] = hashes(home / "released", home)
        spar("generate", "spar7m:released", *common, "--out", "from_spar7m")
        made["from SPAR-7M"] = hashes(home / "from_spar7m", home)
        for name, seed in (("before", 1), ("after", 2)):
            predictions(home / "rooms1" / "spar", home / f"{name}.jsonl", count, seed)
        for flavour in ("official", "easi", "strict", "all"):
            spar("score", "before.jsonl", "--flavour", flavour, "--json", f"score_{flavour}.json", "--items", f"items_{flavour}.jsonl")
            made[f"score, {flavour}"] = {f: hashlib.sha256((home / f).read_bytes().replace(str(home).encode(), b"HOME")).hexdigest()
                                         for f in (f"score_{flavour}.json", f"items_{flavour}.jsonl")}
        for name in ("before", "after"):                                      # a page of a tenth: its bootstrap costs most of the time
            lines = (home / f"{name}.jsonl").read_text(encoding="utf-8").splitlines(True)
            (home / f"{name}_few.jsonl").write_text("".join(lines[::10]), encoding="utf-8")
        spar("compare", "before_few.jsonl", "after_few.jsonl", "--out", "page.html")
        made["page"] = page_text(home / "page.html", home)
        made["verify"] = re.sub(r"\d+(\.\d+)? s\b|\d+/s", "X", spar("verify", "rooms1")).splitlines()
    return made


def unequal(first: dict, second: dict) -> list[str]:
    found = []
    for part in first.keys() | second.keys():
        a, b = first.get(part), second.get(part)
        if a != b and isinstance(a, dict) and isinstance(b, dict):
            found += [f"{part}: {name}" for name in sorted(a.keys() | b.keys()) if a.get(name) != b.get(name)]
        elif a != b:
            found += [f"{part}: {one!r} / {other!r}" for one, other in zip(a or [None], b or [None]) if one != other] or [f"{part}: of another length"]
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", nargs="?")
    parser.add_argument("--root", default=str(Path(__file__).resolve().parents[2]))
    parser.add_argument("--predictions", type=int, default=20_000)
    parser.add_argument("--equal", nargs=2, metavar="FILE")
    given = parser.parse_args()
    if given.equal:
        differences = unequal(*(json.loads(Path(path).read_text()) for path in given.equal))
        print("\n".join(differences) or "equal")
        sys.exit(bool(differences))
    target = Path(given.out).resolve()
    made = freeze(Path(given.root).resolve(), given.predictions)
    target.write_text(json.dumps(made, indent=1) + "\n")
    print(f"{sum(len(part) for part in made.values())} entries in {target}")
