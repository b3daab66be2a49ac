"""How clients may speak: OpenAI's chat, completions, embeddings and responses, and Anthropic's messages.

The gateway knows one form of a request and of a reply, OpenAI's chat. A dialect puts a client's request into it, so
that routers see the same query whoever asks, and puts replies back. Where a model's provider speaks the client's own
dialect nothing is translated: the body goes through as it came, and so does the reply.
"""
