"""Google's Tunix: GRPOLearner with Tunix's own ("vanilla") rollout."""

from __future__ import annotations

import dataclasses
import queue
import threading
import time
from functools import partial

import jax
import numpy as np
import optax
from flax import nnx
from jax.sharding import Mesh
from setting import Setting
from side import Run, check_samples, serve
from tunix.rl.grpo.grpo_learner import GRPOConfig, GRPOLearner
from tunix.rl.rl_cluster import ClusterConfig, RLCluster, RLTrainingConfig, Role
from tunix.rl.rollout.base_rollout import CacheConfig, RolloutConfig, RolloutOutput
from tunix.rl.rollout.vanilla_rollout import VanillaRollout
from tunix_sampler import NEVER, Numbers, model_of, texts


class Dialogues(VanillaRollout):
    """The vanilla rollout, turn after turn. Every turn prefills the whole context, since the sampler keeps no cache.

    The given tokens are returned as if sampled: the learner masks padding alone, which takes the same time.
    """

    def __init__(self, s: Setting, rollout_actor: nnx.Module, tokenizer: Numbers, rollout_config: RolloutConfig, **_):
        cache = CacheConfig(rollout_config.kv_cache_size, s.layers, s.kv_heads, s.head_dim)
        super().__init__(rollout_actor, tokenizer, cache)
        self._setting = s

    def generate(self, prompts: list[str], rollout_config: RolloutConfig, **_) -> RolloutOutput:
        s, contexts, first = self._setting, list(prompts), None
        for turn in range(s.step_turns):
            known = s.prompt + turn * (s.step_said + s.given)
            config = dataclasses.replace(rollout_config, max_tokens_to_generate=s.step_said, max_prompt_length=known)
            out = super().generate(contexts, config)
            first = out if first is None else first
            said = texts(out.tokens)
            given = texts(s.replies(len(prompts), turn)) if turn + 1 < s.step_turns else [""] * len(prompts)
            contexts = [" ".join(parts).strip() for parts in zip(contexts, said, given, strict=True)]
        tokens = [np.array(context.split(), int)[s.prompt :] for context in contexts]
        return dataclasses.replace(first, text=texts(tokens), tokens=tokens, logits=None, logprobs=None)


def grpo(s: Setting) -> Run:
    """GRPO steps: `rows` rollouts and an AdamW update on all. The reward is the share of low ids."""
    seen: list[np.ndarray] = []

    def reward(prompts, completions, **_) -> list[float]:
        rows = [np.array(text.split(), int) for text in completions]
        seen.append(np.array([len(row) for row in rows]))
        return [float(np.mean(row < s.vocab // 2)) for row in rows]

    mesh = Mesh(np.array(jax.devices()[:1]).reshape(1, 1), ("fsdp", "tp"))
    model = model_of(s)
    cluster = RLCluster(
        actor=model,
        tokenizer=Numbers(),
        cluster_config=ClusterConfig(
            role_to_mesh={Role.ACTOR: mesh, Role.REFERENCE: mesh, Role.ROLLOUT: mesh},
            rollout_engine="vanilla" if s.step_turns == 1 else partial(Dialogues, s),
            training_config=RLTrainingConfig(
                actor_optimizer=optax.adamw(1e-5),
                eval_every_n_steps=1_000_000,
                max_steps=1_000_000,
                pbar_description=None,
                # All of these count prompts, each with its samples. Rollouts and the update's mean go over all of them.
                mini_batch_size=s.prompts,
                train_micro_batch_size=max(1, min(s.micro_rows // s.samples, s.prompts)),
                rollout_micro_batch_size=s.prompts,
                compute_logps_micro_batch_size=s.prompts,
            ),
            rollout_config=RolloutConfig(
                max_tokens_to_generate=s.step_completion,
                max_prompt_length=s.prompt,
                kv_cache_size=s.prompt + s.step_completion,
                temperature=1.0,
                top_p=1.0,
                eos_tokens=[NEVER],
            ),
        ),
    )
    learner = GRPOLearner(cluster, GRPOConfig(num_generations=s.samples, beta=0.0), reward)
    go: queue.SimpleQueue = queue.SimpleQueue()
    done: queue.SimpleQueue = queue.SimpleQueue()

    def batches():
        prompts = texts(s.prompt_rows()[:: s.samples])
        while True:
            go.get()
            yield {"prompts": np.array(prompts)}
            # The learner asks for the next batch once the update is dispatched, which ends with its parameters.
            jax.block_until_ready(jax.tree.leaves(nnx.state(cluster.actor_trainer.model)))
            done.put(time.perf_counter())

    def work() -> None:
        try:
            learner.train(batches())
        except BaseException as error:
            done.put(error)
            raise

    # The learner owns its loop, so it runs in a thread and waits for a batch before every step.
    threading.Thread(target=work, daemon=True).start()

    def run(seed: int) -> dict[str, float]:
        seen.clear()
        started = time.perf_counter()
        go.put(None)
        finished = done.get()
        if isinstance(finished, BaseException):
            raise finished
        lengths = np.concatenate(seen)
        assert len(lengths) == s.rows, lengths
        check_samples(lengths, s.step_completion)
        return {"units": 1.0, "seconds": finished - started, "mean_length": float(lengths.mean())}

    return run


if __name__ == "__main__":
    serve({"grpo": grpo}, warm_ups=2)
