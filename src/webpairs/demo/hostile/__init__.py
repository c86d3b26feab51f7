"""The web at its worst: a server on this machine that does everything a server must not.

`behaviours.BEHAVIOURS` is the table of what it does and what must come of each, `server.HostileWeb`
serves it, docs/hostile.md lists it. Nothing here sends a byte to another machine.
"""
