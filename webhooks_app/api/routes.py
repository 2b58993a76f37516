"""How a view set is served: under its path, and alike with a slash behind it."""

from typing import Any

from django.urls import URLPattern, path

ITEM = {"get": "retrieve", "put": "update", "patch": "partial_update", "delete": "destroy"}
METHODS = ("get", "post", "put", "patch", "delete")


def served(route: str, viewset: Any, methods: dict[str, str], name: str) -> list[URLPattern]:
    return [
        path(route, viewset.as_view(dict(methods)), name=name),
        path(f"{route}/", viewset.as_view(dict(methods), schema=None)),
    ]
