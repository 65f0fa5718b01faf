"""An OpenAPI fuzzer against a running API server."""
