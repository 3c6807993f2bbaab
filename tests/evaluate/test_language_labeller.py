"""Turn labels by a model: what it is asked, how its answer is read, and that the rules stand in."""

import jax
import pytest

from sml_jax.engine.context_batch import ContextBatch
from sml_jax.engine.engine import Engine
from sml_jax.engine.sampling import Sampling
from sml_jax.engine.turns import Utterance
from sml_jax.evaluate import language_labeller
from sml_jax.evaluate.labels import LABELS, label_by_rules
from sml_jax.evaluate.language_labeller import ANSWER_TOKENS, LanguageLabeller, labelling_length
from sml_jax.models.config import DecoderConfig
from sml_jax.models.decoder import Decoder, init_params
from sml_jax.pocket import ASSETS
from sml_jax.text.messages import MessageFormat
from sml_jax.text.pieces import ChatPieces
from sml_jax.text.tokenizer import SentencePieceTokenizer

TOKENIZER = SentencePieceTokenizer(ASSETS / "pocket.model")
C = TOKENIZER.control
MESSAGES = MessageFormat(
    TOKENIZER, ChatPieces(user="<teacher>", model="<student>", stop="<end>", begin="<begin>"), (C("<end>"),)
)
TURNS = [("The answer is 5.", True), ("What is x?", False), ("", False), ("What is x?", False), ("Is it 3 or 4?", True)]


@pytest.fixture(scope="module")
def labeller():
    config = DecoderConfig(
        vocab_size=TOKENIZER.vocab_size,
        embed_dim=8,
        layers=1,
        heads=1,
        kv_heads=1,
        head_dim=8,
        mlp_dim=8,
        max_length=4096,
    )
    model = Decoder(config)
    engine = Engine(
        model,
        max_concurrent=8,
        max_length=labelling_length(MESSAGES, 24),
        max_new_tokens=ANSWER_TOKENS,
        stop_ids=MESSAGES.stop_ids,
        suppressed_ids=MESSAGES.suppressed_ids(),
        sampling=Sampling(temperature=0.0),
        chunk_sizes=(512,),
        capacities=(labelling_length(MESSAGES, 24),),
    )
    return LanguageLabeller(engine, init_params(model, jax.random.key(0)), MESSAGES, utterance_tokens=24)


def test_a_model_that_names_nothing_leaves_it_to_the_rules(labeller) -> None:
    assert labeller(TURNS) == label_by_rules(TURNS)


def test_what_the_model_says_counts(labeller, monkeypatch) -> None:
    answers = {"What is x?": "Clarification.", "The answer is 5.": "DISCUSSION, I", "": "answered"}
    asked: list[str] = []

    class SpeakingRows(ContextBatch):
        def sample(self, rows, limit, salt=0):
            contexts = [TOKENIZER.decode(self.context(row)) for row in rows]
            asked.extend(contexts)
            said = [next((a for u, a in answers.items() if u and u in c), answers[""]) for c in contexts]
            return [Utterance(tuple(TOKENIZER.encode(text))[:limit], (), (), True) for text in said]

    monkeypatch.setattr(language_labeller, "ContextBatch", SpeakingRows)
    labels = labeller(TURNS)
    assert labels == ["discussion", "clarification", "missing", "clarification", label_by_rules(TURNS)[-1]]
    assert len(asked) == 4, "a turn that was said before is asked about once"
    for context in asked:
        assert all(f"\n{label}:" in context for label in LABELS), "every kind is explained"


def test_a_long_turn_is_shown_by_its_beginning_and_has_room(labeller, monkeypatch) -> None:
    turns = [("7 " * 400, False)] * 2 + [(f"{i} apples are left, I think", False) for i in range(10)]
    assert len(labeller(turns)) == 12
