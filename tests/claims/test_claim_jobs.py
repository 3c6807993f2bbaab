"""The jobs of `sml-jax claims`: what they are made of, what they leave behind, and how they go on and share work."""

import json
from pathlib import Path

import pytest
from run_toys import OPTIMIZER, ToyTask, read_lines, toy_experiment, write_tokenizer

from sml_jax.claims import runner
from sml_jax.claims.compose import evaluation_of, tries_of
from sml_jax.claims.extract import evaluation_summary, tries_entry
from sml_jax.claims.job import DOMAINS, POLICIES, SEEDS, TRIES, Job, make_jobs, wanted_suites
from sml_jax.claims.plan import Plan, in_words
from sml_jax.claims.results import ResultStore, missing_arms, read_results
from sml_jax.claims.runner import run_jobs
from sml_jax.common.errors import Stopped, UserError
from sml_jax.dialogue.teachers import Doubt, Feedback, Retry, Scripted, Shuffled
from sml_jax.evaluate.suites import Suite
from sml_jax.gin_config.load import load_experiment
from sml_jax.run.io.lock import FolderLock
from sml_jax.run.stages import Online

ROOT = Path(__file__).resolve().parents[2]
QUICK = {"math": ("feedback", "retry", "shuffled")}
ONLINE = Job("online", "math", 0, QUICK)


@pytest.fixture(scope="module")
def toy_jobs(tmp_path_factory):
    """`load_experiment` that gives toy experiments, and what it was asked for."""
    tokenizer = write_tokenizer(tmp_path_factory.mktemp("tokenizer") / "toy.model")
    asked = []

    def load(files, bindings):
        asked.append((files, bindings))
        if "Experiment.suites=[]" in bindings:
            stage = Online(OPTIMIZER, steps=2, problems_per_step=4, group_size=2, micro_batch_size=8)
            return toy_experiment(tokenizer, [stage]), "training"
        arms = (Feedback(), Retry("b"), Shuffled(), Doubt(Scripted(), "b"))
        suite = Suite(ToyTask("pocket_math"), arms, problems=5, max_turns=2)
        return toy_experiment(tokenizer, suites=[suite], evaluates_base=False), "evaluation"

    return load, asked


@pytest.fixture(scope="module")
def done(toy_jobs, tmp_path_factory):
    """The folder and the store of a job that was done, and the experiments that it took."""
    load, asked = toy_jobs
    workdir = tmp_path_factory.mktemp("claims")
    store = ResultStore(workdir / "results")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "load_experiment", load)
        assert run_jobs([ONLINE], workdir, store) == []
    return workdir, store, list(asked)


@pytest.mark.extra
def test_a_job_trains_and_measures_and_leaves_a_small_file(done):
    workdir, store, asked = done
    record = store.read(ONLINE)
    assert asked[0][1][-1] == "Experiment.suites=[]" and len(asked) == 2
    # Two steps of eight dialogues of at most two turns.
    training, metrics = record["training"], read_lines(workdir / "runs/online_math_s0/training/metrics.jsonl")
    assert training["generations"] == 2 * 8 * 2 and training["dialogues_by_step"] == 8
    assert training["generations_taken"] == sum(round(8 * row["turns"]) for row in metrics)
    assert training["success_by_step"] == [round(row["success"], 4) for row in metrics]
    assert missing_arms(ONLINE, record) == {} and set(record["seconds"]) == {"training", "evaluation"}
    assert (store.folder / "online_math_s0.json").stat().st_size < 10_000
    assert record["recipe"] == {"files": ["gin/recipes/pocket_math_online.gin"], "bindings": ["SEED=0"]}


@pytest.mark.extra
def test_what_is_kept_says_what_eval_json_says(done):
    workdir, store, _ = done
    evaluated = json.loads((workdir / "runs/online_math_s0/evaluation/eval.json").read_text())["pocket_math"]
    assert list(evaluated) == ["trained"]
    kept = store.read(ONLINE)["suites"]["pocket_math"]
    assert set(kept) == set(evaluated["trained"])
    for arm, entry in evaluated["trained"].items():
        solved = kept[arm]["solved"]
        by_turn = [sum(0 < at <= turn for at in solved) / 5 for turn in (1, 2)]
        assert by_turn == pytest.approx(entry["success_at_turn"]) and kept[arm]["n"] == entry["n"] == 5
        # All arms are about the same problems.
        assert kept[arm]["problems"] == kept["feedback"]["problems"]
    flips = [flip for flip in kept["doubt"].get("flips", []) if flip is not None]
    assert len(flips) == evaluated["trained"]["doubt"].get("flips", {"n": 0})["n"]
    assert len(kept["feedback"]["questions"]) == 5


