"""The report in a real browser: `pytest -m slow tests/report/test_report_in_browser.py`, half a minute.

It is skipped where Chromium, its driver or selenium is not installed.
"""

import sys
from pathlib import Path

import pytest
from report_toys import HOSTILE

pytestmark = pytest.mark.slow
pytest.importorskip(
    "selenium", reason="needs a browser: apt-get install chromium chromium-driver; pip install selenium"
)
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
import report_reader  # noqa: E402

del sys.path[0]
from selenium.webdriver.common.keys import Keys  # noqa: E402

from sml_jax.evaluate.labels import LABELS  # noqa: E402
from sml_jax.report.run_files import RunFiles  # noqa: E402

COUNT = 20_000
# A group of training whose texts want to be more than text, one of it with its tokens.
GROUP = [
    {
        "problem": "hostile <i>problem</i>", "arm": HOSTILE[0], "policy": "student", "suite": "", "domain": HOSTILE[1],
        "user": "", "step": 3, "solved": 0, "roles": "ts" * len(HOSTILE),
        "texts": [text for text in HOSTILE for _ in "ts"], "verdicts": "w" * len(HOSTILE),
        "labels": [LABELS.index("discussion")] * len(HOSTILE), "leaks": 1, "dropped": HOSTILE[2],
        "advantages": [0.5 + member] * len(HOSTILE), "shards_revealed": [1, 2], "injected_turns": [2],
        "private": {"static": HOSTILE[3], "by_reply": HOSTILE[4:]},
        **({} if member else {"token_signals": {
            "text": [*HOSTILE, "\n"], "logprob": [None, -3.0, -0.01, *[-9.0] * 7],
            "policy.weights": [0, 0.1, 0.1, *[0] * 7], "policy.advantage": [1.5] * 10,
        }}),
    }
    for member in range(2)
]  # fmt: skip


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    if report_reader.find_browser() is None:
        pytest.skip(f"needs a browser: {report_reader.NEEDS}")
    dialogues = [*report_reader.made_up_dialogues(COUNT - len(GROUP)), *GROUP]
    run = RunFiles("run", dialogues=dialogues, notes=list(HOSTILE))
    page = report_reader.write_page(run, tmp_path_factory.mktemp("page") / "report.html")
    driver = report_reader.open_browser()
    driver.page = page
    yield driver
    driver.quit()


@pytest.fixture(autouse=True)
def _fresh_page(driver):
    report_reader.look(driver, 1280, 900)
    report_reader.load(driver, driver.page)
    yield
    assert driver.get_log("browser") == []
    assert driver.title == "run: sml-jax report"


def count(driver) -> int:
    return int(driver.find_element("id", "count").text.split(" of ")[0].replace(",", ""))


def press(driver, *keys):
    for key in keys:
        driver.switch_to.active_element.send_keys(key)


def focus(driver) -> str:
    return driver.switch_to.active_element.get_attribute("id")


def search(driver, text):
    box = driver.find_element("id", "search")
    box.clear()
    box.send_keys(text)


def open_hostile(driver):
    search(driver, "hostile <I>prob")
    press(driver, Keys.ARROW_DOWN, Keys.ENTER)


def test_twenty_thousand_dialogues_are_a_few_elements(driver):
    assert count(driver) == COUNT
    for _ in range(3):
        driver.execute_script("document.getElementById('list').scrollTop += 300000")
        assert 5 < len(driver.find_elements("css selector", ".row")) < 60
    driver.execute_script("document.getElementById('list').scrollTop = 1e9")
    last_problem = driver.find_elements("css selector", ".row")[-1].text
    assert "problem" in last_problem


def test_filters_and_search_find_what_is_there(driver):
    dialogues = [*report_reader.made_up_dialogues(COUNT - len(GROUP)), *GROUP]
    expected = {
        ("Arm", "retry"): [d for d in dialogues if d["arm"] == "retry"],
        ("Solved at turn", "3"): [d for d in dialogues if d["solved"] == 3],
        ("Solved at turn", "never"): [d for d in dialogues if not d["solved"]],
        ("Solved at turn", "any turn"): [d for d in dialogues if d["solved"]],
        ("Leaked", "yes"): [d for d in dialogues if d["leaks"]],
        ("Asked", "yes"): [d for d in dialogues if LABELS.index("clarification") in d["labels"]],
        ("Dropped", "yes"): GROUP,
        ("Suite", "(training)"): GROUP,
        ("Domain", "domain 3"): [d for d in dialogues if d["domain"] == "domain 3"],
    }
    for (label, option), wanted in expected.items():
        select = report_reader.filter_of(driver, label)
        (chosen,) = [one for one in select.find_elements("tag name", "option") if one.text == option]
        chosen.click()
        assert count(driver) == len(wanted), (label, option)
        driver.execute_script(report_reader.CHANGE, select, "", "change")
    text = dialogues[777]["texts"][0][5:25]
    search(driver, text.upper())
    assert count(driver) == sum(any(text in said for said in d["texts"]) for d in dialogues) >= 1
    search(driver, "nowhere to be found")
    assert count(driver) == 0 and not driver.find_elements("css selector", ".row")


