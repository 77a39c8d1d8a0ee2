from studio_client import pipe, studio  # noqa: F401
