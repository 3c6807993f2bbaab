"""The decoder: embedding, scanned layers, output. `model.apply(params, tokens)` gives logits."""

from __future__ import annotations

from functools import lru_cache, partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from sml_jax.models.config import DecoderConfig
from sml_jax.models.layer_stack import declare_layers, run_layers
from sml_jax.models.ops.int8 import AnyInt8Kernel
from sml_jax.models.ops.products import Product, float32_product, projection
from sml_jax.models.parts import Embedding, Projection, RMSNorm
from sml_jax.models.per_layer import PerLayerEmbedding
from sml_jax.models.prefix_sharing import SharedPrefix


class Decoder(nn.Module):
    """A causal language model: a pure function of its parameters, for any family of `sml_jax.families`.

    Calling it, or `hidden_states`, runs complete rows without caches, with its layers in scans. The engine, which has
    caches, calls `embed`, `per_layer_inputs`, each `Layer`, `apply_final_norm` and `logits` one by one.

    Attributes:
      config: the model's shape and how it is computed.
      product: a function that multiplies activations by weights, see `ops.products.Product`; None for the usual
        products.
    """

    config: DecoderConfig
    product: Product | None = None

    def setup(self) -> None:
        """Makes the submodules, whose parameters Flax then creates; called by Flax."""
        c = self.config
        # Each parameter names its logical axes, by which `sml_jax.sharding` lays it out on a mesh.
        self.embedding = Embedding(c)
        self.layers = declare_layers(c)
        self.final_norm = RMSNorm(c.norm_eps, c.norm_plus_one)
        # A tied model reads the embedding's table as its output layer and has no parameter of its own for it.
        if not c.tied_embeddings:
            self.output = Projection(
                c,
                (c.vocab_size,),
                ("embed", "vocab"),
                self.product or (lambda x, kernel, *_: float32_product(x, kernel)),
                nn.initializers.lecun_normal(),
                float32_result=True,
            )
        if c.per_layer_dim:
            self.per_layer = PerLayerEmbedding(c, self.product or projection)

    def __call__(self, tokens: Int[Array, "batch time"]) -> Float[Array, "batch time vocab"]:
        """Logits of the token after each token.

        Args:
          tokens: rows, padded on the right. Padding comes after all real tokens, so under a causal mask it cannot
            change their logits; logits at padding are meaningless.

        Returns:
          float32 [batch, time, vocab].
        """
        positions = jnp.broadcast_to(jnp.arange(tokens.shape[1], dtype=jnp.int32), tokens.shape)
        return self.logits(self.hidden_states(tokens, positions))

    def hidden_states(
        self,
        tokens: Int[Array, "batch time"],
        positions: Int[Array, "batch time"],
        shared: SharedPrefix | None = None,
    ) -> Float[Array, "batch time embed"]:
        """Hidden states of complete rows after the last layer and the final norm: the argument of `logits`.

        Args:
          tokens: rows, padded on the right.
          positions: position of each token in its row, from 0.
          shared: the prefix that blocks of rows share; `tokens` and `positions` are then packed (see `SharedPrefix`),
            and so is the result. None for plain rows.
        """
        c = self.config
        x = self.embed(tokens)
        per_layer = self.per_layer_inputs(tokens, x)
        if self.is_initializing():
            # Flax makes the parameters of modules that are called. No keys and values are at hand that a layer reads.
            self.layers(x, jnp.asarray(c.local_layers), positions, per_layer, None)
        else:
            params = self.variables["params"]["layers"]
            x = run_layers(c, self.product or projection, params, x, positions, shared, per_layer)
        return self.apply_final_norm(x)

    def embed(self, tokens: Int[Array, "batch time"]) -> Float[Array, "batch time embed"]:
        """The hidden states that the first layer takes: the embeddings of tokens, scaled if the family does so."""
        c = self.config
        x = self.embedding(tokens)
        return x * jnp.asarray(c.embed_dim**0.5, x.dtype) if c.embedding_scale else x

    def per_layer_inputs(
        self, tokens: Int[Array, "batch time"], x: Float[Array, "batch time embed"]
    ) -> Float[Array, "layers batch time per_layer"] | None:
        """What each layer takes of the per-layer embeddings; None for families without them.

        Args:
          tokens: as for `embed`.
          x: what `embed` returned for them.
        """
        inputs: jax.Array | None = self.per_layer(tokens, x) if self.config.per_layer_dim else None
        return inputs

    def apply_final_norm(self, x: Float[Array, "batch time embed"]) -> Float[Array, "batch time embed"]:
        """The final norm, applied to the hidden states that the last layer returns. `logits` takes the result."""
        normed: jax.Array = self.final_norm(x)
        return normed

    def logits(self, hidden: Float[Array, "*batch embed"]) -> Float[Array, "*batch vocab"]:
        """Logits of the next token from final hidden states: the output layer, then the final soft cap.

        Args:
          hidden: from `hidden_states` or `apply_final_norm`.

        Returns:
          float32 logits.
        """
        c = self.config
        if not c.tied_embeddings:
            out = self.output(hidden)
        elif isinstance(self.embedding.embedding, AnyInt8Kernel):
            out = self.embedding.embedding.product(hidden.astype(c.compute_dtype))
        else:
            table = self.embedding.embedding.astype(c.compute_dtype)
            hidden = hidden.astype(c.compute_dtype)
            # A product of its own takes the table as it is and sums over its last axis, so nothing is transposed.
            if self.product is None:
                out = float32_product(hidden, table.T)
            else:
                out = self.product(hidden, table, (((hidden.ndim - 1,), (1,)), ((), ())))
        return out if c.final_softcap is None else jnp.tanh(out / c.final_softcap) * c.final_softcap


@partial(jax.jit, static_argnums=0)
def init_params(model: Decoder, key: jax.Array) -> dict:
    """Makes random parameters, `{"params": ...}`, a nested dict of plain arrays on JAX's default device.

    Args:
      model: the decoder; static, so each model compiles once.
      key: a random key.
    """
    params: dict = nn.unbox(model.init(key, jnp.zeros((1, 2), jnp.int32)))
    return params


@lru_cache(maxsize=8)  # tracing a model takes a good part of a second, and many ask for the same one
def abstract_params(model: Decoder) -> dict:
    """Shapes, dtypes and logical axes of a decoder's parameters; no array is made.

    Returns:
      `{"params": ...}`, a tree of `flax.linen.LogicallyPartitioned` boxes around `jax.ShapeDtypeStruct`.
    """
    return jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros((1, 2), jnp.int32)))


def count_params(params: dict) -> int:
    """How many numbers all arrays of the parameters hold together."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))
