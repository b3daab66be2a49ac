"""A provider that fails on demand: a real server whose bytes on the wire are under full control.

It speaks OpenAI's, Anthropic's and Gemini's dialect, notes down every request, and says what it is told to, well or
badly. `hullspeed mock` runs it for users, `hullspeed conform` puts it behind a gateway, the tests' fakes are it.
"""
