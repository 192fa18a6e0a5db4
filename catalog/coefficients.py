"""How much each piece of evidence counts; written by `python -m benchmarks.selection --fit`.

See `evidence.FEATURES`; the sum is the log-odds that a LoRA fits.
"""

from __future__ import annotations

WITH_MEANING: dict[str, float] = {
    "near": 1.677,
    "near_main": 4.105,
    "stands_out": 2.361,
    "lead": 4.036,
    "said_share": 0.672,
    "rarest": 0.586,
    "in_name": 0.0,
    "named": 0.0,
    "code_word": 1.091,
    "trigger": 0.801,
    "same_style": 0.918,
    "same_thing": 0.0,
    "other_style": -3.006,
    "kind_fits": 0.101,
    "aside": -0.13,
    "unnamed_person": -2.164,
    "alone": -1.907,
    "alone_near": 1.734,
    "known": 0.044,
    "constant": -6.194,
}

BY_WORDS: dict[str, float] = {
    "near": 0.0,
    "near_main": 0.0,
    "stands_out": 0.0,
    "lead": 0.0,
    "said_share": 3.556,
    "rarest": 3.434,
    "in_name": 0.0,
    "named": 0.097,
    "code_word": 1.169,
    "trigger": 0.345,
    "same_style": 1.166,
    "same_thing": 0.767,
    "other_style": -2.59,
    "kind_fits": 0.0,
    "aside": 0.0,
    "unnamed_person": -3.092,
    "alone": 0.0,
    "alone_near": 0.0,
    "known": 0.0,
    "constant": -4.773,
}
