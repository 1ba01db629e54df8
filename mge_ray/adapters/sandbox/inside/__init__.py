"""What runs inside the sandbox: the standard library and pytest, nothing else of this project."""
