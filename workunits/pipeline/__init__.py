"""The flow, one stage a file. A public function is one use-case: keyword arguments, ids and `now`, one transaction."""
