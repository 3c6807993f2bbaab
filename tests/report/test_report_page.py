"""The page: what stands in it, that no text of a run becomes more than text, and that it loads nothing."""

import base64
import hashlib
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from report_toys import EVALUATION, HOSTILE, METRICS, Page, entry, record, unpacked, write_run

from sml_jax.report import sections, tables
from sml_jax.report.page import pack, render
from sml_jax.report.run_files import RunFiles, read_runs
from sml_jax.report.svg import visible

ASSETS = Path(sections.__file__).parent / "assets"
# All that a page is made of. What is not here was put in by a text.
TAGS = {
    "a", "article", "bdi", "body", "details", "div", "figure", "form", "h1", "h2", "h3", "head", "header", "html",
    "input", "kbd", "label", "li", "main", "meta", "nav", "noscript", "p", "script", "section", "span", "style",
    "summary", "table", "tbody", "td", "th", "thead", "title", "tr", "ul", "clippath", "defs", "g", "path", "rect",
    "svg", "text", "use",
}  # fmt: skip


def hostile_run() -> RunFiles:
    """A run in which every name and every text wants to be more than text."""
    arms = {name: entry(0.1, 0.4, answer_loglik_at_turn=[-2.0, -1.0]) for name in HOSTILE[:2]}
    dialogue_texts = [{"role": "teacher", "text": HOSTILE[0]}, {"role": "student", "text": "\n".join(HOSTILE)}]
    return RunFiles(
        HOSTILE[1],
        metrics=[{"step": step, "stage": name, "success": 0.5} for step, name in enumerate(HOSTILE)],
        evaluation={HOSTILE[-1]: {name: arms for name in HOSTILE[3:5]}},
        sharded={name: {name: {name: {name: {"P": 1.0, "P_ci95": [0, 2]}}}} for name in HOSTILE[:2]},
        claims={name: {name: name, "ci95": [0.1, 0.2]} for name in HOSTILE},
        dialogues=[page_record(suite=HOSTILE[5], policy=name, turns=dialogue_texts) for name in HOSTILE[:2] * 4],
        notes=list(HOSTILE),
    )


def page_record(**fields):
    from sml_jax.report.dialogue_log import page_dialogue

    return page_dialogue(record(**fields))


@pytest.fixture(scope="module")
def hostile_page() -> Page:
    return Page(render([hostile_run()]))


@pytest.fixture(scope="module")
def two_runs(tmp_path_factory) -> Page:
    folder = tmp_path_factory.mktemp("runs")
    claims = {"claims": [{"claim": "C1", "value": 0.25, "ci95": [0.125, 0.5], "holds": True}]}
    sharded = {"toy": {"base": {"full": {"scripted": {"P": 50.4, "P_ci95": [40.2, 60.6], "A90": 80, "n": 8}}}}}
    full = write_run(
        folder / "one",
        evaluation={**EVALUATION, "sharded_suites": sharded},
        metrics=METRICS,
        dialogues=[record(), record(policy="trained")],
        claims=claims,
    )
    other = write_run(folder / "two", evaluation=EVALUATION, dialogues=[record(problem_id="only here")])
    return Page(render(read_runs([full, other], 10)))


def test_hostile_texts_add_no_element_and_no_attribute(hostile_page):
    assert {tag for tag, _ in hostile_page.elements} <= TAGS
    for tag, attributes in hostile_page.elements:
        assert not any(name.startswith("on") or name in ("style", "src", "action") for name in attributes), attributes
        link = attributes.get("href")
        assert link is None or re.fullmatch(r"#[\w-]+", link), (tag, link)
    assert [attributes.get("id") for tag, attributes in hostile_page.elements if tag == "script"] == [
        "head",
        None,
        None,
    ]


def test_hostile_names_stand_in_the_page_as_text(hostile_page):
    for name in HOSTILE:
        assert visible(name) in hostile_page.text
    assert "\u202e" not in hostile_page.text and "49" not in "".join(re.findall(r"{{.{0,9}", hostile_page.text))
    # Titles of panels are text too, and a dollar sign begins no formula.
    assert visible(HOSTILE[0]) in hostile_page.text


def test_dialogues_come_through_the_page_unchanged(hostile_page):
    expected = [{"run": 0, **dialogue} for dialogue in hostile_run().dialogues]
    assert hostile_page.dialogues() == expected
    assert hostile_page.head()["total"] == len(expected) == 8 and hostile_page.head()["runs"] == [HOSTILE[1]]


@settings(max_examples=100, deadline=None)
@given(st.recursive(st.text() | st.text(st.characters(categories=["Cs", "Cc", "Cf", "Lo"])) | st.integers() | st.none(),
                    lambda values: st.lists(values) | st.dictionaries(st.text(), values), max_leaves=20))  # fmt: skip
def test_any_json_comes_through_its_packing(value):
    packed = pack(value)
    assert re.fullmatch(r"[A-Za-z0-9+/=]+", packed) and unpacked(packed) == value


