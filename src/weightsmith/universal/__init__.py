"""Universal synthesis: weights for any module, without training it."""

from weightsmith.universal.asking import SynthesisWarning, initialize, synthesize, synthesizer_for
from weightsmith.universal.coverage import Coverage, Excess
from weightsmith.universal.reading import Reading, Untouched
from weightsmith.universal.synthesis import Synthesis
from weightsmith.universal.synthesizer import UniversalSynthesizer

__all__ = [
    "Coverage",
    "Excess",
    "Reading",
    "Synthesis",
    "SynthesisWarning",
    "UniversalSynthesizer",
    "Untouched",
    "initialize",
    "synthesize",
    "synthesizer_for",
]
