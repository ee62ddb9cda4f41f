"""What tests of sinks look into."""

from __future__ import annotations

from nbferry.storage.folder.sink import FolderSink
from nbferry.storage.folder.staged_files import Parts


def parts_of(sink: FolderSink) -> Parts:
    """The files that a prepared sink writes."""
    assert sink._arrival is not None
    return sink._arrival._parts
