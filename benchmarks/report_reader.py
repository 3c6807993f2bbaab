"""Measures the report's page in headless Chromium: `python benchmarks/report_reader.py [--dialogues=N] [--shots=DIR]`.

It makes a run with that many evaluation dialogues, writes its page, opens it, and prints one line for each measure:
the page's size, milliseconds from the start of loading until all dialogues can be read, and milliseconds of filters,
searches and moves in the list, layout included. With --shots it also writes pictures of the page: light, dark, narrow.
It needs Chromium and its driver (`apt-get install chromium chromium-driver`) and selenium (`pip install selenium`).
"""

from __future__ import annotations

import argparse
import random
import shutil
import tempfile
from pathlib import Path
from typing import Any

from sml_jax.common.atomic import replacing
from sml_jax.evaluate.labels import LABELS
from sml_jax.report.page import render
from sml_jax.report.run_files import RunFiles

NEEDS = "apt-get install chromium chromium-driver && pip install selenium"
ARMS = ("feedback", "retry", "self", "shuffled", "uninformed")
FILTER = "//form[@id='filters']//label[starts-with(., '{}')]/select"
READY = "return performance.getEntriesByName('dialogues-ready')[0]?.startTime ?? null"
# Sets a field as a person would, and returns the milliseconds that the page took, its layout included.
CHANGE = """
const [element, value, kind] = arguments;
const started = performance.now();
element.value = value;
element.dispatchEvent(new Event(kind, {bubbles: true}));
document.body.getBoundingClientRect();
document.getElementById("rows").getBoundingClientRect();
return performance.now() - started;
"""


def made_up_dialogues(count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Dialogues as the page holds them, of the length of a small model's: five arms, two policies, up to ten turns."""
    rng = random.Random(seed)
    words = ["".join(rng.choices("abcdefghijklmnoprstuvw", k=rng.randint(2, 9))) for _ in range(5000)]
    dialogues = []
    for number in range(count):
        problem, place = divmod(number, 2 * len(ARMS))
        turns = rng.randint(1, 10)
        solved = turns if rng.random() < 0.6 else 0
        texts = [" ".join(rng.choices(words, k=rng.randint(5, 25))) for _ in range(2 * turns)]
        asks = [rng.random() < 0.2 for _ in range(turns)]
        dialogues.append(
            {
                "problem": f"problem-{problem:05d}", "arm": ARMS[place % 5], "policy": ("base", "trained")[place // 5],
                "suite": ("sums", "words")[problem % 2], "domain": f"domain {problem % 7}", "user": "", "step": 100,
                "solved": solved, "roles": "ts" * turns, "texts": texts,
                "verdicts": "w" * (turns - 1) + ("c" if solved else "w"),
                "labels": [LABELS.index("clarification" if asked else "answer") for asked in asks],
                "leaks": int(rng.random() < 0.02), "dropped": "",
                "private": {"static": f"the answer is {rng.choice(words)}", "by_reply": []},
            }
        )  # fmt: skip
    return dialogues


def write_page(run: RunFiles, target: Path) -> Path:
    """Writes the page of one run; returns its path."""
    with replacing(target) as file:
        file.write(render([run]).encode("utf-8"))
    return target


def find_browser() -> tuple[str, str] | None:
    """The paths of Chromium and of its driver; None where one of them is not installed."""
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    driver = shutil.which("chromedriver")
    return (browser, driver) if browser and driver else None


def open_browser(width: int = 1280, height: int = 900, dark: bool = False) -> Any:
    """Starts headless Chromium with a window of this size; returns selenium's driver, which the caller quits."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    found = find_browser()
    if found is None:
        raise SystemExit(f"no Chromium with its driver: {NEEDS}")
    options = webdriver.ChromeOptions()
    options.binary_location = found[0]
    # Without a sandbox of its own it also starts in containers, where it only reads pages that we wrote.
    for flag in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--no-first-run"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(found[1]))
    look(driver, width, height, dark)
    return driver


def look(driver: Any, width: int, height: int, dark: bool = False) -> None:
    """Sets the size of the window, also below what a real one can have, and whether the reader prefers dark pages."""
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": scheme})


def load(driver: Any, page: Path) -> float:
    """Opens a page from disk; returns milliseconds until its dialogues could be read."""
    from selenium.webdriver.support.ui import WebDriverWait

    driver.get(page.resolve().as_uri())
    return float(WebDriverWait(driver, 120).until(lambda d: d.execute_script(READY)))


def filter_of(driver: Any, label: str) -> Any:
    """The select of the filter with this label."""
    return driver.find_element("xpath", FILTER.format(label))


def measure(driver: Any, page: Path) -> dict[str, float]:
    """Milliseconds of loading, filtering, searching and moving."""
    measured = {"load, ms": load(driver, page)}
    for label in ("Arm", "Policy", "Solved at turn", "Leaked", "Asked", "Domain"):
        found = driver.find_elements("xpath", FILTER.format(label))
        # A page of few dialogues has no filter where all are alike.
        if not found:
            continue
        select = found[0]
        value = select.find_elements("tag name", "option")[1].get_attribute("value")
        measured[f"filter {label.lower()}, ms"] = driver.execute_script(CHANGE, select, value, "change")
        driver.execute_script(CHANGE, select, "", "change")
    search = driver.find_element("id", "search")
    for text in ("a", "problem-0012", "nowhere to be found"):
        measured[f"search {text!r}, ms"] = driver.execute_script(CHANGE, search, text, "input")
    driver.execute_script(CHANGE, search, "", "input")
    jump = "const t = performance.now(); const l = document.getElementById('list'); l.scrollTop = l.scrollHeight * 0.7;"
    jump += "l.dispatchEvent(new Event('scroll')); l.getBoundingClientRect(); return performance.now() - t"
    measured["jump in the list, ms"] = driver.execute_script(jump)
    return measured


def main() -> None:
    """Prints the measures, and writes pictures if they are asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dialogues", type=int, default=20_000)
    parser.add_argument("--page", type=Path, help="a page to measure in place of one that is made up")
    parser.add_argument("--shots", type=Path, help="a folder for pictures of the page")
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        page = flags.page
        if page is None:
            run = RunFiles("made up", dialogues=made_up_dialogues(flags.dialogues))
            page = write_page(run, Path(folder) / "report.html")
        print(f"page, MB: {page.stat().st_size / 1e6:.1f}")
        driver = open_browser()
        try:
            for name, value in measure(driver, page).items():
                print(f"{name}: {value:.0f}")
            for message in driver.get_log("browser"):
                print(f"console: {message['message']}")
            if flags.shots is not None:
                take_pictures(driver, page, flags.shots)
        finally:
            driver.quit()


def take_pictures(driver: Any, page: Path, folder: Path) -> None:
    """Pictures of the page's top and of its reader: light, dark and narrow."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, width, height, dark in (
        ("light", 1280, 900, False),
        ("dark", 1280, 900, True),
        ("narrow", 390, 844, False),
    ):
        look(driver, width, height, dark)
        load(driver, page)
        driver.save_screenshot(str(folder / f"{name}_top.png"))
        driver.execute_script("document.getElementById('dialogues').scrollIntoView()")
        driver.save_screenshot(str(folder / f"{name}_list.png"))
        keys = "const l = document.getElementById('list'); for (const key of arguments[0]) "
        keys += "l.dispatchEvent(new KeyboardEvent('keydown', {key, bubbles: true}))"
        driver.execute_script(keys, ["End", "Enter", "2", "p"])
        driver.save_screenshot(str(folder / f"{name}_reading.png"))


if __name__ == "__main__":
    main()
