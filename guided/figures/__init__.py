"""Pictures of what an encoder has learned."""
