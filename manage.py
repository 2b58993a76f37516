#!/usr/bin/env python
import os
import sys


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
    if sys.argv[1:2] == ["quickstart"]:
        from project import first_run

        try:
            first_run.prepare()
        except (OSError, ValueError) as error:  # no such folder, no permission, not UTF-8
            sys.exit(f"manage.py: {first_run.env_path()} cannot be used: {error}")
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import execute_from_command_line

    try:
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as error:  # of project/settings.py: a sentence for the operator
        sys.exit(f"manage.py: {error}")


if __name__ == "__main__":
    main()
