"""A database backend for when no database is configured: it knows PostgreSQL's SQL but refuses to connect.

Commands that need no database (`makemigrations --check`, `collectstatic`, the type checker) work with it.
"""
