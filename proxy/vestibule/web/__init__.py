"""The control plane's doors: each handler parses, calls one service, renders. Nothing is decided here."""
