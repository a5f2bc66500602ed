"""HTTP/1.1: messages, connections and the pool that keeps them."""
