"""OpenAPI."""
from kcore.api.kinds import KindTable
from kcore.http.messages import Request, Response


class OpenApi:
    def __init__(self, kinds: KindTable) -> None:
        self._kinds = kinds

    def answer(self, request: Request) -> Response | None:
        return None
