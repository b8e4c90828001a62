"""Pure rules: no Django, no clock, no input or output. Everything here can be tested with values alone."""
