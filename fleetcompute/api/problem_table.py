"""Every error code that an API answers, with its HTTP status, its title, and what to do about it."""

from __future__ import annotations

from typing import Final, NamedTuple


class Problem(NamedTuple):
    """One kind of refusal. `remedy` completes the page at `/problems/{code}`."""

    status: int
    title: str
    remedy: str


PROBLEMS: Final[dict[str, Problem]] = {
    # Both APIs
    "internal_error": Problem(500, "Something went wrong on our side", "Try again later; tell us if it goes on."),
    "malformed_request": Problem(400, "The request cannot be read", "The detail names the part that is wrong."),
    "invalid_request": Problem(422, "A field has a value that cannot be taken", "See `errors` for each field."),
    "not_found": Problem(404, "There is nothing here", "Check the id; other projects' things count as absent."),
    "method_not_allowed": Problem(405, "This address does not take that method", "See the API's reference."),
    "not_acceptable": Problem(406, "No such representation", "Ask for JSON, or leave Accept out."),
    "unsupported_media_type": Problem(415, "This kind of body is not taken here", "See the API's reference."),
    "body_too_large": Problem(413, "The body is too large", "The detail names the limit."),
    "range_not_satisfiable": Problem(416, "No such range", "Ask for a range within the size in Content-Range."),
    "rate_limited": Problem(429, "Too many requests", "Wait as long as Retry-After says."),
    # Vehicles
    "signature_missing": Problem(401, "The request is not signed", "Sign it as the wire's reference says."),
    "signature_invalid": Problem(401, "The signature does not match", "Check key, host, path and digest."),
    "signature_expired": Problem(401, "The signature is too old", "Take the time from this answer's Date header."),
    "vehicle_unknown": Problem(401, "No such vehicle", "Pair the car again."),
    "vehicle_revoked": Problem(403, "This vehicle was removed", "Its owner may pair it again with a new key."),
    "counter_replayed": Problem(409, "The counter was used before", "Send a greater one; check for a cloned key."),
    "sync_conflict": Problem(409, "Another sync of this car won", "Try again with a greater counter."),
    "replica_unknown": Problem(404, "No such replica", "Drop the token."),
    "replica_not_yours": Problem(403, "The replica is another car's", "Drop the token."),
    "lease_expired": Problem(410, "The lease has ended", "Drop the work; the unit went to another car."),
    "replica_ended": Problem(410, "The replica has ended", "Drop the work."),
    "output_digest_mismatch": Problem(422, "The bytes do not have the committed digest", "Upload again from 0."),
    "output_malformed": Problem(422, "The output is not what the contract asks for", "The detail names the tensor."),
    "output_too_large": Problem(413, "The output is too large", "The contract names the limit."),
    "upload_offset_conflict": Problem(409, "The offset is not where the upload stands", "Ask with HEAD."),
    "upload_not_expected": Problem(409, "Nothing was committed for this replica", "Commit in a sync first."),
    "blob_not_leased": Problem(404, "No live lease names this blob", "Sync first."),
    "authorization_pending": Problem(400, "The owner has not answered yet", "Ask again after the interval."),
    "slow_down": Problem(400, "Asked too often", "Wait five seconds longer between polls."),
    "access_denied": Problem(400, "The owner refused", "Start a new pairing if that was a mistake."),
    "expired_token": Problem(400, "The code has expired", "Let the car show a new one."),
    "pairing_unknown": Problem(404, "No car shows this code", "Check the letters; codes live ten minutes."),
    "key_already_paired": Problem(409, "This key is a vehicle's already", "Remove the vehicle, or make a new key."),
}
