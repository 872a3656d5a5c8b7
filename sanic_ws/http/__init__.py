"""The HTTP side: one module a resource."""
