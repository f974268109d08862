"""What the benchmarks share: rounds, tables, files to read, and a server with latency."""
