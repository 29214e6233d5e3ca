"""Files of other people: a plan, a report's folder or a notebook may say what it likes; nothing is
written outside, runs or is fetched."""

import json
import shutil
import time

import nbformat
import pytest

from spar_kit.cli.main import main
from spar_kit.report.html.security import content_policy, safe_css, safe_html, safe_image
from spar_kit.report.notebook_report import build_report, render
from spar_kit.runs.plan import ParamsError, load_plan

BROWSER = next(
    (
        path
        for name in ("chromium", "chromium-browser", "google-chrome")
        if (path := shutil.which(name))
    ),
    None,
)
PIXEL = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="  # noqa: E501
KEY = "0123456789"


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("<b>5</b> &lt; 6 &amp; 7", "<b>5</b> &lt; 6 &amp; 7"),
        ("<script>alert(1)</script>after", "after"),
        ("<SCRIPT SRC=//evil/x.js></SCRIPT>after", "after"),
        ("<script>alert(1)", ""),
        ("<img src=x onerror=alert(1) alt=a>", '<img alt="a">'),
        (f'<img src="{PIXEL}" alt="a">', f'<img src="{PIXEL}" alt="a">'),
        ("<img src='data:text/html;base64,PHNjcmlwdD4='>", "<img>"),
        ("<img src='http://evil/x.png'>", "<img>"),
        ("<img srcset='http://evil/x.png 1x'>", "<img>"),
        ("<a href='java\nscript:alert(1)'>x</a>", '<a rel="noopener noreferrer">x</a>'),
        ("<a href='&#106;avascript:alert(1)'>x</a>", '<a rel="noopener noreferrer">x</a>'),
        ("<a href='//evil/'>x</a>", '<a rel="noopener noreferrer">x</a>'),
        (
            "<a href='https://arxiv.org/abs/2503.22976'>x</a>",
            '<a href="https://arxiv.org/abs/2503.22976" rel="noopener noreferrer">x</a>',
        ),
        ("<a href='#by-task'>x</a>", '<a href="#by-task" rel="noopener noreferrer">x</a>'),
        ("</div></main><p>out", "<p>out</p>"),
        ("<div><b>x", "<div><b>x</b></div>"),
        ("<svg><style><img src=x onerror=alert(1)></style></svg>after", "after"),
        ("<math><mtext><table><mglyph><style><img src=x></style></math>after", "after"),
        ("<iframe srcdoc='<script>alert(1)</script>'></iframe>after", "after"),
        ("<form action=http://evil><input name=a><button>b</button></form>", "b"),
        ("<meta http-equiv=refresh content='0;url=http://evil'>after", "after"),
        ("<link rel=stylesheet href=http://evil>after", "after"),
        ("<base href=http://evil/>after", "after"),
        ("<!-- <script>alert(1)</script> -->after", "after"),
        ("<p style='color:red'>x</p>", '<p style="color:red">x</p>'),
        ("<p style='background:url(http://evil/x)'>x</p>", "<p>x</p>"),
        ("<p style='background:u\\72l(http://evil/x)'>x</p>", "<p>x</p>"),
        ("<p style='position:fixed;inset:0'>x</p>", "<p>x</p>"),
        ("<style>.a{color:red}</style>", "<style>.a{color:red}</style>"),
        ("<style>@import 'http://evil/x.css';</style>after", "after"),
        ("<style>.a{background:u/**/rl(http://evil/x)}</style>after", "after"),
        (
            "<details open><summary>s</summary>t</details>",
            '<details open=""><summary>s</summary>t</details>',
        ),
        ("<p id=a data-plotly onclick=alert(1) formaction=x>x</p>", '<p id="a">x</p>'),
        ("<x-widget>text</x-widget>", "text"),
        (
            (
                "<textarea></textarea><title></title><noscript><p title='</noscript><img src=x"
                " onerror=alert(1)>'></noscript>after"
            ),
            "after",
        ),
    ],
)
def test_html_of_a_run_is_filtered(given, kept):
    made = safe_html(given)
    assert made == kept or (
        kept == "after"
        and made.endswith("after")
        and not any(word in made for word in ("evil", "alert", "onerror="))
        and "<img src" not in made
    )
    assert safe_html(made) == made, "what came out is left as it is"


