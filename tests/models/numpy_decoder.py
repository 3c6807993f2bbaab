"""The decoder written a second time, in plain NumPy and float64: one head, one query at a time, nothing shared."""

import math

import numpy as np

from sml_jax.models.config import DecoderConfig
from sml_jax.models.ops.rope import RopeScaling


def rope_frequency(i: int, head_dim: int, base: float, scaling: RopeScaling) -> float:
    """The frequency of pair `i`, with Llama 3's rule told by wavelength as in its reference code."""
    frequency = 1.0 / base ** (2 * i / head_dim)
    if scaling.kind == "linear":
        return frequency / scaling.factor
    if scaling.kind == "llama3":
        wavelength = 2 * math.pi / frequency
        if wavelength > scaling.original_length / scaling.low_frequency_factor:
            return frequency / scaling.factor
        if wavelength < scaling.original_length / scaling.high_frequency_factor:
            return frequency
        smooth = (scaling.original_length / wavelength - scaling.low_frequency_factor) / (
            scaling.high_frequency_factor - scaling.low_frequency_factor
        )
        return (1 - smooth) * frequency / scaling.factor + smooth * frequency
    return frequency


def rope(vector: np.ndarray, position: int, base: float, scaling: RopeScaling) -> np.ndarray:
    """One head's vector at one position: pair (i, i + half) as a complex number, turned."""
    half = len(vector) // 2
    turned = np.empty_like(vector)
    for i in range(half):
        angle = position * rope_frequency(i, len(vector), base, scaling)
        z = complex(vector[i], vector[i + half]) * complex(math.cos(angle), math.sin(angle))
        turned[i], turned[i + half] = z.real, z.imag
    return turned


def _norm(x: np.ndarray, scale: np.ndarray, c: DecoderConfig) -> np.ndarray:
    weight = 1.0 + scale if c.norm_plus_one else scale
    return x / math.sqrt(float(np.mean(x * x)) + c.norm_eps) * weight


def _cap(x: float, cap: float | None) -> float:
    return x if cap is None else cap * math.tanh(x / cap)


def _gate(x: np.ndarray, c: DecoderConfig) -> np.ndarray:
    if c.activation == "silu":
        return x / (1 + np.exp(-x))
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def _attention(p: dict, xs: np.ndarray, c: DecoderConfig, local: bool) -> np.ndarray:
    base, scaling = c.rope_base, c.rope_scaling
    if local and c.rope_local_base is not None:
        base, scaling = c.rope_local_base, RopeScaling()
    time = len(xs)

    def heads(name: str, count: int, rotated: bool) -> np.ndarray:
        out = np.zeros((time, count, c.head_dim))
        for t in range(time):
            for h in range(count):
                v = xs[t] @ p[name]["kernel"][:, h]
                if c.qkv_bias:
                    v = v + p[name]["bias"][h]
                if c.qk_norm and rotated:
                    v = _norm(v, p[f"{name}_norm"]["scale"], c)
                out[t, h] = rope(v, t, base, scaling) if rotated else v
        return out

    queries = heads("query", c.heads, True)
    keys, values = heads("key", c.kv_heads, True), heads("value", c.kv_heads, False)
    scale = c.attention_scale if c.attention_scale is not None else 1 / math.sqrt(c.head_dim)
    out = np.zeros((time, c.embed_dim))
    for t in range(time):
        first = max(0, t - c.window + 1) if local else 0
        for h in range(c.heads):
            shared = h // (c.heads // c.kv_heads)
            scores = [_cap(queries[t, h] @ keys[s, shared] * scale, c.attention_softcap) for s in range(first, t + 1)]
            weights = np.exp(np.array(scores) - max(scores))
            weights /= weights.sum()
            attended = sum(w * values[s, shared] for w, s in zip(weights, range(first, t + 1), strict=True))
            out[t] += attended @ p["out"]["kernel"][h]
    return out


def numpy_logits(c: DecoderConfig, params: dict, tokens: list[int]) -> np.ndarray:
    """Logits [time, vocab] of one row, from the parameters of `Decoder`, `{"params": ...}`."""

    def doubles(tree: dict, layer: int | None = None) -> dict:
        return {
            k: doubles(v, layer) if isinstance(v, dict) else np.asarray(v if layer is None else v[layer], np.float64)
            for k, v in tree.items()
        }

    top = doubles({k: v for k, v in params["params"].items() if k != "layers"})
    table = top["embedding"]["embedding"]
    xs = np.stack([table[t] for t in tokens]) * (math.sqrt(c.embed_dim) if c.embedding_scale else 1.0)
    for layer in range(c.layers):
        p = doubles(params["params"]["layers"], layer)
        kind = c.layer_pattern[layer % len(c.layer_pattern)]

        def each(name: str, rows: np.ndarray, p: dict = p) -> np.ndarray:
            return np.stack([_norm(row, p[name]["scale"], c) for row in rows])

        y = _attention(p["attention"], each("attention_norm", xs), c, kind == "local")
        xs = xs + (each("attention_post_norm", y) if c.post_norms else y)
        y = each("mlp_norm", xs)
        y = (_gate(y @ p["mlp"]["gate"]["kernel"], c) * (y @ p["mlp"]["up"]["kernel"])) @ p["mlp"]["down"]["kernel"]
        xs = xs + (each("mlp_post_norm", y) if c.post_norms else y)
    xs = np.stack([_norm(row, top["final_norm"]["scale"], c) for row in xs])
    logits = xs @ (table.T if c.tied_embeddings else top["output"]["kernel"])
    return logits if c.final_softcap is None else c.final_softcap * np.tanh(logits / c.final_softcap)
