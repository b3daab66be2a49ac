"""The proxy contract as a command: real requests to a gateway, the mock behind it, and a verdict on every point.

A check is one small coroutine (`app.conform.check`); the modules beside it hold the checks, one subject each.
"""