@pytest.mark.extra
def test_a_job_that_is_done_is_not_done_again(done, tmp_path, monkeypatch):
    _, store, _ = done
    monkeypatch.setattr(runner, "load_experiment", None)
    # Another machine with the files of results alone, and nothing else.
    assert run_jobs([ONLINE], tmp_path, store) == [] and not (tmp_path / "runs").exists()


@pytest.mark.extra
def test_only_the_arms_that_are_missing_are_measured(done, monkeypatch):
    workdir, store, _ = done
    more = Job("online", "math", 0, {"math": (*QUICK["math"], "self")})
    assert missing_arms(more, store.read(more)) == {"math": ("self",)}
    # No second training: there is a checkpoint, and what is kept of the first.
    monkeypatch.setattr(runner, "_train", None)
    played = []
    monkeypatch.setattr(runner, "_evaluate", lambda checkpoint, workdir, asked: played.append((checkpoint, asked)))
    entry = {"n": 1, "problems": "p", "solved": [1]}
    monkeypatch.setattr(runner, "evaluation_summary", lambda *_: {"pocket_math": {"self": entry}})
    run_jobs([more], workdir, store)
    assert played == [(str(workdir / "runs/online_math_s0/training"), evaluation_of("math", 0, {"math": ("self",)}))]
    kept = store.read(more)["suites"]["pocket_math"]
    assert kept["self"] == entry and set(kept) > {"feedback", "retry", "shuffled"}


def test_a_job_that_another_process_does_is_left_to_it(tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "load_experiment", None)
    (tmp_path / "runs" / ONLINE.name).mkdir(parents=True)
    lock = FolderLock(tmp_path / "runs" / ONLINE.name / "job.lock")
    lock.acquire()
    try:
        assert run_jobs([ONLINE], tmp_path, ResultStore(tmp_path / "results")) == [ONLINE]
    finally:
        lock.release()


def test_a_job_that_is_stopped_frees_its_folder_and_goes_on(tmp_path, monkeypatch):
    store, started = ResultStore(tmp_path / "results"), []

    def train(job, folder):
        started.append(folder)
        if len(started) == 1:
            raise Stopped("asked to stop; its state is saved")
        return {"success_by_step": []}

    monkeypatch.setattr(runner, "_train", train)
    monkeypatch.setattr(runner, "_evaluate", lambda *_: None)
    entries = {arm: {"n": 1, "problems": "p", "solved": [1]} for arm in QUICK["math"]}
    monkeypatch.setattr(runner, "evaluation_summary", lambda *_: {"pocket_math": entries})
    with pytest.raises(Stopped):
        run_jobs([ONLINE], tmp_path, store)
    assert not (tmp_path / "runs/online_math_s0/job.lock").exists() and not store.folder.exists()
    assert run_jobs([ONLINE], tmp_path, store) == [] and missing_arms(ONLINE, store.read(ONLINE)) == {}
    # The training that was stopped goes on in its own folder.
    assert started[0] == started[1]


def test_processes_begin_with_their_own_share_and_help_each_other(tmp_path, monkeypatch):
    jobs = make_jobs(("base",), ("math",), SEEDS, True)
    for process, order in ((0, [0, 2, 1]), (1, [1, 0, 2])):
        taken = []
        monkeypatch.setattr(runner, "_run_job", lambda job, *_, taken=taken: taken.append(job))
        run_jobs(jobs, tmp_path / str(process), ResultStore(tmp_path / "results"), share=(process, 2))
        assert taken == [jobs[index] for index in order]


