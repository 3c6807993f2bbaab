"""The evaluation of a run: every suite, policy and arm played, written to the run's folder and printed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from rich.console import Console

from sml_jax.common.errors import UserError
from sml_jax.dialogue.drops import not_dropped
from sml_jax.dialogue.framing import Framing, MessageFraming
from sml_jax.dialogue.records import dialogue_record
from sml_jax.dialogue.rules import DialogueRules
from sml_jax.dialogue.transcript import Dialogue
from sml_jax.engine.engine import Engine
from sml_jax.engine.sampling import Sampling
from sml_jax.evaluate.labels import Labeller
from sml_jax.evaluate.language_labeller import ANSWER_TOKENS, LanguageLabeller, labelling_length
from sml_jax.evaluate.sharded import SHARDED_KEY, ShardedSuite, evaluate_sharded
from sml_jax.evaluate.sharded_table import sharded_table
from sml_jax.evaluate.suites import Suite, check_problems, check_suites, evaluate_arm, validation_suite
from sml_jax.evaluate.tables import closing_table, compare_dialogues
from sml_jax.run.best_model import BestModel
from sml_jax.run.chats import Chat, FamilyChat
from sml_jax.run.context import RunContext
from sml_jax.run.health import AlertThresholds
from sml_jax.run.io.display import Progress, printable
from sml_jax.run.validation import SuitePlayer, Validation


@dataclass(frozen=True)
class Evaluation:
    """The suites of a run's evaluation, and how their dialogues are written. Its methods change nothing of the run.

    Attributes:
      suites, sharded_suites: played in this order.
      chat: makes the framing of each suite.
      rules: of the run's training dialogues; suites change what they need to.
      model_labels: whether the initial model labels the student's turns; fixed rules do if False.
      samples_shown: for how many problems the dialogues of base and trained model are printed side by side.
      alerts: thresholds on the `rates` of each arm, of which a line warns.
    """

    suites: Sequence[Suite]
    sharded_suites: Sequence[ShardedSuite]
    chat: Chat
    rules: DialogueRules
    model_labels: bool = False
    samples_shown: int = 3
    alerts: AlertThresholds = AlertThresholds()

    def check(self, context: RunContext) -> None:
        """Makes every engine that `run` will need, so that a suite that does not fit is an error before work begins.

        Args:
          context: of the run.

        Raises:
          UserError: a suite's settings cannot work, or its dialogues do not fit the model.
        """
        check_suites(self.suites)
        for suite in self.suites:
            self._suite_engine(context, suite)
        # Results are filed under the task's name, which two suites would share.
        task_names = [suite.task.name for suite in self.sharded_suites]
        for sharded_suite in self.sharded_suites:
            if task_names.count(sharded_suite.task.name) > 1:
                raise UserError(
                    f"two sharded suites are of the task {sharded_suite.task.name}: give each a task of its own"
                )
            for user in dict.fromkeys(user for _, user in sharded_suite.arms()):
                self._sharded_engine(context, sharded_suite, user)
        self._labeller(context)

    def while_training(self, context: RunContext, suite: Suite | None, every: int | None) -> Validation | None:
        """Makes the evaluation of the student while it is trained.

        Args:
          context: of the run; its stages have made their engines.
          suite: None for a small one that is made of the first suite.
          every: steps between evaluations; None for none.

        Returns:
          What plays it; None for none, which is printed if `every` asks for one.

        Raises:
          UserError: the suite has no problems, or its dialogues do not fit the model.
        """
        if every is None:
            return None
        if suite is None and self.suites:
            suite = validation_suite(self.suites[0], self.rules.max_turns)
        if suite is None:
            reason = "people alone play in its first suite" if self.suites else "it has no suites"
            print(f"the run is not evaluated while it trains, since {reason}: Experiment.validation gives it a suite")
            return None
        check_problems(suite)
        framing, rules = self.chat.framing(suite.prompts), suite.rules(self.rules)
        engine = context.compiled_engine(suite.task, rules, suite.split, framing)
        player = SuitePlayer(suite, self.rules, framing, engine, context.initial, context.store)
        folder = context.bookkeeper.folder
        best_model = BestModel(folder, context.model.config, self.chat.write_texts)
        return Validation(player, every, folder, best_model, self.alerts)

    def run(self, context: RunContext, policies: Mapping[str, dict]) -> None:
        """Plays every suite with each policy; writes `eval.json` and `dialogues.jsonl`; prints tables and samples.

        Args:
          context: of the run.
          policies: parameters by name; the names are "base", which may be left out, and "trained".

        Raises:
          Stopped: the run was asked to stop. The evaluation starts from its beginning when the run is started again.
          UserError: every dialogue of a suite was dropped.
        """
        # An evaluation that was stopped has left dialogues in the log.
        context.bookkeeper.folder.forget_evaluation()
        console, labeller = Console(), self._labeller(context)
        # Tables keep their columns where the output is no terminal, or a narrow one.
        wide_console = Console(width=max(100, console.width))
        results: dict[str, Any] = {}
        if self.suites:
            results, shown_dialogues = self._play_suites(context, policies, labeller)
            context.bookkeeper.folder.write_eval(results)
            # Samples: dialogues about the same problem, of which neither was dropped. One policy has nothing beside it.
            pairs = zip(shown_dialogues.get("base", ()), shown_dialogues["trained"], strict="base" in policies)
            undropped_pairs = [pair for pair in pairs if len(not_dropped(pair)) == 2]
            for base_dialogue, trained_dialogue in undropped_pairs[: self.samples_shown]:
                wide_console.print(compare_dialogues(base_dialogue, trained_dialogue))
            wide_console.print(closing_table(results))
        if self.sharded_suites:
            sharded_results = self._play_sharded(context, policies, labeller)
            context.bookkeeper.folder.write_eval({**results, SHARDED_KEY: sharded_results})
            wide_console.print(sharded_table(sharded_results))
        console.print(f"results: {context.bookkeeper.folder.eval_path}", soft_wrap=True)

    def _play_suites(
        self, context: RunContext, policies: Mapping[str, dict], labeller: Labeller | None
    ) -> tuple[dict[str, Any], dict[str, tuple[Dialogue, ...]]]:
        """Plays the suites.

        Returns:
          Entries of `eval.json` by suite, policy and arm; and, to be shown, the dialogues of the first suite's first
          arm, by policy.
        """
        results: dict[str, Any] = {}
        shown_dialogues: dict[str, tuple[Dialogue, ...]] = {}
        # Progress counts dialogues over all combinations.
        combinations = [(suite, policy, arm) for suite in self.suites for policy in policies for arm in suite.arms]
        dialogue_count = sum(len(suite.chosen_problems()) for suite, _, _ in combinations)
        dialogues_done = 0
        with Progress("evaluation", dialogue_count) as progress:
            for suite, policy, arm in combinations:
                name = suite.task.name
                framing, engine = self._suite_engine(context, suite)
                entry, dialogues = evaluate_arm(
                    suite,
                    arm,
                    framing,
                    engine,
                    policies[policy],
                    context.initial,
                    self.rules,
                    partial(_report, context, progress, dialogues_done, f"{name} {arm.name} {policy}"),
                    labeller,
                    context.store,
                )
                # The entry is written at the end, with all others; dialogues are logged at once.
                dialogues_done += len(dialogues)
                results.setdefault(name, {}).setdefault(policy, {})[arm.name] = entry
                self._warn(f"{name} {arm.name} {policy}", entry)
                context.bookkeeper.folder.append_dialogues(
                    {**dialogue_record(d, context.bookkeeper.position.total, policy), "suite": name} for d in dialogues
                )
                if suite is self.suites[0] and arm is suite.arms[0]:
                    shown_dialogues[policy] = dialogues
        return results, shown_dialogues

    def _play_sharded(
        self, context: RunContext, policies: Mapping[str, dict], labeller: Labeller | None
    ) -> dict[str, Any]:
        """Plays the sharded suites; returns entries of `eval.json` by suite, policy, setting and user."""
        results: dict[str, Any] = {}
        # A setting says how much of a problem is told at once, and a user who tells it.
        combinations = [
            (suite, policy, *arm) for suite in self.sharded_suites for policy in policies for arm in suite.arms()
        ]
        dialogue_count = sum(
            len(suite.view("sharded").problems(suite.split)) * suite.simulations for suite, *_ in combinations
        )
        dialogues_done = 0
        with Progress("sharded evaluation", dialogue_count) as progress:
            for suite, policy, setting, user in combinations:
                name = suite.task.name
                framing, rules, engine = self._sharded_engine(context, suite, user)
                entry, dialogues, revealed_by_dialogue = evaluate_sharded(
                    suite,
                    setting,
                    user,
                    framing,
                    engine,
                    policies[policy],
                    suite.teacher(setting, user, engine, context.initial),
                    rules,
                    partial(_report, context, progress, dialogues_done, f"{name} {setting} {user} {policy}"),
                    labeller,
                )
                dialogues_done += len(dialogues)
                results.setdefault(name, {}).setdefault(policy, {}).setdefault(setting, {})[user] = entry
                self._warn(f"{name} {setting} {user} {policy}", entry)
                context.bookkeeper.folder.append_dialogues(
                    {
                        **dialogue_record(dialogue, context.bookkeeper.position.total, policy),
                        "suite": name,
                        "user": user,
                        "shards_revealed": revealed_by_turn,
                        "shard_order": dialogue.revealed,
                    }
                    for dialogue, revealed_by_turn in zip(dialogues, revealed_by_dialogue, strict=True)
                )
        return results

    def _warn(self, label: str, entry: Mapping[str, Any]) -> None:
        """Prints a line for each of an arm's rates that is beyond its threshold.

        Args:
          label: names the arm.
          entry: of `eval.json`.
        """
        # Without it an arm whose every reply was replaced would look like feedback that does not help.
        for warning in self.alerts.warnings(entry["rates"]).values():
            print(printable(f"warning: evaluation, {label}: {warning}"), flush=True)

    def _suite_engine(self, context: RunContext, suite: Suite) -> tuple[Framing, Engine]:
        """The framing of a suite's contexts, and an engine with room for them."""
        framing = self.chat.framing(suite.prompts)
        return framing, context.engine(suite.task, suite.rules(self.rules), suite.split, framing)

    def _sharded_engine(
        self, context: RunContext, suite: ShardedSuite, user: str
    ) -> tuple[Framing, DialogueRules, Engine]:
        """How a sharded suite's contexts are written, its rules, and an engine with room for all its settings.

        Raises:
          UserError: the suite's user is a language model, and the run's format has no place for its prompt.
        """
        if user != "language":
            framing = self.chat.framing(suite.prompts)
        elif isinstance(self.chat, FamilyChat):
            framing = self.chat.framing(suite.prompts_with(suite.prompts or self.chat.prompts))
        else:
            raise UserError(
                "a language-model user is for chat models: bind Experiment.chat to a FamilyChat, or set the sharded "
                "suite's users to ('scripted',)"
            )
        rules = suite.rules(self.rules, user, framing)
        return framing, rules, context.engine(suite.view(), rules, suite.split, framing)

    def _labeller(self, context: RunContext) -> Labeller | None:
        """The initial model as labeller; None for fixed rules."""
        if not self.model_labels:
            return None
        if not isinstance(context.framing, MessageFraming):
            raise UserError("model_labels is for chat models: bind Experiment.chat to a FamilyChat, or set it to False")
        # Labels are the most likely answer, so they do not depend on the seed.
        messages, utterance_tokens = context.framing.messages, self.rules.student_tokens
        engine = context.engine_of(
            labelling_length(messages, utterance_tokens), ANSWER_TOKENS, Sampling(temperature=0.0)
        )
        return LanguageLabeller(engine, context.initial, messages, utterance_tokens)


def _report(context: RunContext, progress: Progress, before: int, label: str, done: float | int, _total: int) -> None:
    """Shows how many dialogues are done, and stops the run if it was asked to.

    Args:
      before: dialogues of the arms that are done.
      label: of the present arm.
      done: dialogues of the present arm that are done, with the fractions of those under way.
    """
    progress.step(before + done, {label: int(done)})
    context.bookkeeper.stop_if_asked()
