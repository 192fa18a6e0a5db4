"""How near the meanings of cards are to a wish, in pieces and as a whole."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

from ...core.cores import all_cores
from ..index.meanings import WIDTH
from ..words import concepts
from .search_index import Library

if TYPE_CHECKING:
    import numpy as np

SAMPLE = 4_000
"""Cards of a family from which is learned how near unrelated ones are."""
HOPELESS = 0.3
"""What is less near than this and shares no words is not looked at any further."""
USUAL_NEAR, USUAL_SPREAD, USUAL_WEIGHT = 0.16, 0.11, 30.0
"""How near unrelated cards are to a piece: what is believed of a library of few cards."""

PIECE = 0.5
"""How much the nearest piece counts beside the whole wish."""
SHARPNESS = 20.0
"""How much likelier a term is that is nearer: the factor of the cosines before the softmax."""


@all_cores()
def products(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """(m, n): the scalar products of each of m rows with each of n, float32.

    By torch where it is loaded, as it is behind an embedding: its threads and NumPy's, which both
    wait for more work at full speed, would take the cores from one another.
    """
    torch = sys.modules.get("torch")
    if torch is None:
        return left @ right.T
    return (torch.from_numpy(left) @ torch.from_numpy(right).T).numpy()


class Nearness:
    """Cosines between a wish and the cards of a family.

    `meanings`: (pieces, 384), or (pieces + 1, 384) with the whole wish last; None: not known.
    After `measure`, by place: `cosines` (pieces,) of the nearest text for each piece; `main`: the
    best of name and description alone; `whole`: the nearest text to the whole wish; `both`: the
    whole and half of the nearest piece. `usual`: how near the whole wish is to an everyday one.
    """

    def __init__(
        self,
        library: Library,
        stretch: slice,
        places: np.ndarray,
        meanings: np.ndarray | None,
        pieces: int,
    ) -> None:
        import numpy as np

        self._library, self._places = library, places
        self.known = meanings is not None and library.has_meanings and len(meanings) > 0
        self.cosines: dict[int, np.ndarray] = {}
        self.main: dict[int, float] = {}
        self.whole: dict[int, float] = {}
        self.both: dict[int, float] = {}
        self.usual = 0.0
        self._share: np.ndarray | None = None
        self._pieces = pieces
        if not self.known or meanings is None:
            return
        given = np.asarray(meanings, np.float32)
        if len(given) == pieces:
            middle = given.mean(0, keepdims=True)
            given = np.concatenate([given, middle / np.linalg.norm(middle).clip(1e-6)])
        self._meanings = np.ascontiguousarray(given)
        self._compare_with_terms()
        all_of_family = products(library.centers[stretch], self._meanings)
        whole = len(places) == len(all_of_family)
        self._coarse = all_of_family if whole else all_of_family[places - stretch.start]
        known = library.known[places]
        sample = self._coarse[np.flatnonzero(known)[:: 1 + len(places) // SAMPLE]]
        many = len(sample)
        share = many / (many + USUAL_WEIGHT)
        zeros = np.zeros(self._meanings.shape[0], np.float32)
        mean = sample.mean(0) if many else zeros
        spread = sample.std(0) if many else zeros
        self.mean = share * mean + (1 - share) * USUAL_NEAR
        self.spread = share * spread + (1 - share) * USUAL_SPREAD

    def _compare_with_terms(self) -> None:
        """How likely each of the glossary's terms is what a piece, or the whole, means."""
        import numpy as np

        if self._meanings.shape[1] != WIDTH:
            return
        terms, everyday = concepts.vectors()
        to_everyday = products(self._meanings, everyday)
        self.usual = float(to_everyday[-1].max())
        to_terms = products(self._meanings, terms)
        to_all = np.exp(SHARPNESS * np.concatenate([to_terms, to_everyday], axis=1))
        share = (to_all / to_all.sum(1, keepdims=True))[:, : len(terms)]
        self._share = share

    def means(self, names: Iterable[str]) -> float:
        """How likely a piece of the wish, or the whole, means one of these terms, 0 to 1."""
        places = concepts.place_of()
        rows = [places[name] for name in names if name in places]
        if not rows or self._share is None:
            return 0.0
        return float(self._share[:, rows].sum(1).max())

    def best(self, many: int) -> np.ndarray:
        """Places of the cards whose middle is nearest to any piece, or to the whole."""
        import numpy as np

        if not self.known:
            return np.zeros(0, np.int64)
        best = self._coarse.max(1)
        best[~self._library.known[self._places]] = -1.0
        if len(best) > many:
            kept = np.argpartition(-best, many)[:many]
            # Where few meanings are learnt yet, some that nobody knows are among the nearest.
            return self._places[np.sort(kept[best[kept] > -1.0])]
        return self._places[best > -1.0]

    def measure(self, candidates: np.ndarray) -> None:
        """Exact: the nearest of a card's texts, for each piece and for the whole."""
        import numpy as np

        if not self.known:
            return
        starts, counts = self._library.starts, np.diff(self._library.starts)
        known = candidates[counts[candidates] > 0]
        if len(known):
            rows = np.concatenate([self._library.rows[starts[at] : starts[at + 1]] for at in known])
            found = products(rows.astype(np.float32), self._meanings)
            ends = np.cumsum(counts[known])
            first = ends - counts[known]
            best = np.maximum.reduceat(found, first, axis=0)
            second = np.minimum(first + 1, ends - 1)
            main = np.maximum(found[first], found[second])[:, :-1].max(1)
            for i, at in enumerate(known):
                self.cosines[int(at)] = best[i, :-1]
                self.main[int(at)] = float(main[i])
                self.whole[int(at)] = float(best[i, -1])
                self.both[int(at)] = float(best[i, -1] + PIECE * best[i, :-1].max())
        fifth = np.zeros(self._pieces, np.float32)
        if len(known) >= 5:
            fifth = np.sort(np.stack(list(self.cosines.values())), axis=0)[-5]
        self.fifth = np.maximum(fifth, (self.mean + self.spread)[:-1])

    def hopeful(self, candidates: np.ndarray, by_words: np.ndarray) -> list[int]:
        """The candidates that share words or are near enough."""
        held = set(by_words.tolist())
        return [
            int(at)
            for at in candidates
            if int(at) in held
            or max(float(self.cosines[int(at)].max()), self.whole[int(at)]) >= HOPELESS
        ]