def test_urls_and_css_are_taken_whole_or_not_at_all():
    assert safe_image(PIXEL) == PIXEL and not any(
        map(
            safe_image,
            [
                "http://evil/x.png",
                PIXEL + '"><script>',
                "data:image/png,x",
                7,
                None,
                "data:image/png;base64,A B<",
            ],
        )
    )
    assert safe_css("a{b:c}") and not any(
        map(safe_css, ["a{b:URL (x)}", "a{b:image-set('x' 1x)}", "</style>", "@font-face{}"])
    )
    assert (
        "'none'" in content_policy()
        and "unsafe" not in content_policy("abc").partition("style-src")[0]
    )


def report_folder(home, *, sweep=(), entry=(), row=(), card=(), cells=()):
    """A report of one run, as another person may hand it over, with some of it replaced."""
    run = {
        "step": "make",
        "label": "seed=1",
        "key": KEY,
        "folder": f"../store/make-{KEY}",
        "choices": [["make.seed", 1]],
        "upstream": [],
        "status": "done",
        "error": "",
        **dict(entry),
    }
    place = home / "store" / f"make-{KEY}"
    (place / "out").mkdir(parents=True, exist_ok=True)
    (place / "out" / "row.json").write_text(
        json.dumps(
            {"title": "Made", "headline": "It is made.", "compare": {"score": 5.0}, **dict(row)}
        )
    )
    facts = {
        "step": "make",
        "params": {},
        "upstream": [],
        "folder": str(place),
        "seconds": 3.0,
        "started": "2026-01-01",
        "machine": "a machine",
        **dict(card),
    }
    (place / "run.json").write_text(
        json.dumps({key: value for key, value in facts.items() if value is not None})
    )
    nbformat.write(
        nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# Made"), *cells]),
        place / "notebook.ipynb",
    )
    folder = home / "report"
    folder.mkdir(exist_ok=True)
    summary = {
        "name": "toy",
        "title": "Toy",
        "about": "",
        "made": "today",
        "params": {"file": "toy.yaml", "text": "name: toy"},
        "runs": [run],
        **dict(sweep),
    }
    (folder / "sweep.json").write_text(
        json.dumps({key: value for key, value in summary.items() if value is not None})
    )
    return folder


def everything(home):
    return {str(path.relative_to(home)) for path in home.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    "entry",
    [
        {"step": "../../../escaped"},
        {"step": "a/b"},
        {"step": ".."},
        {"step": ""},
        {"step": "a\\b"},
        {"key": "../../../es"},
        {"key": "0123456789\n"},
        {"key": ""},
        {"folder": "../elsewhere"},
        {"status": "../done"},
        {"step": None},
        {"step": 7},
    ],
)
def test_a_foreign_summary_writes_nothing_outside(tmp_path, capsys, entry):
    home = tmp_path / "a" / "b"
    folder = report_folder(home, entry=entry)
    before = everything(tmp_path)
    with pytest.raises(SystemExit) as left:
        main(["report", str(folder)])
    assert left.value.code == 2 and capsys.readouterr().err.count("\n") == 1
    assert everything(tmp_path) == before


def test_nothing_is_written_through_a_link(tmp_path):
    folder = report_folder(tmp_path / "in")
    (tmp_path / "mine.txt").write_text("mine")
    for name in ("index.html", f"make-{KEY}.html"):
        (folder / name).symlink_to(tmp_path / "mine.txt")
    build_report(folder)
    assert (tmp_path / "mine.txt").read_text() == "mine" and not (
        folder / "index.html"
    ).is_symlink()
    shutil.rmtree(folder / "_assets")
    (tmp_path / "elsewhere").mkdir()
    (folder / "_assets").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match="is a link"):
        build_report(folder)
    assert not list((tmp_path / "elsewhere").iterdir())


