"""The client's side of a node: handshake, connection, messages, keep-alive."""
