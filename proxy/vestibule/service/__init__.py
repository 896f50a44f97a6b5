"""The shell: load, decide by the pure floors, save, act. Every function takes the `Gateway` that `app` built once."""
