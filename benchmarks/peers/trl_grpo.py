"""TRL's GRPOTrainer: rollout with transformers' `generate`, update with torch's AdamW, on the CPU."""

from __future__ import annotations

import os
import queue
import tempfile
import threading

import numpy as np
import torch
from datasets import Dataset
from hf import Context, by_loop, model_of
from setting import Setting
from side import Run, check_samples, serve
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, TrainerCallback
from trl import GRPOConfig, GRPOTrainer


def numbers(vocab: int) -> PreTrainedTokenizerFast:
    """A tokenizer whose texts are token ids with spaces between. Token 0 pads and ends."""
    words = Tokenizer(models.WordLevel({str(i): i for i in range(vocab)}, unk_token="0"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=words, pad_token="0", eos_token="0", padding_side="left")


class Gate(TrainerCallback):
    """Lets the trainer take one step for each item in `go`, and puts an item in `done` when it has."""

    def __init__(self):
        self.go, self.done = queue.SimpleQueue(), queue.SimpleQueue()

    def on_step_begin(self, args, state, control, **_):
        self.go.get()

    def on_step_end(self, args, state, control, **_):
        self.done.put(None)


def grpo(s: Setting) -> Run:
    """GRPO steps: `rows` rollouts and an AdamW update on all. The reward is the share of low ids."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    seen: list[np.ndarray] = []

    def reward(completion_ids, **_) -> list[float]:
        seen.append(np.array([len(row) for row in completion_ids]))
        return [float(np.mean(np.asarray(row) < s.vocab // 2)) for row in completion_ids]

    def dialogues(prompts: list[str], trainer: GRPOTrainer) -> dict[str, list]:
        """Plays the dialogues of a step with the model's cache carried from turn to turn, and masks what is given."""
        starts = np.array([prompt.split() for prompt in prompts], int)
        context, own = Context(starts), np.zeros((len(starts), 0), int)
        trainer.model.eval()
        for turn in range(s.step_turns):
            sampled, _ = by_loop(trainer.model, context, s.step_said, [], True, False)
            context.append(sampled)
            own = np.pad(own, ((0, 0), (0, sampled.shape[1])), constant_values=1)
            if turn + 1 < s.step_turns:
                context.append(torch.as_tensor(s.replies(len(starts), turn), dtype=torch.long))
                own = np.pad(own, ((0, 0), (0, s.given)))
        trainer.model.train()
        completions = context.tokens[:, s.prompt :].tolist()
        return {
            "prompt_ids": starts.tolist(),
            "completion_ids": completions,
            "logprobs": None,
            "env_mask": own.tolist(),
        }

    rows = [" ".join(map(str, row)) for row in s.prompt_rows()[:: s.samples]]
    model, gate = model_of(s).train(), Gate()
    trainer = GRPOTrainer(
        model=model,
        reward_funcs=reward,
        train_dataset=Dataset.from_dict({"prompt": rows}),
        processing_class=numbers(s.vocab),
        callbacks=[gate],
        # One turn is sampled by the trainer itself, which knows no dialogue whose other side answers at once.
        rollout_func=None if s.step_turns == 1 else dialogues,
        args=GRPOConfig(
            output_dir=tempfile.mkdtemp(),
            per_device_train_batch_size=min(s.rows, s.micro_rows),
            gradient_accumulation_steps=-(-s.rows // s.micro_rows),
            num_generations=s.samples,
            max_completion_length=s.step_completion,
            max_steps=1_000_000,
            learning_rate=1e-5,
            beta=0.0,
            temperature=1.0,
            top_k=0,
            top_p=1.0,
            # Token 0 would end a row; rows must run their full length, as the other sides' do.
            generation_kwargs={"eos_token_id": None},
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
            report_to=[],
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
        ),
    )
    torch.set_num_threads(os.cpu_count() or 1)
    failure: list[BaseException] = []

    def work() -> None:
        try:
            trainer.train()
        except BaseException as error:
            failure.append(error)
            gate.done.put(None)
            raise

    # The trainer owns its loop, so it runs in a thread and stops at the gate before every step.
    threading.Thread(target=work, daemon=True).start()
    last = "embed_tokens.weight" if s.tied else "lm_head.weight"
    first = {name: p.detach().clone() for name, p in model.named_parameters() if name.endswith(last)}

    def run(seed: int) -> dict[str, float]:
        seen.clear()
        gate.go.put(None)
        gate.done.get()
        if failure:
            raise failure[0]
        # A step that sampled too little, or changed no parameter, must not be timed.
        lengths = np.concatenate(seen)
        assert len(lengths) == s.rows, lengths
        check_samples(lengths, s.step_completion)
        assert any(not torch.equal(p, dict(model.named_parameters())[name]) for name, p in first.items())
        return {"units": 1.0, "mean_length": float(lengths.mean())}

    return run


if __name__ == "__main__":
    serve({"grpo": grpo}, warm_ups=1)