def test_hostile_texts_are_shown_as_text(driver):
    open_hostile(driver)
    detail = driver.find_element("id", "detail")
    press(driver, "p")
    assert not detail.find_elements("css selector", "script, img, svg, i, b, a")
    said = [one.get_attribute("textContent") for one in detail.find_elements("css selector", ".student .said")]
    shown = {"\u202e": "U+202E", "\u202c": "U+202C", "\u200f": "U+200F", "\u2066": "U+2066", "\u0000": "U+0000",
             "\u001b": "U+001B", "\u0085": "U+0085", "\u2028": "U+2028", "\ud800": "U+D800"}  # fmt: skip
    assert said == ["".join(shown.get(character, character) for character in text) for text in HOSTILE]
    assert HOSTILE[3] in detail.find_element("css selector", ".private").get_attribute("textContent")
    assert len(detail.find_elements("css selector", ".mark")) > 8
    # A turned text stays within its own box.
    assert all(one.get_attribute("dir") == "auto" for one in detail.find_elements("css selector", ".said > bdi"))
    assert HOSTILE[2] in driver.find_element("css selector", ".notes").get_attribute("textContent")


def test_everything_can_be_reached_by_keyboard(driver):
    driver.find_element("tag name", "body").send_keys("/")
    assert focus(driver) == "search"
    press(driver, "problem-0001", Keys.ENTER)
    assert focus(driver) == "list" and count(driver) == 100
    press(driver, "j", Keys.ARROW_DOWN, "k")
    place = driver.find_element("css selector", ".row[aria-selected=true]").get_attribute("aria-posinset")
    assert place == "2"
    press(driver, Keys.END)
    assert driver.find_element("css selector", ".row[aria-selected=true]").get_attribute("aria-posinset") == "100"
    press(driver, Keys.HOME, Keys.ENTER)
    assert focus(driver) == "detail" and len(driver.find_elements("css selector", ".dialogue")) == 1
    press(driver, "2")
    titles = [one.text for one in driver.find_elements("css selector", ".dialogue h4")]
    assert len(titles) == 2 and titles[0].startswith("base") and titles[1].startswith("trained")
    assert not driver.find_elements("css selector", ".private")
    press(driver, "p")
    assert len(driver.find_elements("css selector", ".private")) == 2
    press(driver, "4")
    assert len(driver.find_elements("css selector", ".dialogue")) == 5
    press(driver, Keys.ESCAPE)
    assert focus(driver) == "list"
    # Tab leads through the buttons too, and a button that was pressed keeps the focus.
    press(driver, Keys.ENTER, Keys.TAB, Keys.ENTER)
    assert driver.switch_to.active_element.text == "Alone"


def test_a_group_stands_side_by_side_with_advantages_and_tokens(driver):
    open_hostile(driver)
    press(driver, "3")
    facts = [one.text for one in driver.find_elements("css selector", ".facts")]
    assert ["advantage 0.5" in facts[0], "advantage 1.5" in facts[1]] == [True, True]
    second_turn = driver.find_elements("css selector", ".student .who")[1].text
    assert all(words in second_turn for words in ("\u2717 wrong", "shards told: 2", "question put in", "discussion"))
    press(driver, "t")
    tokens = driver.find_elements("css selector", ".token")
    assert len(tokens) == len(HOSTILE) + 1
    assert [one.get_attribute("class") for one in tokens[:3]] == ["token", "token trained level-3", "token trained"]
    box = driver.find_element("css selector", ".tokens")
    box.send_keys(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    facts = driver.find_element("css selector", ".token-facts").text
    assert "Token 2 of 10" in facts and "logprob -3" in facts and "policy.weights 0.1, policy.advantage 1.5" in facts


def test_a_narrow_window_shows_list_or_dialogue(driver):
    report_reader.look(driver, 390, 800)
    listed, detail = driver.find_element("id", "list"), driver.find_element("id", "detail")
    assert listed.is_displayed() and not detail.is_displayed()
    open_hostile(driver)
    assert detail.is_displayed() and not listed.is_displayed()
    assert driver.execute_script("return document.documentElement.scrollWidth") <= 390
    detail.find_element("css selector", ".back").click()
    assert listed.is_displayed() and focus(driver) == "list"


def test_a_reader_who_prefers_dark_pages_gets_one(driver):
    ground = "return getComputedStyle(document.body).backgroundColor"
    assert driver.execute_script(ground) == "rgb(255, 255, 255)"
    report_reader.look(driver, 1280, 900, dark=True)
    assert driver.execute_script(ground) == "rgb(21, 24, 28)"
