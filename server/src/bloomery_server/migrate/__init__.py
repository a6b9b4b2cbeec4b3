"""`bloomery migrate`: an embedded installation moved into PostgreSQL and a bucket, as it is.

`parts.py` names the tables, `rows.py` says how a row goes from one database into the other, `source.py` and `target.py`
are the two databases, `journal.py` is what a repeat goes on from, `blobs.py` are the files, `needs.py` what the folder
lacks, `migration.py` the order of it all, `report.py` what is told.
"""
