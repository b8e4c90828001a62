"""The fleet's repository of signed models, releases and configuration (TUF), and the public log of models.

`staged` and `offline` are what people do with offline keys; `repository` is what the admission service signs by
itself, kept in a folder of its own; `log` is the chain. No database and no clock here: `now` is a parameter.
"""
