"""The only place with cursors, row locks and blobs. It moves what it is told to move; `pipeline` says when."""