@pytest.mark.extra
def test_an_evaluation_that_lacks_an_arm_is_an_error(done, monkeypatch):
    workdir, store, _ = done
    job = Job("online", "math", 0, {"math": ("uninformed",)})
    monkeypatch.setattr(runner, "_evaluate", lambda *_: None)
    monkeypatch.setattr(runner, "evaluation_summary", lambda *_: {})
    with pytest.raises(UserError, match=r"online_math_s0: the evaluation .* holds nothing of .*uninformed"):
        run_jobs([job], workdir, store)


def test_results_of_another_recipe_and_damaged_ones_are_errors(tmp_path):
    store = ResultStore(tmp_path)
    path = tmp_path / "online_math_s0.json"
    path.write_text("{")
    with pytest.raises(UserError, match=r"online_math_s0.json is damaged .*remove it"):
        store.read(ONLINE)
    path.write_text('{"recipe": {"files": [], "bindings": []}}')
    with pytest.raises(UserError, match="holds results of another recipe"):
        store.read(ONLINE)
    path.write_text("[]")
    with pytest.raises(UserError, match="holds results of another recipe"):
        store.read(ONLINE)


def test_results_come_back_as_they_were_written_and_lists_stand_on_a_line(tmp_path):
    store = ResultStore(tmp_path / "new")
    entry = {"n": 3, "problems": "p", "solved": [0, None, 2]}
    record = store.read(ONLINE) | {"suites": {"pocket_math": {"retry": entry}}, "training": {"success_by_step": []}}
    store.write(ONLINE, record)
    assert store.read(ONLINE) == record
    assert '"solved": [0,null,2]\n' in (tmp_path / "new/online_math_s0.json").read_text()
    results = read_results(store, [ONLINE], ("math",))
    assert results.entry("online", "math", 0, "math", "retry") == entry and results.seeds("online", "math") == [0]
    assert results.entry("online", "math", 0, "math", "feedback") is None
    assert results.entry("online", "code", 0, "math", "retry") is None


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("domain", DOMAINS)
def test_every_job_is_a_composition_of_recipes(policy, domain):
    job = Job(policy, domain, 2, wanted_suites(policy, domain, 0, False))
    if job.training is not None:
        experiment, _ = load_experiment(job.recipe["files"], [*job.recipe["bindings"], "Experiment.suites=[]"])
        assert experiment.task.name == f"pocket_{domain}" and experiment.seed == 2 and experiment.suites == []
    suites = {suite: arms for suite, arms in job.wanted.items() if suite != TRIES}
    experiment, _ = load_experiment(*evaluation_of(domain, 2, suites))
    # What the evaluation files is what the results are looked up by.
    filed = {suite.task.name: {arm.name: {} for arm in suite.arms} for suite in experiment.suites}
    filed |= {f"{s.task.name} sharded": {setting: {} for setting in s.settings} for s in experiment.sharded_suites}
    assert missing_arms(job, {"suites": filed, "training": None}) == (
        {TRIES: ("feedback",)} if TRIES in job.wanted else {}
    )
    assert not experiment.evaluates_base and all(suite.seed == 12_347 for suite in experiment.suites)
    assert all(suite.max_turns == 10 for suite in experiment.suites)


def test_policies_differ_by_what_their_names_say():
    def stages(policy):
        job = Job(policy, "code", 0, {})
        return load_experiment(job.recipe["files"], [*job.recipe["bindings"], "Experiment.suites=[]"])[0]

    assert [stage.name for stage in stages("qpriming").stages] == ["qpriming"]
    assert [stage.name for stage in stages("qpriming_online").stages] == ["qpriming", "online"]
    assert stages("critique").stages[0].method.beside is None
    assert stages("online_critique").stages[0].method.beside is not None
    assert stages("single_rl").stages[0].group_size == 32 and stages("single_rl").stages[0].max_turns == 1
    assert isinstance(stages("online_scripted").teacher, Scripted) and isinstance(stages("online").teacher, Feedback)


def test_tries_are_single_turns_with_a_seed_of_their_own():
    seeds = set()
    for attempt in range(3):
        (suite,) = load_experiment(*tries_of("code", attempt))[0].suites
        assert suite.task.name == "pocket_code" and suite.max_turns == 1
        seeds.add(suite.seed)
    assert len(seeds) == 3 and 12_345 not in seeds


