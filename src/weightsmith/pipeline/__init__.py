"""The pipeline: one experiment from its recipe to its report, in a folder that can be resumed."""

from weightsmith.pipeline.folder import RunFolder
from weightsmith.pipeline.stages import STAGES, EngineFactory, local_engine, run_pipeline

__all__ = ["STAGES", "EngineFactory", "RunFolder", "local_engine", "run_pipeline"]
