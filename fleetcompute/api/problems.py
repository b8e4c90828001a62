"""Every error code that the APIs answer with: its status, its title, and the page that explains it.

The one table that maps codes to HTTP. `/problems/{code}` shows the explanation, so that every `type` resolves.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class Problem(NamedTuple):
    """How a code is answered. `explanation` says what happened and what the caller can do."""

    status: int
    title: str
    explanation: str
    retryable: bool = False


PROBLEMS: Final[dict[str, Problem]] = {
    # Any interface
    "malformed_request": Problem(
        400, "The request cannot be read", "The body, a header or a field cannot be read; `detail` names it."
    ),
    "invalid_request": Problem(
        422,
        "A value is not allowed",
        "The request can be read, but a value in it is not allowed; `errors` points at it.",
    ),
    "not_found": Problem(404, "There is nothing here", "The address is wrong, or what it names is not yours."),
    "page_forbidden": Problem(403, "This page is not for you", "Sign in as somebody who may see it."),
    "method_not_allowed": Problem(
        405, "The method is not allowed", "The header `Allow` lists the methods of this address."
    ),
    "not_acceptable": Problem(
        406, "The wanted form is not offered", "Ask for one of the forms that the documentation lists."
    ),
    "unsupported_media_type": Problem(
        415, "The body's type is not supported", "Send one of the content types that the documentation lists."
    ),
    "length_required": Problem(411, "The length is missing", "An upload needs a Content-Length."),
    "body_too_large": Problem(413, "The body is too large", "The body is over the limit that `detail` names."),
    "blob_missing": Problem(404, "The file is gone", "It is not in the blob store any more."),
    "blob_digest_mismatch": Problem(
        422, "The bytes are not those announced", "They do not have the announced SHA-256."
    ),
    "split_refused": Problem(
        422, "The dataset cannot be cut", "The batch cannot be cut into work units; `detail` says why."
    ),
    "rows_not_once": Problem(
        500, "A result would miss or repeat a row", "The result was not written; an operator is needed."
    ),
    "units_changed": Problem(
        409, "The units changed meanwhile", "Work units were decided anew; try again.", retryable=True
    ),
    "transfer_key_reused": Problem(
        500, "A transfer's key was used before", "Nothing was booked; an operator is needed."
    ),
    "result_unknown": Problem(404, "There is no such result", "There is no such batch, or not in this format."),
    "range_not_satisfiable": Problem(416, "The range is outside the file", "`Content-Range` gives the file's length."),
    "rate_limited": Problem(429, "Too many requests", "Wait as long as the header `Retry-After` says.", retryable=True),
    "internal_error": Problem(
        500, "Our mistake", "Something failed here; nothing was changed. Try again later.", retryable=True
    ),
    "unavailable": Problem(
        503, "Not ready", "A service that this depends on does not answer; try again.", retryable=True
    ),
    # Researchers
    "api_key_missing": Problem(401, "An API key is needed", "Send the header `Authorization: Bearer fleet_sk_live_…`."),
    "api_key_invalid": Problem(401, "The API key is not valid", "It is unknown, revoked or expired; make a new one."),
    "scope_missing": Problem(403, "The API key lacks a scope", "`detail` names the scope; make a key that has it."),
    "model_refused": Problem(
        422,
        "The model was refused",
        "`errors` lists what is wrong and where (node, operator, opset). Nothing was stored.",
    ),
    "invalid_output_option": Problem(
        422, "An output's option makes no sense", "`detail` names the option and what its comparator knows."
    ),
    "dataset_refused": Problem(
        422, "The dataset was refused", "`detail` names file, column and row. Nothing was stored."
    ),
    "digest_mismatch": Problem(
        422,
        "The bytes are not those announced",
        "Their SHA-256 differs from Content-Digest; send them again.",
        retryable=True,
    ),
    "model_unknown": Problem(404, "There is no such model", "This project has no model with that id."),
    "dataset_unknown": Problem(404, "There is no such dataset", "This project has no dataset with that id."),
    "batch_unknown": Problem(404, "There is no such batch", "This project has no batch with that id."),
    "unit_unknown": Problem(404, "There is no such work unit", "Units are numbered from 0 in input order."),
    "dataset_mismatch": Problem(
        422,
        "The dataset does not fit the model",
        "Each entry of `errors` names a model input and the dataset's column.",
    ),
    "batch_state_conflict": Problem(
        409, "The batch's state does not allow this", "`detail` names the state; look at the batch again."
    ),
    "results_not_ready": Problem(
        409, "There are no results yet", "No row has been validated so far; try again later.", retryable=True
    ),
    "results_unavailable": Problem(404, "There are no results", "The batch ended without a validated row."),
    "idempotency_key_reused": Problem(
        422, "The idempotency key was used for another request", "Use a new key for a new request; keys last 24 hours."
    ),
    # Vehicles: see docs/reference/vehicle-wire.md
    "signature_missing": Problem(
        401, "The signature is missing", "Every request but `pair/device` is signed with the car's key."
    ),
    "signature_invalid": Problem(401, "The signature is wrong", "It does not fit the request or the car's key."),
    "signature_expired": Problem(
        401, "The signature is too old", "The clock is too far off; use the answer's `Date`.", retryable=True
    ),
    "vehicle_unknown": Problem(401, "There is no such vehicle", "No vehicle or key has that id; pair again."),
    "vehicle_revoked": Problem(403, "The vehicle was removed", "The owner or an operator removed this car: stop."),
    "counter_replayed": Problem(409, "The counter was used before", "It must be greater than the last one."),
    "sync_conflict": Problem(409, "Another sync of this car won", "Try again.", retryable=True),
    "replica_unknown": Problem(404, "There is no such replica", "The token is not one of ours, or names nothing."),
    "replica_not_yours": Problem(403, "The replica is another car's", "It was leased to another car."),
    "lease_expired": Problem(410, "The lease has ended", "The unit went to another car; drop it."),
    "replica_ended": Problem(410, "The replica has ended", "It was returned, errored or cancelled already."),
    "output_digest_mismatch": Problem(
        422,
        "The output is not the committed one",
        "The bytes do not have the committed SHA-256; upload them again.",
        retryable=True,
    ),
    "output_malformed": Problem(
        422, "The output cannot be read", "It is not safetensors, or names, dtypes or shapes differ from the contract."
    ),
    "output_too_large": Problem(413, "The output is too large", "It is over the contract's `output_bytes_max`."),
    "upload_offset_conflict": Problem(
        409, "The upload stands elsewhere", "Ask for `Upload-Offset` and go on from there.", retryable=True
    ),
    "upload_not_expected": Problem(409, "Nothing was committed", "Commit the output's digest in a sync first."),
    "blob_not_leased": Problem(404, "The blob is not leased to this car", "No live lease of this car names it."),
    "authorization_pending": Problem(
        400, "The owner has not answered yet", "Ask again after the interval.", retryable=True
    ),
    "slow_down": Problem(400, "Asked too often", "Wait five seconds longer between requests.", retryable=True),
    "access_denied": Problem(400, "The owner refused", "The owner did not approve this car."),
    "expired_token": Problem(400, "The code has expired", "Start the pairing again."),
    "pairing_unknown": Problem(404, "There is no such pairing", "Check the code on the car's screen."),
    "match_number_wrong": Problem(
        400, "That is not the number on the screen", "The car was refused; let it show a new code."
    ),
    "rotation_proof_invalid": Problem(
        422, "The new key proves nothing", "It must sign for this vehicle and the key that it replaces."
    ),
    "rules_invalid": Problem(422, "These are no owner's rules", "`detail` names the key and says how to mend it."),
    "vehicle_rules_invalid": Problem(422, "These are no rules", "`detail` names what is wrong."),
    # Owners and operators
    "reason_missing": Problem(422, "A reason is needed", "Say why; `detail` names the longest text that is taken."),
    "appeal_not_possible": Problem(
        409, "There is nothing to appeal", "The car is not held back, or its last appeal waits for an answer."
    ),
    "no_appeal": Problem(409, "No appeal waits", "It was answered already, or the owner did not appeal."),
    "already_quarantined": Problem(409, "The car is quarantined already", "It gets no work."),
    "not_held_back": Problem(409, "The car is not held back", "It is neither watched nor quarantined."),
    "unit_not_repeatable": Problem(
        409, "The unit cannot be run again", "It has no result, or its batch is not one whose results are audited."
    ),
    "run_under_way": Problem(409, "The run is ordered already", "An anchor is to run this unit already."),
    "anchor_unfit": Problem(
        503, "This machine is no anchor", "It cannot confine a model; `detail` says what it lacks."
    ),
    "anchor_run_failed": Problem(422, "The unit cannot be run", "An anchor tried; `detail` says how it ended."),
    "anchor_stopped": Problem(503, "The anchor ended", "Another one runs the unit.", retryable=True),
    "input_damaged": Problem(500, "A unit's input is damaged", "Its bytes are not those that were cut."),
    "owner_unknown": Problem(404, "There is no such owner", "No owner has that public id."),
    "same_owner": Problem(422, "That is one owner", "Name two: an owner is always one party with himself."),
    "key_already_paired": Problem(409, "The key is paired already", "This key belongs to a vehicle already."),
}

# RFC 8628 wants these under the member `error` as well.
DEVICE_GRANT_CODES: Final = frozenset({"authorization_pending", "slow_down", "access_denied", "expired_token"})


def problem_of(code: str) -> Problem:
    """Return the table's entry; an unlisted code is answered as a plain bad request under its own name."""
    return PROBLEMS.get(code) or Problem(400, code.replace("_", " ").capitalize(), "")
