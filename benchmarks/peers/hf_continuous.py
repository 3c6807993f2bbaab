"""Hugging Face transformers' continuous batching: an ended row makes room at once, whole cache blocks are shared."""

from __future__ import annotations

from hf import model_of
from setting import Setting
from side import Run, serve
from transformers import ContinuousBatchingConfig, GenerationConfig

# Tokens of a cache block. The next turn finds whole blocks again, and computes the rest anew.
PAGE = 16


def dialogues(s: Setting) -> Run:
    """Dialogues with turns of random length: each turn is a request, made as soon as the one before has ended."""
    model, ends = model_of(s), s.end_ids()
    # Enough blocks for every row's longest dialogue, so that no request is put off.
    blocks = -(-s.dialogue_tokens // PAGE) * s.rows
    manager = model.init_continuous_batching(
        generation_config=GenerationConfig(
            do_sample=True,
            temperature=1.0,
            top_k=0,
            top_p=1.0,
            max_new_tokens=s.said,
            eos_token_id=ends,
            pad_token_id=0,
        ),
        continuous_batching_config=ContinuousBatchingConfig(
            page_size=PAGE,
            num_blocks=blocks,
            max_batch_tokens=s.rows * 8,
            max_requests_per_batch=s.rows,
            use_async_batching=False,
            seed=0,
        ),
    )
    manager.start()

    def run(seed: int) -> dict[str, float]:
        total, units = s.peer_dialogues, 0
        contexts = s.prompt_rows(total, seed=seed).tolist()
        turns = dict.fromkeys(range(total), 0)
        replies = [s.replies(total, turn).tolist() for turn in range(s.turns)]

        def ask(row: int) -> None:
            manager.add_request(contexts[row], request_id=f"{seed}-{row}-{turns[row]}")

        waiting, running, done = list(range(total))[::-1], 0, 0
        # As many dialogues at once as the other sides have rows; the next begins where one ends.
        while done < total:
            while waiting and running < s.rows:
                ask(waiting.pop())
                running += 1
            result = manager.get_result(timeout=60)
            if result is None or result.error:
                raise SystemExit(f"no result: {result}")
            row = int(result.request_id.split("-")[1])
            said = result.generated_tokens
            if not 1 <= len(said) <= s.said or (len(said) < s.said and said[-1] not in ends):
                raise SystemExit(f"a turn of {len(said)} tokens")
            # The turn is over: the dialogue ends, or its next turn is asked for at once.
            units += len(said)
            turns[row] += 1
            if turns[row] == s.turns:
                done, running = done + 1, running - 1
                continue
            contexts[row] += said + replies[turns[row] - 1][row]
            ask(row)
        return {"units": float(units), "mean_length": units / (total * s.turns)}

    return run


if __name__ == "__main__":
    serve({"random": dialogues}, warm_ups=1)
