"""Commands for operators: `python manage.py NAME`."""