HOSTILE = (
    "\"'><script>document.title='owned'</script><img src=http://127.0.0.1:9/x.png"
    " onerror=document.title='owned'>"
)


def hostile_folder(home):
    output = nbformat.v4.new_output
    cells = [
        nbformat.v4.new_markdown_cell(HOSTILE),
        nbformat.v4.new_code_cell(
            "1",
            metadata={"parameter_table": HOSTILE, "tags": []},
            outputs=[
                output("display_data", {"text/html": f"<table><tr><td>{HOSTILE}"}),
                output("display_data", {"text/html": HOSTILE}),
                output("display_data", {"text/markdown": HOSTILE}),
                output("display_data", {"image/png": HOSTILE}),
                output("display_data", {"text/plain": HOSTILE}),
                output("display_data", {"image/svg+xml": f"<svg>{HOSTILE}</svg>"}),
                output(
                    "display_data",
                    {
                        "application/vnd.plotly.v1+json": {
                            "data": [{"y": [1], "name": HOSTILE}],
                            "layout": {"height": HOSTILE, "title": {"text": HOSTILE}},
                        }
                    },
                ),
                output("stream", name="stdout", text=HOSTILE),
                output("error", ename=HOSTILE, evalue=HOSTILE, traceback=[HOSTILE]),
            ],
        ),
    ]
    return report_folder(
        home,
        entry={"label": HOSTILE, "choices": [[f"make.{HOSTILE}", HOSTILE]], "error": HOSTILE},
        sweep={
            "title": HOSTILE,
            "about": HOSTILE,
            "made": HOSTILE,
            "command": [HOSTILE],
            "params": {"file": HOSTILE, "text": HOSTILE},
        },
        row={
            "title": HOSTILE,
            "headline": HOSTILE,
            "thumbnail": f"http://127.0.0.1:9/x.png{HOSTILE}",
            "thumbnail_alt": HOSTILE,
            "compare": {HOSTILE: HOSTILE},
            "figures": [
                {
                    "figure": {
                        "data": [{"y": [1], "name": HOSTILE}],
                        "layout": {"images": [{"source": "http://127.0.0.1:9/i.png"}]},
                    },
                    "caption": HOSTILE,
                }
            ],
        },
        card={
            "started": HOSTILE,
            "machine": HOSTILE,
            "environment": {"packages": {HOSTILE: HOSTILE}, HOSTILE: HOSTILE},
        },
        cells=cells,
    )


def test_what_a_run_says_is_text(tmp_path):
    folder = hostile_folder(tmp_path)
    build_report(folder)
    for page in folder.glob("*.html"):
        text = page.read_text()
        assert "<script>" not in text and "<img src=http" not in text and 'src="http' not in text, (
            page.name
        )
        assert text.index("Content-Security-Policy") < text.index("<style>") < text.index("<script")


@pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")
def test_a_browser_runs_and_fetches_nothing_of_it(tmp_path):
    playwright = pytest.importorskip("playwright.sync_api")
    folder = hostile_folder(tmp_path)
    build_report(folder)
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        for page in folder.glob("*.html"):
            whole = page.read_text()
            # a second copy in which the filter failed: the policy has to do alone
            (folder / "leaky.html").write_text(
                whole.replace(
                    '<main id="main">',
                    f'<main id="main">{HOSTILE}<script src="http://127.0.0.1:9/x.js"></script>',
                )
            )
            for name in (page.name, "leaky.html"):
                tab = browser.new_page()
                answered = []
                said = []
                tab.on("requestfinished", lambda request, seen=answered: seen.append(request.url))
                tab.on(
                    "console",
                    lambda message, seen=said: (
                        seen.append(message.text) if message.type == "error" else None
                    ),
                )
                tab.goto((folder / name).as_uri(), timeout=180_000)
                tab.wait_for_selector(".plot .main-svg", timeout=180_000)
                assert tab.title() != "owned" and all(
                    url.startswith(("file:", "data:", "blob:")) for url in answered
                )
                assert ("violates the following Content Security Policy" in " ".join(said)) is (
                    name == "leaky.html" or page.name == "index.html"
                )
                tab.close()
            (folder / "leaky.html").unlink()
        browser.close()