@settings(max_examples=15, deadline=None)
@given(
    st.lists(st.text(st.characters(categories=["Cs", "Cc", "Cf", "P", "S", "L"]), max_size=20), min_size=1, max_size=5)
)
def test_any_text_stays_text_in_a_page(texts):
    run = RunFiles("run", dialogues=[page_record(problem_id=text, suite="") for text in texts], notes=texts)
    html = render([run])
    html.encode("utf-8")
    page = Page(html)
    assert {tag for tag, _ in page.elements} <= TAGS
    assert [dialogue["problem"] for dialogue in page.dialogues()] == texts


def test_the_policy_allows_the_pages_own_script_and_style_alone(hostile_page):
    (policy,) = [
        attributes["content"]
        for _, attributes in hostile_page.elements
        if attributes.get("http-equiv") == "Content-Security-Policy"
    ]
    script, style = (
        base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        for text in (hostile_page.scripts[-1], hostile_page.styles[0])
    )
    assert policy.split("; ") == [
        "default-src 'none'", f"script-src 'sha256-{script}'", f"style-src 'sha256-{style}'", "base-uri 'none'",
        "form-action 'none'",
    ]  # fmt: skip
    assert len(hostile_page.styles) == 1


def test_the_script_writes_text_nodes_alone_and_asks_for_nothing():
    for path in ASSETS.glob("*.js"):
        text = path.read_text()
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacent|document\.write|DOMParser|setHTML|\beval\b|Function\(|fetch\(|import\(|"
            r"XMLHttpRequest|WebSocket|https?:",
            text,
        ), path.name
    assert "url(" not in (ASSETS / "page.css").read_text()


def test_every_part_that_has_something_to_show_is_there(two_runs):
    parts = {"runs", "success", "sharded", "behaviour", "claims", "training", "dialogues"}
    assert parts <= two_runs.ids() and "likelihood" not in two_runs.ids()
    assert "20 [10, 30]" in two_runs.text and "70 [60, 80]" in two_runs.text  # solved by turn 2
    assert "50 [40, 61]" in two_runs.text and "[0.125, 0.5]" in two_runs.text and "yes" in two_runs.text
    assert "There is no metrics.jsonl" in two_runs.text
    assert [(d["run"], d["problem"]) for d in two_runs.dialogues()] == [(0, "p1"), (0, "p1"), (1, "only here")]


def test_nothing_is_drawn_for_what_a_run_has_not():
    ids = Page(render([RunFiles("run", dialogues=[page_record(suite="")])])).ids()
    assert not ids & {"runs", "success", "sharded", "likelihood", "behaviour", "claims", "training"}
    # A metric that stayed 0 has no panel either.
    (training,) = sections.training_block([RunFiles("run", metrics=METRICS)])
    assert len(training.panels) == 1 and "success" in training.panels[0]


def test_the_likelihood_is_drawn_where_it_was_measured():
    measured = {
        "answer_loglik_at_turn": [-3.0, -2, None], "answer_loglik_ci95": [[-4.0, -2.0], None, None],
        "answer_loglik_change_at_turn": [None, 0.5, None], "answer_loglik_change_ci95": [None, [0, 1.0], None],
    }  # fmt: skip
    evaluation = {
        "with": {"base": {"feedback": entry(0.5, 0.6, 0.6, **measured)}, "trained": {"retry": entry(0.5)}},
        "without": {
            "base": {"feedback": entry(0.5)},
            "trained": {"feedback": entry(0.5, answer_loglik_at_turn=[None])},
        },
    }
    (block,) = sections.likelihood_blocks(RunFiles("run", evaluation=evaluation))
    assert block.title == "with"
    assert ["feedback" in panel and "change" in panel for panel in block.panels] == [False, True]


def test_flips_of_correct_answers_have_a_table():
    flips = {"n": 8, "rate": 0.25, "ci95": [0.1, 0.5], "kept_rate": 0.5, "lost_rate": "many"}
    policies = {"base": {"doubt": entry(0.5, flips=flips), "feedback": entry(0.5), "retry": entry(0.5, flips={})}}
    (table,) = tables.flips_table(policies)
    assert table.rows == [["doubt", "base", "8", "25 [10, 50]", "50", "", ""]]
    assert tables.flips_table({"base": {"feedback": entry(0.5)}}) == []


def test_behaviour_is_counted_by_turn_in_the_first_arm(monkeypatch):
    shown = []
    monkeypatch.setattr(sections, "share_panel", lambda title, labels, shares: shown.append((title, shares)) or "")
    one_turn = {"turns": record()["turns"][:2], "verdicts": record()["verdicts"][:1], "solved_turn": 0}
    dialogues = [page_record(), page_record(**one_turn), page_record(arm="retry"), page_record(dropped="verifier: x")]
    sections.behaviour_blocks(RunFiles("run", dialogues=dialogues))
    ((title, shares),) = shown
    asks, answers = [0.0] * 7, [0.0] * 7
    asks[sections.LABELS.index("clarification")] = answers[sections.LABELS.index("answer")] = 1.0
    assert title == "base, feedback" and shares == [asks, answers]
