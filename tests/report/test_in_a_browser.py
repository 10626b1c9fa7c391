"""The page as a browser shows it, opened from disk."""

import json
import shutil
import time
from functools import partial

import numpy as np
import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from vigor_jax import report
from vigor_jax.tasks.classification import report as classification_report
from vigor_jax.tasks.cross_view import report as cross_view_report
from vigor_jax.tasks.geolocation import report as geolocation_report

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="no browser: apt-get install chromium chromium-driver"
)
FLAGS = (
    "--headless",
    "--no-sandbox",  # which root may not do without
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def classification_page(data):
    return partial(classification_report.content, data=data)


def cross_view_page(data):
    return partial(cross_view_report.content, data=data)


def geolocation_page(data):
    return partial(geolocation_report.content, data=data)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture
def visit(browser):
    """`(page, width=1280, dark=False)` opens it in `browser`; in the end no error and no request."""

    def open_page(page, *, width=1280, dark=False):
        browser.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 700},
        )
        set_scheme(browser, "dark" if dark else "light")
        drain(browser)
        browser.get(page.as_uri())
        # On a busy machine the driver has returned from pages that were still being parsed.
        deadline = time.monotonic() + 30
        while browser.execute_script("return document.readyState") != "complete" and time.monotonic() < deadline:
            time.sleep(0.05)

    yield open_page
    messages, addresses = drain(browser)
    assert messages == []
    assert addresses
    # chrome://: the browser's own first tab may still be loading.
    assert all(address.startswith(("file://", "data:", "chrome://")) for address in addresses), addresses


@pytest.fixture
def opened(visit, write_run, tmp_path):
    """`(width=1280, dark=False) -> run` of the cross-view task, its page open in `browser`."""

    def open_page(**how):
        run = write_run(tmp_path)
        visit(report.write(run.workdir, cross_view_page(run.data)), **how)
        return run

    return open_page


def set_scheme(browser, scheme):
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def drain(browser):
    """(console messages, addresses asked for) since the last call."""
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
    return [entry["message"] for entry in browser.get_log("browser")], asked


def drawn_points(browser, name):
    """Marks of each trace of a plot, as the browser drew them."""
    script = """
        return [...document.querySelectorAll(`#${CSS.escape(arguments[0])} .scatterlayer .trace`)].map((trace) => ({
          points: trace.querySelectorAll(".point").length,
          line: Math.max(0, ...[...trace.querySelectorAll("path.js-line")].map((line) => line.getTotalLength())),
          ink: [...trace.querySelectorAll("path")].map((path) => getComputedStyle(path).stroke)[0],
        }));"""
    return browser.execute_script(script, name)


def test_plots_are_drawn(browser, opened):
    run = opened()
    loss = drawn_points(browser, "training-loss")
    assert [trace["points"] for trace in loss] == [12]
    assert loss[0]["line"] > 100
    for name in ("epochs-top1", "epochs-median_m"):
        traces = drawn_points(browser, name)
        assert [trace["points"] for trace in traces] == [3, 3]
        assert len({trace["ink"] for trace in traces}) == 2
    assert [trace["line"] > 100 for trace in drawn_points(browser, "accuracy")] == [True] * 4
    for split, city in (("cross_area", "Chicago"), ("validation", "Seattle")):
        shown = drawn_points(browser, f"map-{split}-{run.data.cities.index(city)}")
        first = int(np.sum(run.found[split].rank == 0))
        assert sorted(trace["points"] for trace in shown) == sorted([first, 24 - first])


def test_what_is_folded_is_drawn_when_unfolded(browser, opened):
    opened()
    assert drawn_points(browser, "training-grad_norm") == []
    browser.find_element(By.CSS_SELECTOR, ".more > summary").click()
    deadline = time.monotonic() + 10
    while not drawn_points(browser, "training-grad_norm") and time.monotonic() < deadline:
        time.sleep(0.05)
    assert [trace["points"] for trace in drawn_points(browser, "training-grad_norm")] == [12]


def test_every_image_is_shown(browser, opened):
    opened()
    sizes = browser.execute_async_script(
        "const done = arguments[0], images = [...document.images];"
        "Promise.all(images.map((image) => image.decode())).then("
        "  () => done(images.map((image) => [image.naturalWidth, image.naturalHeight])), (error) => done(`${error}`));"
    )
    assert len(sizes) == 2 * 12 * 7
    assert {tuple(size) for size in sizes} == {(64, 64), (128, 64)}


