import io

import numpy as np
import pytest
from rich.console import Console

from sml_jax.common.errors import UserError
from sml_jax.dialogue.transcript import Dialogue
from sml_jax.evaluate import closing_markdown, closing_table, compare_dialogues, success_summary
from sml_jax.tasks.problems.types import Turn, Verdict


def judged(
    turns: tuple[Turn, ...], verdicts: tuple[Verdict, ...], solved_turn: int, problem_id: str = "pocket_math/test/17"
) -> Dialogue:
    return Dialogue(problem_id, "feedback", turns, verdicts, solved_turn, ())


def entry(success, n=100):
    return {"success_at_turn": success, "ci95": [[max(0, s - 0.04), min(1, s + 0.05)] for s in success], "n": n}


def text_of(renderable, width=100) -> str:
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(renderable)
    return console.export_text()


RESULTS = {
    "pocket_math": {
        "trained": {"retry": entry([0.07] * 10), "feedback": entry([0.1, 0.2, 0.3, 0.61] + [0.7] * 5 + [0.74])},
        "base": {"retry": entry([0.04] * 10), "feedback": entry([0.04] * 10)},
    },
    "short": {"base": {"made_up": entry([0.5, 1.0], n=7)}},
}


def test_base_stands_above_trained_and_arm_beside_arm():
    lines = text_of(closing_table(RESULTS)).splitlines()
    body = [line.split() for line in lines[3:] if line.strip()]
    assert [words[:2] for words in body] == [
        ["pocket_math"],
        ["feedback", "base"],
        ["trained", "100"],
        ["retry", "base"],
        ["trained", "100"],
        ["short"],
        ["made_up", "base"],
    ]
    values = ["10", "[6-15]", "20", "30", "61", "[57-66]", *["70"] * 5, "74", "[70-79]"]
    assert body[2] == ["trained", "100", *values]
    assert body[-1] == ["made_up", "base", "7", "50", "[46-55]", "100", "[96-100]"]


def test_the_widest_numbers_fit_a_hundred_columns():
    full = success_summary(np.ones(1000, int), 10)
    arms = {arm: full for arm in ("feedback", "retry", "self", "uninformed", "shuffled")}
    lines = text_of(closing_table({"pocket_math_underspecified": {"base": arms, "trained": arms}})).splitlines()
    assert max(map(len, lines)) <= 100
    assert not any("…" in line for line in lines)
    assert sum(line.count("100") for line in lines) == 10 * (10 + 3 + 1)  # ten turns, three intervals, n
    assert len([line for line in lines if line.strip()]) == 3 + 1 + 10  # no cell wraps


def test_more_turns_than_ten_show_ten():
    assert "| 10 |\n" in closing_markdown({"s": {"base": {"feedback": entry([0.5] * 12)}}})


def test_markdown_by_hand():
    assert closing_markdown({"a|b": {"base": {"retry": entry([0.1234, 0.2, 0.3], n=9)}}}) == (
        "| suite | arm | policy | n | 1 | 2 | 3 |\n"
        "| --- | --- | --- | ---: | ---: | ---: | ---: |\n"
        "| a\\|b | retry | base | 9 | 12.3 [8.3-17.4] | 20.0 | 30.0 [26.0-35.0] |\n"
    )


def test_what_is_missing_shows_as_a_dash_or_nothing():
    last = closing_markdown({"s": {"trained": {"feedback": {"success_at_turn": [None, 0.5]}}}}).splitlines()[-1]
    assert last == "| s | feedback | trained |  | - | 50.0 |"


@pytest.mark.parametrize("results", [{}, {"s": {}}, {"s": {"base": {}}}])
def test_no_results(results):
    for table in (closing_table, closing_markdown):
        with pytest.raises(UserError, match="no results"):
            table(results)


QUESTION = Turn("teacher", "what is the code?")
BASE = judged(
    (QUESTION, Turn("student", "4 1 2"), Turn("teacher", "part 1 is too low"), Turn("student", "4 1 [red]2\x1b[2J")),
    (Verdict(False, True), Verdict(False, True)),
    0,
)
TRAINED = judged((QUESTION, Turn("student", "what is part 1?"), Turn("teacher", "it is 6"), Turn("student", "6 1 2")),
                 (Verdict(False, False), Verdict(True, True)), 2)  # fmt: skip


def test_dialogues_stand_side_by_side():
    text = text_of(compare_dialogues(BASE, TRAINED))
    lines = text.splitlines()
    assert text.count("what is the code?") == 1
    assert any("base (feedback): not solved in 2 turns" in line and "solved at turn 2" in line for line in lines)
    assert any(
        "student 1 (wrong): 4 1 2" in line and "student 1 (no answer): what is part 1?" in line for line in lines
    )
    assert any("teacher: part 1 is too low" in line and "teacher: it is 6" in line for line in lines)
    # Nothing that a model utters steers the terminal or is read as markup.
    assert any("4 1 [red]2\\x1b[2J" in line and "student 2 (correct): 6 1 2" in line for line in lines)


def test_dialogues_of_different_length():
    shorter = judged(BASE.turns[:2], (Verdict(True, True),), 1)
    assert "student 2 (correct): 6 1 2" in text_of(compare_dialogues(shorter, TRAINED))


def test_dialogues_on_different_problems():
    with pytest.raises(UserError, match="same problem"):
        compare_dialogues(BASE, judged(TRAINED.turns, TRAINED.verdicts, 2, problem_id="other"))
