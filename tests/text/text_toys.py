"""Small tokenizers of the families' kinds, trained on a few lines: their files, under the names that real ones have."""

import json
from pathlib import Path

import sentencepiece
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

CORPUS = [
    "user\nWhat is 12 times 34?\n\nThe answer is 408. It is 400 + 8.",
    "assistant\nI think that the answer is 42. Is that right?",
    "system\nYou are a helpful assistant. You help a student to learn.",
    "model\nTry again: what happens when you add the hundreds first?\n",
    "def solve(x):\n    return x + 1\n\n\n\n# the code\n",
] * 8

# https://huggingface.co/Qwen/Qwen3-8B/blob/main/tokenizer.json and
# https://huggingface.co/meta-llama/Llama-3.1-8B/blob/main/tokenizer.json, pre_tokenizer
_QWEN_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_LLAMA_SPLIT = _QWEN_SPLIT.replace(r"\p{N}|", r"\p{N}{1,3}|", 1)

QWEN_SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
QWEN_OTHERS = ("<tool_call>", "</tool_call>", "<|fim_prefix|>", "<think>", "</think>")
LLAMA_SPECIAL = (
    "<|begin_of_text|>",
    "<|end_of_text|>",
    "<|reserved_special_token_0|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eom_id|>",
    "<|eot_id|>",
)
GEMMA_MARKERS = ("<mask>", "[@BOS@]", "<unused0>", "<start_of_turn>", "<end_of_turn>")
GEMMA4_MARKERS = ("<|turn>", "<turn|>", "<|think|>", "<|channel>", "<channel|>", "<|tool>", "<|image|>")
GEMMA_TEXTS = ("\n", "\n\n", "\u2581\u2581", "<b>", "</b>")
GEMMA_SPECIAL = ("<pad>", "<eos>", "<bos>", "<unk>")


def byte_level(split: str, **model: bool) -> Tokenizer:
    """Byte-level BPE behind a regular expression, as in Qwen and Llama 3."""
    tokenizer = Tokenizer(models.BPE(**model))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(split), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        CORPUS, trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False)
    )
    return tokenizer


def write_qwen(folder: Path) -> Path:
    tokenizer = byte_level(_QWEN_SPLIT)
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.add_special_tokens([AddedToken(name, special=True) for name in QWEN_SPECIAL])
    tokenizer.add_tokens([AddedToken(name, normalized=False) for name in QWEN_OTHERS])
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder / "tokenizer.json"


def write_llama(folder: Path) -> Path:
    tokenizer = byte_level(_LLAMA_SPLIT, ignore_merges=True)
    tokenizer.add_special_tokens([AddedToken(name, special=True) for name in LLAMA_SPECIAL])
    begin = LLAMA_SPECIAL[0]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{begin} $A", special_tokens=[(begin, tokenizer.token_to_id(begin))]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder / "tokenizer.json"


def write_sentencepiece(path: Path, **options: object) -> Path:
    """A SentencePiece BPE model; by default with byte fallback, and no other white space than the text's."""
    with path.open("wb") as out:
        sentencepiece.SentencePieceTrainer.train(
            **{
                "sentence_iterator": iter(line for text in CORPUS for line in text.split("\n")),
                "model_writer": out,
                "model_type": "bpe",
                "vocab_size": 420,
                "byte_fallback": True,
                "hard_vocab_limit": False,
                "remove_extra_whitespaces": False,
                "normalization_rule_name": "identity",
                "minloglevel": 2,
                **options,
            }
        )
    return path


def write_gemma(folder: Path, markers: tuple[str, ...] = GEMMA_MARKERS) -> Path:
    return write_sentencepiece(
        folder / "tokenizer.model",
        add_dummy_prefix=False,
        user_defined_symbols=[*markers, *GEMMA_TEXTS],
        pad_id=0,
        eos_id=1,
        bos_id=2,
        unk_id=3,
        pad_piece="<pad>",
        eos_piece="<eos>",
        bos_piece="<bos>",
        unk_piece="<unk>",
    )


def gemma_spec(model: Path, markers: tuple[str, ...] = GEMMA_MARKERS) -> dict:
    """The tokenizer.json that stands for a Gemma model file: the same pieces, and the merges that they imply."""
    processor = sentencepiece.SentencePieceProcessor(model_file=str(model))
    pieces = [processor.id_to_piece(i) for i in range(processor.get_piece_size())]
    vocabulary = {piece: i for i, piece in enumerate(pieces)}
    spaces = "\u2581\u2581"  # matched behind the normaliser, hence a merge, and the first as it is a whole piece
    outside = {*GEMMA_SPECIAL, *markers, *GEMMA_TEXTS} - {spaces}
    learnt = [p for p in pieces if p not in outside and not processor.is_byte(vocabulary[p])]
    merges = [
        [piece[:cut], piece[cut:]]
        for piece in learnt
        for cut in range(1, len(piece))
        if piece[:cut] in vocabulary and piece[cut:] in vocabulary
    ]
    added = [
        {
            "id": vocabulary[name],
            "content": name,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": name in GEMMA_SPECIAL,
        }
        for name in sorted(outside, key=vocabulary.__getitem__)
    ]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"},
        "pre_tokenizer": None,
        "post_processor": None,
        "decoder": {
            "type": "Sequence",
            "decoders": [
                {"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "},
                {"type": "ByteFallback"},
                {"type": "Fuse"},
            ],
        },
        "model": {
            "type": "BPE",
            "unk_token": "<unk>",
            "fuse_unk": True,
            "byte_fallback": True,
            "vocab": vocabulary,
            "merges": merges,
        },
    }


def write_spec(path: Path, spec: object) -> Path:
    path.write_text(json.dumps(spec), encoding="utf-8")
    return path
