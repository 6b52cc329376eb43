"""Other durable queues, asked the same as Safelight in one run: `./scripts/bench peers`.

Each peer is a module `with_...` here, run by a virtual environment of its own (`installing`), which
has nothing of Safelight's: such a module imports only that peer, and `front`.
"""
