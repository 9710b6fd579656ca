"""
Checkpoints: signed statements of how many entries a log had and what its tree was, kept where the log's owner
cannot change them.
"""
