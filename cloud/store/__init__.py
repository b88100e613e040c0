"""What the cloud keeps: rows in SQL (SQLite by default), files by their SHA-256 in an object store.

Functions of the row modules take a connection and run inside the caller's transaction, in a thread;
`database` joins them to asyncio. They speak in the dataclasses of `cloud.fleet`.
"""
