"""The disk: what stands between storage and the operating system.

system        the system calls, with substitutes where a platform lacks one; ``Disk`` is what tests replace
directory     a folder held open, so that no link can take its place
private       folders that only this user can enter
state         the state folder ``.nbferry``
handles       a cache of open files and folders
atomic_file   small files that appear whole or not at all
run_log       an append-only log that survives crashes
rename        renaming that never overwrites
failures      operating system errors as errors with a sentence and a hint
"""
