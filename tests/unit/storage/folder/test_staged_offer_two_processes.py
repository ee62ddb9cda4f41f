"""Two processes write the same offer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbferry.model.overwrite import Overwrite
from nbferry.storage.disk.system import REAL_DISK
from nbferry.storage.folder.manifest_file import progress_of
from offers import DIGEST, FILES, PUBLISHED, sink_to, visible
from unit.storage.folder.staged_offer_setup import OFFER, OFFERED, part, resumed

# When a process crashes the system still writes what it has cached: these flushes need do nothing.
QUICK = replace(REAL_DISK, sync=lambda _: None, sync_whole=lambda _: True)


@pytest.mark.parametrize("overwrite", [Overwrite.RENAME, Overwrite.REPLACE, Overwrite.REFUSE])
def test_two_processes_publish_the_same(to: Path, overwrite: Overwrite) -> None:
    """A second process finds what the first one has published."""
    first = sink_to(to, OFFER, overwrite=overwrite)
    first.store(OFFERED)
    first.sync()
    second = resumed(to, overwrite=overwrite)
    paths = first.publish(DIGEST)
    assert second.publish(DIGEST) == paths
    assert visible(to) == PUBLISHED
    first.discard()
    assert second.publish(DIGEST) == paths
    second.close()
    assert visible(to) == PUBLISHED


ACTS = st.tuples(
    st.integers(0, 1), st.sampled_from(["store", "sync", "die"]), st.integers(0, len(OFFERED) - 1)
)


@given(st.lists(ACTS, max_size=15))
def test_two_processes_at_once(
    tmp_path_factory: pytest.TempPathFactory, acts: list[tuple[int, str, int]]
) -> None:
    """P12: two processes that write the same transfer, and crash, vouch only for right chunks."""
    to = tmp_path_factory.mktemp("both") / "to"
    sinks = [resumed(to, disk=QUICK), resumed(to, disk=QUICK)]
    for which, act, chunk in acts:
        match act:
            case "store":
                sinks[which].store([OFFERED[chunk]])
            case "sync":
                sinks[which].sync()
                durable = sinks[which].have
                progress = progress_of(to, "t1")
                assert progress
                assert not durable - progress[1]
            case "die":
                sinks[which].close()
                sinks[which] = resumed(to, disk=QUICK)
    for sink in sinks:
        for chunk in sink.have:
            place = OFFER.place(chunk)
            data = part(to, OFFER.entries[place.entry].path).read_bytes()
            assert data[place.offset : place.offset + place.length] == OFFERED[chunk].data
    sinks[0].store(OFFERED)
    paths = sinks[0].publish(DIGEST)
    assert [path.read_bytes() for path in paths] == list(FILES.values())
    for sink in sinks:
        sink.discard()