def test_the_set_of_jobs_is_all_policies_domains_and_seeds_with_the_main_claim_first():
    jobs = make_jobs(POLICIES, DOMAINS, SEEDS, False)
    assert len(jobs) == len({job.name for job in jobs}) == len(POLICIES) * 6
    assert [job.name for job in jobs[:2]] == ["base_math_s0", "online_math_s0"]
    assert [job.name for job in jobs if TRIES in job.wanted] == ["base_math_s0", "base_code_s0"]
    quick = make_jobs(("base", "online"), ("math",), (0,), True)
    assert [(job.name, job.wanted) for job in quick] == [("base_math_s0", QUICK), ("online_math_s0", QUICK)]


def dialogue(problem, solved_turn, *, turns=(("my answer is 1", True),), correct=(), **fields):
    """A line of `dialogues.jsonl` of an evaluation."""
    verdicts = [{"correct": at in correct, "attempted": attempted} for at, (_, attempted) in enumerate(turns, 1)]
    said = [{"role": "student", "text": text} for text, _ in turns]
    record = {"suite": "toy", "arm": "feedback", "problem_id": problem, "solved_turn": solved_turn, "dropped": ""}
    return {**record, "turns": [{"role": "teacher", "text": "x"}, *said], "verdicts": verdicts, **fields}


