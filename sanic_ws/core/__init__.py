"""The core: values and decisions, without asyncio and without I/O."""
