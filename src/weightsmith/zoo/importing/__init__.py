"""Importing: networks that exist, in files or arrays, become rows of a zoo."""

from weightsmith.zoo.importing.importer import import_zoo
from weightsmith.zoo.importing.reporting import ImportReport
from weightsmith.zoo.importing.sources import Source, open_source

__all__ = ["ImportReport", "Source", "import_zoo", "open_source"]