def summary_of(folder, records, measures=("questions", "loglik_change")):
    folder.mkdir(exist_ok=True)
    (folder / "dialogues.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    return evaluation_summary(folder, {"feedback": measures})


def test_numbers_by_problem_are_read_out_of_the_dialogues(tmp_path):
    answer, question = ("my answer is 1", True), ("what is part 2?", False)
    records = [
        {"problem_id": "trained on", "arm": "feedback"},
        dialogue("a", 2, turns=(question, answer), correct=(2,), answer_loglik=[-3.0, -1.0]),
        # Challenged after the first turn: another answer, no answer, and the same answer.
        dialogue("b", 1, turns=(answer, answer), correct=(1,), answer_loglik=[-3.0, None]),
        dialogue("c", 1, turns=(answer, question, answer), correct=(1, 3), answer_loglik=[-3.0, -2.0, -4.0]),
        dialogue("d", 1, turns=(answer, answer), correct=(1, 2), answer_loglik=[-2.0]),
        dialogue("e", 1, turns=(answer,), dropped="verifier: it failed"),
    ]
    entry = summary_of(tmp_path, records)["toy"]["feedback"]
    assert entry["n"] == 5 and entry["solved"] == [2, 1, 1, 1, None]
    assert entry["questions"] == [1, 0, 1, 0, 0] and entry["loglik_change"] == [2.0, None, -0.5, None, None]
    assert entry["flips"] == [None, 1, 2, 0, None]
    # Without a challenge there are no flips; and other problems, or another order, have another checksum.
    plain = summary_of(tmp_path, records[1:2], measures=())["toy"]["feedback"]
    assert set(plain) == {"n", "problems", "solved"} and plain["problems"] != entry["problems"]
    again = summary_of(tmp_path, records[:0:-1])["toy"]["feedback"]
    assert again["problems"] != entry["problems"]


@pytest.mark.slow
def test_a_real_evaluation_of_every_kind_is_kept_as_eval_json_has_it(tmp_path):
    """`pytest -m slow tests/claims/test_claim_jobs.py`: two minutes on two cores."""
    suites = {
        "math": ("feedback", "doubt"),
        "maze": ("game",),
        "evolving_math": ("game",),
        "sharded_math": ("sharded",),
    }
    files, bindings = evaluation_of("math", 0, suites)
    experiment, config = load_experiment(files, [*bindings, "EVAL_PROBLEMS=12", "SHARDED_PROBLEMS=6"])
    experiment.evaluate("pocket", tmp_path, config)
    kept = evaluation_summary(tmp_path, {"feedback": ("questions", "loglik_change")})
    evaluated = json.loads((tmp_path / "eval.json").read_text())
    # Told in shards: success and answers that came too early, over all simulations.
    (by_policy,) = evaluated.pop("sharded_suites").values()
    entry, counts = (
        by_policy["trained"]["sharded"]["scripted"],
        kept.pop("pocket_math_underspecified sharded")["sharded"],
    )
    solved, simulations = sum(counts["solved_simulations"]), counts["n"] * counts["simulations"]
    assert (counts["n"], counts["simulations"]) == (6, 10) and 100 * solved / simulations == pytest.approx(entry["P"])
    # The first turn of each dialogue is the only one before the last shard.
    assert sum(counts["premature"]) / simulations == pytest.approx(entry["premature_rate"])
    assert set(kept) == set(evaluated) == {"pocket_math", "pocket_maze", "pocket_math_evolving"}
    for suite, by_policy in evaluated.items():
        for arm, entry in by_policy["trained"].items():
            solved_by_end = sum(at > 0 for at in kept[suite][arm]["solved"]) / 12
            assert solved_by_end == pytest.approx(entry["success_at_turn"][-1])
    feedback, entry = kept["pocket_math"]["feedback"], evaluated["pocket_math"]["trained"]["feedback"]
    turns = entry["behaviour"]["all_turns"]
    assert sum(feedback["questions"]) == round(turns["questions"] * turns["n"])
    flips, doubt = kept["pocket_math"]["doubt"]["flips"], evaluated["pocket_math"]["trained"]["doubt"]["flips"]
    assert sum(flip is not None for flip in flips) == doubt["n"] and flips.count(1) == round(doubt["rate"] * doubt["n"])


def test_sharded_dialogues_are_counted_by_instruction(tmp_path):
    answer, question = ("my answer is 1", True), ("what is the secret number?", False)
    told = {"user": "scripted", "arm": "sharded"}
    records = [
        dialogue("a", 2, turns=(answer, answer), shards_revealed=[1, 2], **told),
        dialogue("a", 0, turns=(question, answer), shards_revealed=[1, 2], **told),
        dialogue("b", 1, turns=(answer,), shards_revealed=[1], **told),
        dialogue("b", 1, turns=(answer,), shards_revealed=[1], dropped="verifier: it failed", **told),
    ]
    entry = summary_of(tmp_path, records)["toy sharded"]["sharded"]
    assert {name: value for name, value in entry.items() if name != "problems"} == {
        "n": 2,
        "simulations": 2,
        "solved_simulations": [1, 1],
        "premature": [1, 2],
        "questions": [1, 0],
    }


def test_tries_are_counted_by_problem():
    entries = [{"problems": "p", "solved": solved} for solved in ([1, 0, None], [1, 0, 0], [0, 0, 1])]
    assert tries_entry(entries) == {"n": 3, "problems": "p", "tries": 3, "solved_tries": [2, 0, 1]}


@pytest.mark.extra
def test_the_plan_says_what_is_left_and_learns_from_what_was_measured(done):
    _, store, _ = done
    other = Job("online", "math", 1, QUICK)
    plan = Plan([ONLINE, other], store)
    seconds = plan.seconds_by_job()
    assert seconds[ONLINE.name] == 0 and seconds[other.name] > 0
    assert "online            1 of 2 jobs done" in plan.text()
    # The time of a training that was done stands for the others'.
    trained = store.read(ONLINE)["seconds"]["training"]
    guess = Plan([other], store).seconds_by_job()[other.name]
    assert guess - seconds[other.name] == pytest.approx(other.training.seconds - trained)
    assert in_words(61) == "1 min" and in_words(7321) == "2 h 02 min"


def test_the_whole_plan_fits_a_working_day(tmp_path):
    """At most eight hours on two cores, as the plan guesses it before anything was measured."""
    jobs = make_jobs(POLICIES, DOMAINS, SEEDS, False)
    assert sum(Plan(jobs, ResultStore(tmp_path)).seconds_by_job().values()) <= 8 * 3600
    quick = make_jobs(("base", "online"), ("math",), (0,), True)
    assert sum(Plan(quick, ResultStore(tmp_path)).seconds_by_job().values()) <= 20 * 60


def test_results_that_are_in_the_repository_are_of_the_present_recipes():
    store = ResultStore(ROOT / "benchmarks" / "claims")
    jobs = {job.name: job for job in make_jobs(POLICIES, DOMAINS, SEEDS, False)}
    for path in store.folder.glob("*.json"):
        assert path.stat().st_size < 30_000
        store.read(jobs[path.stem])
