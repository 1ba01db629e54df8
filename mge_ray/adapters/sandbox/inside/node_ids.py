"""What contains what among pytest's names of tests."""


def covers(test: str, node_id: str) -> bool:
    """Whether the requested test (file, folder, class, function) contains the node."""
    return test in {node_id, "."} or node_id.startswith((f"{test}::", f"{test}[", f"{test.rstrip('/')}/"))
