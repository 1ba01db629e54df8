"""One file per schema change, oldest first; each is also listed in `tables.REVISIONS`."""
