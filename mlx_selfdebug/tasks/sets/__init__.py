"""Read public task sets. Each module makes tasks of the published files of one set; ``tasks/load.py`` has the sets by name.

``records.py`` reads records of any set, ``published.py`` downloads files, and ``database.py`` opens the databases of SQL.
"""
