"""A model's embedding may have more rows than the tokenizer has tokens; neither side ever samples one of them."""

import dataclasses

import jax
import pytest
from dialogue_toys import DigitTask, one_device_mesh, tiny_model

from sml_jax.common.errors import UserError
from sml_jax.dialogue.context_budget import required_length
from sml_jax.dialogue.rollout import play
from sml_jax.dialogue.teachers import LanguageTeacher
from sml_jax.engine.engine import Engine
from sml_jax.models.decoder import Decoder, init_params


@pytest.fixture(scope="module")
def padded(chat):
    """A random model with as many rows without a token as rows with one, and its parameters."""
    config = dataclasses.replace(tiny_model(chat).config, vocab_size=2 * chat.tokenizer.vocab_size, layers=1)
    return Decoder(config), init_params(Decoder(config), jax.random.key(0))


def engine_of(model, chat, rules):
    length = required_length(chat, DigitTask(), DigitTask().problems(), rules)
    # As in the README: the settings say nothing of rows without a token.
    return Engine(
        model,
        max_concurrent=8,
        max_length=length,
        max_new_tokens=max(rules.student_tokens, rules.teacher_tokens),
        stop_ids=chat.stop_ids,
        suppressed_ids=chat.suppressed_ids(),
        chunk_sizes=(32,),
        capacities=(length,),
        mesh=one_device_mesh(),
    )


@pytest.mark.extra
def test_neither_student_nor_teacher_samples_an_id_without_a_token(padded, chat, rules) -> None:
    model, params = padded
    student, teacher = engine_of(model, chat, rules), engine_of(model, chat, rules)
    problems = DigitTask().problems()
    played = play(DigitTask(), problems, chat, student, params, LanguageTeacher(teacher, params), rules, seed=0)
    script = played.transcript
    assert script.student.sum() > 50 and max(len(dialogue.verdicts) for dialogue in played.dialogues) > 1
    assert max(token for dialogue in played.dialogues for token in dialogue.tokens) < chat.tokenizer.vocab_size
    assert [dialogue.dropped for dialogue in played.dialogues] == [""] * len(problems)


def test_a_tokenizer_with_more_tokens_than_the_model_is_an_error(padded, chat, rules) -> None:
    engine = engine_of(padded[0], chat, rules)
    with pytest.raises(UserError, match=r"tokenizer has 9999 tokens.*give the tokenizer that the model was trained"):
        engine.limit_vocabulary(9999)
