-- Every replica this car has leased and the server has not yet settled. Rows are deleted when it has.
CREATE TABLE unit (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    token TEXT NOT NULL UNIQUE,
    state TEXT NOT NULL CHECK (state IN ('held', 'finished', 'uploading', 'returning')),
    contract TEXT NOT NULL,
    lease TEXT NOT NULL,
    boot_id TEXT NOT NULL,
    leased_at REAL NOT NULL,
    digest TEXT,
    output_bytes INTEGER,
    cpu_seconds REAL,
    sketch BLOB,
    kept_at REAL,
    return_kind TEXT,
    return_reason TEXT,
    return_detail TEXT,
    CONSTRAINT finished_has_an_output CHECK (state NOT IN ('finished', 'uploading') OR
        (digest IS NOT NULL AND output_bytes IS NOT NULL AND cpu_seconds IS NOT NULL)),
    CONSTRAINT returning_has_a_reason CHECK ((state = 'returning') = (return_reason IS NOT NULL))
) STRICT;
