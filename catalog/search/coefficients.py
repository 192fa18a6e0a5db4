"""How much each piece of evidence counts; written by `python -m benchmarks.selection --fit`.

See `evidence.FEATURES`; the sum is the log-odds that a LoRA fits.
WITH_MEANING is for cards that share telling words with the wish, BY_MEANING for those found by
meaning alone, BY_WORDS for when no meanings are at hand.
"""

from __future__ import annotations

WITH_MEANING: dict[str, float] = {
    "near_main": 1.72,
    "lead": 1.003,
    "first": 0.921,
    "whole_first": 3.103,
    "whole_out": 0.122,
    "both_first": 2.852,
    "unusual": 3.241,
    "means": 1.639,
    "described": 1.37,
    "said_share": 1.77,
    "rarest": 1.613,
    "unsaid": -1.581,
    "code_word": 0.56,
    "typed": 2.624,
    "trigger": 1.409,
    "plain_style": 1.201,
    "same_thing": 0.267,
    "other_style": -0.806,
    "called": 3.594,
    "unnamed_person": -3.92,
    "known": 0.284,
    "constant": -4.64,
}

BY_MEANING: dict[str, float] = {
    "near_main": 0.62,
    "stands_out": 0.569,
    "lead": 1.034,
    "first": 1.591,
    "whole": 0.853,
    "whole_first": 4.815,
    "whole_out": 1.484,
    "both": 0.538,
    "both_first": 4.8,
    "unusual": 3.647,
    "means": 2.266,
    "described": 3.546,
    "other_style": -1.025,
    "aside": -0.449,
    "unnamed_person": -1.739,
    "constant": -4.213,
}

BY_WORDS: dict[str, float] = {
    "described": 3.177,
    "said_share": 3.372,
    "rarest": 3.299,
    "named": 0.282,
    "unsaid": -1.055,
    "code_word": 0.856,
    "typed": 1.801,
    "trigger": 1.307,
    "plain_style": 0.46,
    "same_thing": 0.934,
    "other_style": -1.862,
    "called": 3.295,
    "unnamed_person": -3.907,
    "constant": -5.699,
}
