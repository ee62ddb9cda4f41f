"""What tests of sinks look into."""

from __future__ import annotations

from nbferry.storage.folder.sink import FolderSink
from nbferry.storage.folder.staged_files import StagedFiles


def parts_of(sink: FolderSink) -> StagedFiles:
    """The files that a prepared sink writes."""
    assert sink._staged is not None
    return sink._staged._files
