"""Can the data be trusted at all? Are arms split as declared?"""

from math import log

import msgspec

WEIGHT = 100.0  # conversations the declared share counts for in the mixture
ALPHA = 0.001  # how often a sound split may be called unsound


class Split(msgspec.Struct):
    """The sample-ratio test: a Dirichlet mixture against the declared share, one phase after the other.

    Lindon & Malek 2022 (arXiv 2011.03567): log B(cp+n) - log B(cp) - Σ n log p, built up conversation by
    conversation; at a new share the counts start anew and the evidence is kept. `share` is the
    candidate's against the baseline, in (0, 1); other conversations are no evidence.
    """

    share: float = 0.0
    n_a: int = 0
    n_b: int = 0
    log_e: float = 0.0
    most: float = 0.0  # the highest it ever was

    def add(self, is_candidate: bool, share: float) -> None:
        if share != self.share:
            self.share, self.n_a, self.n_b = share, 0, 0
        declared, n = (share, self.n_b) if is_candidate else (1 - share, self.n_a)
        expected = (WEIGHT * declared + n) / (WEIGHT + self.n_a + self.n_b)
        self.log_e += log(expected / declared)
        self.most = max(self.most, self.log_e)
        if is_candidate:
            self.n_b += 1
        else:
            self.n_a += 1

    @property
    def unsound(self) -> bool:
        return self.most >= -log(ALPHA)
