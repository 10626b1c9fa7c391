"""A small student learns the embeddings of a larger teacher."""
