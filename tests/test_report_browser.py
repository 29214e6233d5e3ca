"""A report in a real browser with the network cut: the stock HTML of nbconvert passes every check
of size and text and is blank."""

import shutil

import nbformat
import plotly.graph_objects as go
import pytest

from spar_kit.report.notebook_report import render

playwright = pytest.importorskip("playwright.sync_api")
BROWSER = next(
    (
        path
        for name in ("chromium", "chromium-browser", "google-chrome")
        if (path := shutil.which(name))
    ),
    None,
)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """A rendered notebook with a flat and a 3D figure, opened with all requests but file: aborted
    and counted."""
    folder = tmp_path_factory.mktemp("report")
    flat = go.Figure(go.Bar(x=["a", "b"], y=[1, 2]), layout=dict(title="Bars"))
    solid = go.Figure(
        go.Scatter3d(x=[0, 1], y=[0, 1], z=[0, 1]), layout=dict(title="Points", height=300)
    )
    cells = [
        nbformat.v4.new_markdown_cell("# A report\n\n> For the browser."),
        nbformat.v4.new_code_cell("x: int = 1  # one", metadata={"tags": ["parameters"]}),
    ]
    cells += [
        nbformat.v4.new_code_cell(
            f"figure{i}",
            outputs=[
                nbformat.v4.new_output(
                    "display_data",
                    {"application/vnd.plotly.v1+json": __import__("json").loads(figure.to_json())},
                )
            ],
        )
        for i, figure in enumerate((flat, solid))
    ]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), folder / "a.ipynb")
    target = render(folder / "a.ipynb", folder / "pages" / "a.html")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=BROWSER,
            args=[
                "--no-sandbox",
                "--use-gl=angle",
                "--use-angle=swiftshader",
                "--enable-unsafe-swiftshader",
            ],
        )
        tab = browser.new_page(viewport={"width": 1200, "height": 900})
        tab.requested = []
        tab.complaints = []

        def route(request):
            if request.request.url.startswith(("file:", "data:", "blob:")):
                request.continue_()
            else:
                tab.requested.append(request.request.url)
                request.abort()

        tab.route("**/*", route)
        tab.on(
            "console",
            lambda message: (
                tab.complaints.append(message.text) if message.type == "error" else None
            ),
        )
        tab.on("pageerror", lambda error: tab.complaints.append(str(error)))
        tab.goto(target.as_uri(), timeout=180_000)  # a busy machine parses plotly.js slowly
        tab.wait_for_selector(".plot .main-svg", timeout=180_000)
        yield tab
        browser.close()


def test_nothing_is_asked_of_the_network(page):
    assert page.requested == []


def test_no_complaint_in_the_console(page):
    assert page.complaints == []


def test_every_figure_is_drawn(page):
    page.wait_for_selector(".gl-container canvas", timeout=180_000)
    assert page.locator(".js-plotly-plot").count() == 2
    assert page.locator(".js-plotly-plot .bars path").count() == 2, "the bars of the flat figure"
    box = page.locator(".js-plotly-plot").nth(1).bounding_box()
    assert box["width"] > 400 and abs(box["height"] - 300) < 20


def test_it_can_be_read_without_eyes(page):
    assert page.locator("h1").count() == 1 and page.locator("html").get_attribute("lang") == "en"
    assert page.locator("img:not([alt])").count() == 0
    assert (
        page.locator(".plot").nth(0).get_attribute("aria-label") == "Bars"
        and page.locator("main").count() == 1
    )


def test_code_is_folded_until_asked_for(page):
    code = page.locator("details.code .highlight").first
    assert not code.is_visible()
    page.locator("#code-toggle").click()
    assert (
        code.is_visible() and page.locator("#code-toggle").get_attribute("aria-pressed") == "true"
    )
