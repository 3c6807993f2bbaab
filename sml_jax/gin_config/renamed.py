"""Names in gin files that were renamed: an old name is an error that says the new one."""

from __future__ import annotations

# Old name -> new name, one line each, by kind:
#   a module, in full:                   "sml_jax.stages.guards": "sml_jax.run.health"
#   a class or function, by its name:    "Guards": "health.AlertThresholds"
#   one that moved and kept its name:    "PolicyLoss": "losses.PolicyLoss"
#   a parameter, of a class's new name:  "Online.micro_rows": "Online.micro_batch_size"
#   a macro:                             "OLD_MACRO": "NEW_MACRO"
RENAMED: dict[str, str] = {
    # Modules that gin files import.
    "sml_jax.experiment": "sml_jax.run.experiment",
    "sml_jax.parallel.mesh": "sml_jax.sharding.mesh",
    "sml_jax.stages.bases": "sml_jax.run.base_models",
    "sml_jax.stages.chats": "sml_jax.run.chats",
    "sml_jax.stages.corpus": "sml_jax.run.stages.corpus",
    "sml_jax.stages.guards": "sml_jax.run.health",
    "sml_jax.stages.offline": "sml_jax.run.stages.offline",
    "sml_jax.stages.online": "sml_jax.run.stages.online",
    "sml_jax.tasks.code_limits": "sml_jax.tasks.code.sandbox.limits",
    "sml_jax.tasks.code_task": "sml_jax.tasks.code.task",
    "sml_jax.tasks.jsonl": "sml_jax.tasks.datasets.jsonl",
    "sml_jax.tasks.math_task": "sml_jax.tasks.math.task",
    # Classes and functions.
    "Guards": "health.AlertThresholds",
    "PolicyLoss": "losses.PolicyLoss",
    # Macros.
    "ROWS": "MAX_CONCURRENT",
    # Parameters.
    "DecoderConfig.hidden": "DecoderConfig.mlp_dim",
    "DecoderConfig.width": "DecoderConfig.embed_dim",
    "Experiment.guards": "Experiment.alerts",
    "Experiment.rows": "Experiment.max_concurrent",
    "Experiment.sharded": "Experiment.sharded_suites",
    "Offline.aggregation": "OfflineSml.aggregation",
    "Offline.dialogues_kept": "Offline.dialogues_logged",
    "Offline.micro_rows": "Offline.micro_batch_size",
    "Offline.piece": "Offline.problems_per_chunk",
    "Online.aggregation": "Grpo.aggregation",
    "Online.dialogues_kept": "Online.dialogues_logged",
    "Online.discount": "Grpo.discount",
    "Online.micro_rows": "Online.micro_batch_size",
    "Online.normalize": "Grpo.normalize",
    "Online.problems": "Online.problems_per_step",
    "Online.share": "Online.rows_per_prefix",
    "PocketText.ignorant": "PocketText.uninformed",
    "open_code_instruct.most_rows": "open_code_instruct.max_rows",
}

# Names that went without a successor of the same meaning: old name, written as above -> what to write instead. The
# sentence completes "NAME is gone: ...".
GONE: dict[str, str] = {
    "Experiment.retry_text": "write teachers.Retry.text = '...', after `from sml_jax.dialogue import teachers`",
    "Experiment.teacher_arm": (
        "write Experiment.teacher = @teachers.Feedback(), or another of `from sml_jax.dialogue import teachers`"
    ),
}

# Parameters that took strings and now take objects: parameter -> what to write instead, after a colon.
OBJECTS: dict[str, str] = {
    "Experiment.teacher": "write an object, such as @teachers.Feedback(), of sml_jax.dialogue.teachers",
    "Suite.arms": ("write objects, such as (@teachers.Feedback(), @teachers.Retry()), of sml_jax.dialogue.teachers"),
}


def renamed(name: str, written: str | None = None) -> str | None:
    """The sentence that an error says of an old name in a gin file: "... is now called ...", or "... is gone: ...".

    Args:
      name: the old name, spelt as in the tables `RENAMED` and `GONE`.
      written: how the gin file or flag writes it; None if that is `name`.

    Returns:
      The sentence without its full stop, or None if the tables do not have the name.
    """
    written = name if written is None else written
    if name in GONE:
        return f"{written} is gone: {GONE[name]}"
    if name in RENAMED:
        return f"{written} is now called {RENAMED[name]}"
    return None


def renamed_selector(selector: str) -> str | None:
    """The sentence that an error says of an old `module.Class` in a gin file ("... is now called ...").

    Args:
      selector: as the gin file writes it. Its module, its class or both may have an old name.

    Returns:
      The sentence without its full stop, or None if neither part is an old name; see `renamed`.
    """
    module, _, class_name = selector.rpartition(".")
    # A class that kept its name and went to another module is right where it is written as the table says.
    if RENAMED.get(class_name) != selector and (sentence := renamed(class_name, selector)):
        return sentence
    module = module.rpartition(".")[2]
    for old_name in (*RENAMED, *GONE):
        # A module that moved and kept its own name is not what is wrong with a selector.
        kept_its_name = RENAMED.get(old_name, "").rpartition(".")[2] == module
        if old_name.startswith("sml_jax.") and old_name.rpartition(".")[2] == module and not kept_its_name:
            return renamed(old_name)
    return None