@pytest.mark.parametrize("width", [1280, 375])
def test_marks_lie_where_the_query_and_its_prediction_are(width, browser, opened):
    run = opened(width=width)
    script = """
        document.querySelectorAll("details").forEach((details) => (details.open = true));
        const middle = (box) => [box.x + box.width / 2, box.y + box.height / 2];
        return [...document.querySelectorAll("#gallery .query")].map((query) => ({
          panorama: query.querySelector(".panorama .name").textContent,
          tiles: [...query.querySelectorAll(".tile")].map((tile) => {
            const image = tile.querySelector("img").getBoundingClientRect();
            const marks = [...tile.querySelectorAll("[data-mark]")].map((mark) => {
              const [x, y] = middle(mark.getBoundingClientRect());
              return [mark.dataset.mark, 640 * (x - image.x) / image.width, 640 * (y - image.y) / image.height];
            });
            return { name: tile.querySelector(".name").textContent, marks };
          }),
        }));"""
    queries = browser.execute_script(script)
    assert len(queries) == 24
    panoramas, tiles = list(run.data.panoramas.names), list(run.data.tiles.names)
    seen = {"true": 0, "predicted": 0}
    for query in queries:
        panorama = panoramas.index(query["panorama"])
        split = "cross_area" if run.data.cities[run.data.panoramas.city[panorama]] == "Chicago" else "validation"
        found = run.found[split]
        of_query = list(found.panorama).index(panorama)
        for place, tile in enumerate(query["tiles"]):
            row = tiles.index(tile["name"])
            marks = {kind: (x, y) for kind, x, y in tile["marks"]}
            expected = {}
            references = list(run.data.panoramas.references[panorama])
            if row in references:
                down, left = run.data.panoramas.offset_px[panorama, references.index(row)]
                expected["true"] = 320 - left, 320 + down
            if place == 1:
                down, left = found.offset_px[of_query]
                expected["predicted"] = 320 - left, 320 + down
            for kind, at in expected.items():
                # Within a pixel of the screen.
                assert marks[kind] == pytest.approx(at, abs=8), (query["panorama"], tile["name"])
                seen[kind] += 1
    assert seen["true"] >= 24
    assert seen["predicted"] == 24


@pytest.mark.parametrize(("width", "dark"), [(1280, True), (375, False)])
def test_nothing_is_cut_off_or_pale(width, dark, browser, opened):
    opened(width=width, dark=dark)
    inside, contrasts = browser.execute_script("""
        const light = (colour) => {
          const linear = (c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
          const [r, g, b] = colour.match(/[\\d.]+/g).map((c) => linear(c / 255));
          return 0.2126 * r + 0.7152 * g + 0.0722 * b;
        };
        const ground = light(getComputedStyle(document.body).backgroundColor);
        const contrast = (colour) => { const other = light(colour);
          return (Math.max(ground, other) + 0.05) / (Math.min(ground, other) + 0.05); };
        const texts = document.querySelectorAll(
          "h1, h2, h3, p, a:not(.skip), td, th, figcaption, .name, summary, .legend li, .drawing text");
        const colour = (e) => (e.closest("svg") ? getComputedStyle(e).fill : getComputedStyle(e).color);
        return [
          document.documentElement.scrollWidth <= innerWidth,
          [...texts].map((e) => [contrast(colour(e)), e.textContent]),
        ];""")
    assert inside
    assert len(contrasts) > 100
    pale = [(round(contrast, 1), text) for contrast, text in contrasts if contrast < 4.5]
    assert pale == []  # WCAG 2, level AA


def test_colours_follow_the_mode_while_the_page_is_open(browser, opened):
    opened()
    before = drawn_points(browser, "epochs-top1")[0]["ink"]
    set_scheme(browser, "dark")
    deadline = time.monotonic() + 10
    while drawn_points(browser, "epochs-top1")[0]["ink"] == before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert drawn_points(browser, "epochs-top1")[0]["ink"] != before


def test_a_tile_is_enlarged_and_left_by_keyboard(browser, opened):
    opened()
    button = browser.find_element(By.CSS_SELECTOR, "#gallery .tile .enlarge")
    name = button.find_element(By.XPATH, "..").find_element(By.CSS_SELECTOR, ".name").text
    button.send_keys(Keys.ENTER)
    dialog = browser.find_element(By.ID, "enlarged")
    assert dialog.is_displayed()
    assert dialog.find_element(By.TAG_NAME, "img").size["width"] > 2 * button.size["width"]
    assert dialog.find_elements(By.CSS_SELECTOR, "[data-mark=true]")
    assert name in dialog.text
    browser.switch_to.active_element.send_keys(Keys.ESCAPE)
    assert not dialog.is_displayed()
    assert browser.switch_to.active_element == button


@pytest.mark.parametrize("width", [1280, 375])
def test_the_confusions_of_a_classifier_are_drawn(width, browser, visit, write_class_run, class_data, tmp_path):
    visit(report.write(write_class_run(tmp_path), classification_page(class_data)), width=width)
    inside, maps, names, photos = browser.execute_script("""
        const plot = document.querySelector("#confusions-test");
        return [
          document.documentElement.scrollWidth <= innerWidth,
          plot.querySelectorAll(".heatmaplayer image").length,
          [...plot.querySelectorAll(".ytick text")].map((e) => e.textContent),
          [...document.querySelectorAll(".pair img")].map((e) => [e.naturalWidth, e.naturalHeight]),
        ];""")
    assert inside
    assert maps == 2  # right and wrong
    assert sorted(names) == ["a <b>", "fig", "pear", "plum"]
    assert photos == [[32, 24]] * 8


@pytest.mark.parametrize("width", [1280, 375])
def test_the_photos_of_a_geolocation_run_are_drawn(width, browser, visit, write_geolocation_run, photo_data, tmp_path):
    visit(report.write(write_geolocation_run(tmp_path), geolocation_page(photo_data)), width=width)
    inside, photos = browser.execute_script("""
        return [
          document.documentElement.scrollWidth <= innerWidth,
          [...document.querySelectorAll(".placed img")].map((e) => [e.naturalWidth, e.naturalHeight]),
        ];""")
    assert inside
    assert photos == [[32, 24]] * 6
    assert [trace["points"] for trace in drawn_points(browser, "map-test")] == [6]
    assert [trace["line"] > 100 for trace in drawn_points(browser, "accuracy")] == [True] * 2
