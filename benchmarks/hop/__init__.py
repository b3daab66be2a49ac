"""What the hop through a proxy costs, beside other proxies: `python -m benchmarks.hop`."""
