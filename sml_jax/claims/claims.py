"""All claims, in the order of the table."""

from __future__ import annotations

from sml_jax.claims import behaviour_claims, success_claims, transfer_claims
from sml_jax.claims.measure import Claim
from sml_jax.claims.results import Results

CLAIMS = (
    success_claims.claim_main,
    success_claims.claim_1,
    success_claims.claim_2,
    success_claims.claim_3,
    transfer_claims.claim_4,
    behaviour_claims.claim_5,
    behaviour_claims.claim_6,
    behaviour_claims.claim_7,
    success_claims.claim_8,
    behaviour_claims.claim_9,
    success_claims.claim_10,
    behaviour_claims.claim_11,
    transfer_claims.claim_12,
    transfer_claims.claim_13,
    behaviour_claims.claim_14,
    transfer_claims.claim_15,
)


def measure_claims(results: Results) -> list[Claim]:
    """Measures every claim as far as the results allow."""
    return [claim(results) for claim in CLAIMS]
