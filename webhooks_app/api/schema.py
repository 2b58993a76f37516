"""What views and serializers know of drf-spectacular, an extra: without it the API works
undocumented. (`describing` describes operations, `docs` serves what is described.)"""

from collections.abc import Callable
from typing import Any

try:
    from drf_spectacular import utils
    from drf_spectacular.extensions import OpenApiAuthenticationExtension
    from drf_spectacular.openapi import AutoSchema
except ImportError:  # the app is installed without its extra `docs`
    AVAILABLE = False
else:
    AVAILABLE = True


def base_schema() -> Any:
    """What our base view sets as `schema`, whatever the host's default is."""
    return AutoSchema() if AVAILABLE else None


def field(shape: dict[str, Any]) -> Callable[[Any], Any]:
    """Describe a serializer field (class or method) by a JSON schema."""
    return utils.extend_schema_field(shape) if AVAILABLE else lambda target: target


def exactly(result: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
    """A hook for POSTPROCESSING_HOOKS: objects have the named fields and no other, and a body that
    an operation takes must be sent."""
    for name, shape in result["components"]["schemas"].items():
        if shape.get("type") == "object" and name not in OPEN:
            shape["additionalProperties"] = False
    for operations in result["paths"].values():
        for operation in operations.values():
            if "requestBody" in operation:
                operation["requestBody"]["required"] = not operation.pop(MAY_BE_MISSING, False)
    return result


OPEN = {"InteractionWrite"}  # whose unknown keys are sent on
MAY_BE_MISSING = "x-body-may-be-missing"


if AVAILABLE:

    class BearerScheme(OpenApiAuthenticationExtension):
        target_class = "webhooks_app.api.authentication.BearerAuthentication"
        name = "developerAccessToken"

        def get_security_definition(self, auto_schema: Any) -> dict[str, Any]:
            return {"type": "http", "scheme": "bearer"}

    class SessionScheme(OpenApiAuthenticationExtension):
        target_class = "webhooks_app.api.authentication.SessionAuthentication"
        name = "session"

        def get_security_definition(self, auto_schema: Any) -> dict[str, Any]:
            from django.conf import settings

            return {"type": "apiKey", "in": "cookie", "name": settings.SESSION_COOKIE_NAME}
