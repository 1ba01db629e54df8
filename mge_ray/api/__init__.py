"""The HTTP API `/api/v2/execution` and the live page: FastAPI over ports. Knows no Ray and no SQL (ADR 16)."""
