"""Transfers as a caller holds them: handles, and the notebook that keeps them.

    arguments   checks what callers and the environment say
    notebook    starts, resumes, lists and ends transfers; keeps one handle for each
    handle      the handle: snapshots, commands and waiting
    unfinished  what earlier processes left: found, described, ended
    lending     the pages that lend files to a transfer
    face        the port through which a transfer meets a person

Six carriers lead from a call to a session:

    record    what is asked for                    storage.records.record
    settings  how this process runs it             connections.settings
    store     keeps the record, holds its claim    engine.activities.record_store
    activity  runs the transfer                    engine.activities
    transfer  the handle, which callers hold       transfer.handle
    face      meets a person                       transfer.face
"""
