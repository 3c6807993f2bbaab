"""Per-layer embeddings (Gemma 3n, Gemma 4 E2B and E4B): of each token, a vector for every layer.

They hold more than half of such a model's parameters but cost hardly any arithmetic: a token reads one row of a table.
"""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from sml_jax.models.config import DecoderConfig
from sml_jax.models.ops.products import Product, projection
from sml_jax.models.parts import Projection, RMSNorm


class PerLayerEmbedding(nn.Module):
    """What each layer takes of a token: the mean, times sqrt(2), of a table's row and a projection of its embedding.

    Attributes:
      config: the decoder's configuration, whose `per_layer_dim` is above 0.
      product: the function that multiplies activations by weights.
    """

    config: DecoderConfig
    product: Product = projection

    @nn.compact
    def __call__(
        self, tokens: Int[Array, "batch time"], x: Float[Array, "batch time embed"]
    ) -> Float[Array, "layers batch time per_layer"]:
        """The input of each layer.

        Args:
          tokens: new tokens.
          x: their embeddings, as the first layer takes them.
        """
        c = self.config
        size, width = c.per_layer_dim, c.layers * c.per_layer_dim
        # The vectors of all layers stand beside each other in a token's row of the table.
        table = nn.Embed(
            c.per_layer_vocab_size or c.vocab_size,
            width,
            dtype=c.compute_dtype,
            param_dtype=c.param_dtype,
            embedding_init=nn.with_logical_partitioning(nn.initializers.normal(size**-0.5), ("vocab", "embed")),
            name="table",
        )
        of_token = table(tokens) * jnp.asarray(size**0.5, c.compute_dtype)
        init = nn.initializers.variance_scaling(1.0, "fan_in", "normal")
        of_embedding = Projection(c, (width,), ("embed", "per_layer"), self.product, init, name="projection")(
            x
        ) * jnp.asarray(c.embed_dim**-0.5, c.compute_dtype)

        # A norm over the numbers of one layer; its weight is the same in all layers.
        by_layer = of_embedding.reshape(*tokens.shape, c.layers, size)
        normed = RMSNorm(c.norm_eps, c.norm_plus_one, "per_layer", name="norm")(by_layer)
        inputs = (normed + of_token.reshape(by_layer.shape)) * jnp.asarray(2**-0.5, c.compute_dtype)
        # Layers come first, since the decoder goes through them one by one.
        return jnp.moveaxis(inputs, 2, 0)
