from django.db import models


class Webhook(models.Model):
    url = models.URLField()
    secret = models.CharField(max_length=100)


class Delivery(models.Model):
    webhook = models.ForeignKey(Webhook, on_delete=models.CASCADE)
    payload = models.TextField()
    state = models.CharField(max_length=10, default="pending")
    status = models.PositiveSmallIntegerField(null=True)
    delivered_at = models.DateTimeField(null=True)
