from django.db import models


class Order(models.Model):
    order = models.TextField()
