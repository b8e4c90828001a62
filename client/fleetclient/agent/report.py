"""The status document: everything that `status`, the local page and Home Assistant may show. They read nothing else.

It is stored as `status.json` in the state folder whenever something in it (but the clock) has changed, and the control
socket answers `{"command": "status"}` with a fresh one. Every member is always there; None means not known.

    version            1
    at                 Unix seconds, this machine's clock, when the document was made
    pid, stopped       the agent's process id; True in the last document of an agent that has ended
    agent              {"version", "runtime", "comparison_class"}
    car, vehicle_id    the car's name in its configuration; its id, None before pairing
    state              working | ready | waiting | paused | offline | attention | suspended | stopped
    sentence           one English sentence for people
    eligible, reasons  may the car compute now; the closed gates' reason codes, the most telling first
    until              Unix seconds: not eligible: the earliest start; eligible: the latest end; None when nobody knows
    next_check_seconds the verdict cannot change by the passing of time alone before then
    signals            name -> None (never heard of) or {"value": bool | number | None, "age_seconds", "source"}
    gates              [{"name", "open", "reason", "detail", "until"}] in the order of the rules
    online             did the last talk with the server succeed
    last_contact_at    Unix seconds of the last good sync of this process, None before it
    next_sync_seconds  until the next sync
    clock_skew_seconds the server's clock less this machine's
    units              {"held", "finished", "uploading", "returning"}: how many
    completed          units finished since the agent began
    rows_done, rows    of the unit that is being run; None when none is
    runner             None or {"pid", "frozen", "model" (12 hex digits), "walls": name -> holds}
    walls              {"refused": why nothing can be confined here, "" if it can, "holds": name -> bool}
    trust              {"mode", "stop_reason"}: stop_reason is "" unless the fleet was stopped
    models_refused     [{"model" (12 hex digits), "until"}]: they crashed too often
    pause              {"until": Unix seconds or None, "forever": bool, "finishing": bool}
    usage              {"bytes_today", "bytes_this_month", "worked_seconds_today", "energy_wh_today"}
    power_w            estimate of what the work draws now, 0 while nothing runs; None without an estimate
    net_per_hour, net_today   in the owner's currency, None when no price or pay is known
    device_temp_c      of this computer, None where no sensor is
    network            {"allowed": bool | None}; its name stays in the car
    messages           the server's last messages to the owner: [{"at", "level", "code", "text"}], at most 20
    error              what last went wrong, "" when nothing did: {"at", "code", "text"} or None
"""
