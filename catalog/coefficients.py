"""How much each piece of evidence counts; written by `python -m benchmarks.selection --fit`.

See `evidence.FEATURES`; the sum is the log-odds that a LoRA fits.
"""

from __future__ import annotations

WITH_MEANING: dict[str, float] = {
    "near": 1.821,
    "near_main": 4.187,
    "stands_out": 2.707,
    "lead": 4.251,
    "said_share": 0.415,
    "rarest": 1.255,
    "in_name": 0.0,
    "named": 0.0,
    "code_word": 1.002,
    "trigger": 0.74,
    "same_style": 0.864,
    "same_thing": 0.0,
    "other_style": -3.032,
    "kind_fits": 0.104,
    "aside": -0.201,
    "unnamed_person": -2.175,
    "alone": -1.965,
    "alone_near": 2.472,
    "known": 0.029,
    "constant": -6.754,
}

BY_WORDS: dict[str, float] = {
    "near": 0.0,
    "near_main": 0.0,
    "stands_out": 0.0,
    "lead": 0.0,
    "said_share": 3.382,
    "rarest": 4.188,
    "in_name": 0.0,
    "named": 0.0,
    "code_word": 1.099,
    "trigger": 0.292,
    "same_style": 1.082,
    "same_thing": 0.655,
    "other_style": -2.596,
    "kind_fits": 0.0,
    "aside": 0.0,
    "unnamed_person": -3.129,
    "alone": 0.0,
    "alone_near": 0.0,
    "known": 0.0,
    "constant": -5.093,
}
