"""The flow, one stage a file. Each public function is one use-case: keyword arguments, ids and `now`, one transaction."""
