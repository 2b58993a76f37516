"""For load balancers and Prometheus, wherever a host project likes:
`path("", include("webhooks_app.urls_operations"))`."""

from django.urls import path

from .api import operations

app_name = "webhooks_operations"

urlpatterns = [
    path("healthz", operations.healthz, name="healthz"),
    path("readyz", operations.readyz, name="readyz"),
    path("metrics", operations.metrics, name="metrics"),
]
