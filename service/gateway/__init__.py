"""The HTTP front: OpenAI-shaped requests in, searches asked of the workers, OpenAI-shaped answers out."""
