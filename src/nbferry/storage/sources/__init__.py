"""Sources: where a sender's chunks come from.

files          files and folders of this computer
scan           finds what to send, without opening a file
digest_cache   remembers digests of files, so that a resumed offer is not read twice
pages          files of a browser's machine, which a page lends slice by slice
"""
