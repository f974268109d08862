"""The demo: a small archive is made, published, read back in another process, and checked."""
