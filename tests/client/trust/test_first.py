from __future__ import annotations

from fleetclient.trust.gate import Admission

MODEL = b"a model" * 100


def test_a_model_that_the_fleet_signed_runs_and_any_other_does_not(trusted_fleet, gate):
    sha256, size_bytes = trusted_fleet.admit(MODEL)
    other = "0" * 64
    gate.gate.want([(sha256, size_bytes), (other, 5)])
    assert gate.gate.judge(sha256, size_bytes) is Admission.PENDING
    assert gate.gate.refresh(), gate.log.getvalue()
    assert gate.gate.judge(sha256, size_bytes) is Admission.ADMITTED
    assert gate.gate.judge(sha256, size_bytes + 1) is Admission.REFUSED
    assert gate.gate.judge(other, 5) is Admission.REFUSED
    assert gate.gate.signed_config.origins == (trusted_fleet.origin,)
    assert gate.gate.stop_reason() == ""
