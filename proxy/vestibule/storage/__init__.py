"""The database: SQLAlchemy Core on SQLite. One module a table family; every function is an intent and one atomic
statement, or takes part in the transaction of its caller (`Database.write`). Never read, check, then write.
"""