@pytest.mark.parametrize(
    ("file", "change", "says"),
    [
        ("run.json", {"seconds": None}, "seconds: is missing"),
        ("run.json", {"machine": None}, "machine: is missing"),
        ("run.json", {"started": 7}, "started"),
        ("run.json", {"seconds": "long"}, "seconds"),
        ("row.json", {"compare": [1]}, "compare"),
        ("row.json", {"figures": [{"figure": 1}]}, "figures.0.figure"),
        ("row.json", {"headline": {"a": 1}}, "headline"),
        ("sweep.json", {"title": None}, "title: is missing"),
        ("sweep.json", {"runs": None}, "runs: is missing"),
        ("sweep.json", {"runs": [1]}, "runs.0"),
        ("sweep.json", {"params": "x"}, "params"),
    ],
)
def test_a_report_names_the_file_and_field_that_is_wrong(tmp_path, capsys, file, change, says):
    folder = report_folder(
        tmp_path, **{{"run.json": "card", "row.json": "row", "sweep.json": "sweep"}[file]: change}
    )
    with pytest.raises(SystemExit) as left:
        main(["report", str(folder)])
    error = capsys.readouterr().err
    assert left.value.code == 2 and error.count("\n") == 1 and file in error and says in error


@pytest.mark.parametrize("text", ["", "[1]", "{", "7", "null", '{"runs": []}', "[" * 100_000])
def test_a_broken_file_of_a_report_is_one_line(tmp_path, capsys, text):
    folder = report_folder(tmp_path)
    for file in (
        tmp_path / "store" / f"make-{KEY}" / "run.json",
        tmp_path / "store" / f"make-{KEY}" / "out" / "row.json",
        folder / "sweep.json",
        tmp_path / "store" / f"make-{KEY}" / "notebook.ipynb",
    ):
        whole = file.read_text()
        file.write_text(text)
        if not (file.name == "row.json" and text.startswith('{"')):
            with pytest.raises(SystemExit) as left:
                main(["report", str(folder)])
            error = capsys.readouterr().err
            assert left.value.code == 2 and error.count("\n") == 1 and file.name in error, (
                file.name,
                error,
            )
        file.write_text(whole)


def test_a_page_of_a_notebook_is_the_same_twice(tmp_path):
    nbformat.write(
        nbformat.v4.new_notebook(
            cells=[nbformat.v4.new_markdown_cell("# A\n\n<b>b</b><script>1</script>", id="a")]
        ),
        tmp_path / "a.ipynb",
    )
    first = render(tmp_path / "a.ipynb", tmp_path / "a.html").read_text()
    time.sleep(0.01)
    assert (
        render(tmp_path / "a.ipynb", tmp_path / "a.html").read_text() == first
        and "<b>b</b>" in first
    )


@pytest.mark.parametrize(
    "name",
    [
        "../../../escaped",
        "/tmp/escaped",
        "a/b",
        "..",
        ".hidden",
        "a b",
        "a\\b",
        "ü",
        "-x",
        "x" * 65,
        "a\nb",
    ],
)
def test_a_step_that_is_a_path_is_refused(tmp_path, name):
    nbformat.write(
        nbformat.v4.new_notebook(
            cells=[nbformat.v4.new_code_cell("out: str = ''", metadata={"tags": ["parameters"]})]
        ),
        tmp_path / "a.ipynb",
    )
    (tmp_path / "toy.yaml").write_text(
        f"name: toy\nsteps:\n  {json.dumps(name)}: {{notebook: a.ipynb}}\n"
    )
    with pytest.raises(ParamsError, match="a step's name") as refused:
        load_plan(tmp_path / "toy.yaml")
    assert refused.value.line == 3 and "\n" not in str(refused.value)
