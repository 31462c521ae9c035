"""Where networks may come from: folders of checkpoints, exports, Ray Tune's folders, arrays."""

from weightsmith.zoo.importing.sources.candidate import Candidate, Source, Unusable
from weightsmith.zoo.importing.sources.choosing import SOURCES, open_source

__all__ = ["SOURCES", "Candidate", "Source", "Unusable", "open_source"]
