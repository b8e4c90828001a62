"""What requests may say; every refusal points at the value."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, ClassVar, Final

from rest_framework import serializers

from workunits.domain.audits.levels import ADVERSARIAL_SHARE_DEFAULT, Finality, VerificationLevel
from workunits.domain.comparison import OptionInvalid, read_options
from workunits.pipeline.intake import (
    ADVERSARIAL_SHARE_MIN,
    BATCH_ROWS_DEFAULT,
    BATCH_ROWS_MAX,
    PRIORITY_MAX,
    QUORUM_DEFAULT,
    QUORUM_MAX,
    UNIT_TARGET_SECONDS_MAX,
)

METADATA_KEYS_MAX: Final = 16
METADATA_KEY_CHARS_MAX: Final = 64
METADATA_VALUE_CHARS_MAX: Final = 512
DIMENSION_MAX: Final = 1_000_000
# The options travel to the sandbox as one argument of a command, which the kernel bounds.
NAMED_MAX: Final = 64
NAME_CHARS_MAX: Final = 200
LEVELS: Final = tuple(level.value for level in VerificationLevel if level is not VerificationLevel.QUORUM)
_SAY_ONE: Final = 'say {"level": "standard"} or {"quorum": 2}, one of the two'
_OUTPUT_MEMBERS = {"name", "comparator", "tolerance", "options"}


class ModelOptions(serializers.Serializer[Any]):
    """Options of a model upload, in the query (raw body) or in the form."""

    name = serializers.CharField(max_length=120)
    batch_rows = serializers.IntegerField(min_value=1, max_value=BATCH_ROWS_MAX, default=BATCH_ROWS_DEFAULT)
    fixed_dims = serializers.JSONField(
        default=dict, help_text='JSON object: a value for each free dimension but the rows\', e.g. {"sequence": 16}'
    )
    outputs = serializers.JSONField(
        default=None,
        help_text="JSON list of the outputs wanted: [{name, comparator?, tolerance?, options?}]; all by default",
    )

    def validate_fixed_dims(self, value: Any) -> dict[str, int]:
        """Return the dimensions; each must have a whole number of at least 1."""
        if not isinstance(value, dict):
            raise serializers.ValidationError("must be a JSON object of dimension names and sizes")
        _check_names(value)
        for name, size in value.items():
            if not isinstance(size, int) or isinstance(size, bool) or not 1 <= size <= DIMENSION_MAX:
                raise serializers.ValidationError(f"{name!r} must be a whole number from 1 to {DIMENSION_MAX}")
        return value

    def validate_outputs(self, value: Any) -> list[dict[str, Any]] | None:
        """Return the outputs; each an object with a name."""
        if value is None:
            return None
        if not isinstance(value, list) or not value:
            raise serializers.ValidationError("must be a JSON list of objects")
        for item in value:
            if not isinstance(item, dict) or not isinstance(item.get("name"), str) or set(item) - _OUTPUT_MEMBERS:
                raise serializers.ValidationError(
                    "each output is an object: name, and optionally comparator, tolerance and options"
                )
            comparator, tolerance = item.get("comparator", "exact"), item.get("tolerance", 0)
            if not isinstance(comparator, str) or len(comparator) > NAME_CHARS_MAX:
                raise serializers.ValidationError("a comparator is a short text")
            if not isinstance(tolerance, int | float) or not 0 <= tolerance <= 0.1:
                raise serializers.ValidationError(f"the tolerance of {item['name']!r} must be 0 to 0.1")
            _check_output_options(item)
        _check_names([item["name"] for item in value])
        return value


def _check_output_options(item: dict[str, Any]) -> None:
    """Refuse options that the output's comparator does not know, before the model is examined."""
    if item.get("options") is None:
        return
    if "comparator" not in item:
        raise serializers.ValidationError(f"the options of {item['name']!r} need a comparator that they are for")
    try:
        read_options(item["comparator"], item["options"])
    except OptionInvalid as problem:
        raise serializers.ValidationError(f"{item['name']!r}: {problem}") from None


class DatasetOptions(serializers.Serializer[Any]):
    """Options of a dataset upload, in the query (raw body) or in the form."""

    name = serializers.CharField(max_length=120)
    format = serializers.ChoiceField(choices=["parquet", "npz"])


def _escaped(text: str) -> str:
    """Return a text as the framework's templates of messages want it."""
    return text.replace("{", "{{").replace("}", "}}")


def one_of(names: Collection[str], hint: str = "", **options: Any) -> serializers.ChoiceField:
    """Return a field that takes one of these names, and lists them where it refuses another."""
    detail = _escaped(f"must be one of {', '.join(names)}{hint}")
    options["error_messages"] = {"invalid_choice": detail, "null": detail}
    return serializers.ChoiceField(choices=list(names), **options)


class StrictSerializer(serializers.Serializer[Any]):
    """Refuses members that it does not know, instead of dropping them: they are mistyped ones."""

    def to_internal_value(self, data: Any) -> Any:
        """Read the members."""
        unknown = sorted(set(data) - set(self.fields)) if isinstance(data, dict) else []
        if unknown:
            raise serializers.ValidationError({name: [self.hint_for(name)] for name in unknown})
        return super().to_internal_value(data)

    def hint_for(self, _name: str) -> str:
        """Say what is wrong about a member of this name."""
        return f"this member is not known; there are {', '.join(self.fields)}"


class VerificationRequest(StrictSerializer):
    """How sure the researcher wants to be: a level, or a number of outputs that have to agree."""

    default_error_messages: ClassVar[dict[str, Any]] = dict.fromkeys(("invalid", "null"), _escaped(_SAY_ONE))
    level = one_of(LEVELS, hint='; outputs that have to agree are said as {"quorum": 2}', required=False)
    quorum = serializers.IntegerField(min_value=1, max_value=QUORUM_MAX, required=False)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Return the choice; it has to be exactly one."""
        if len(attrs) != 1:
            raise serializers.ValidationError(_SAY_ONE)
        return attrs


class BatchRequest(StrictSerializer):
    """The order to run a model over a dataset. `quorum` is the older way to say `verification: {"quorum": …}`."""

    model = serializers.CharField(max_length=40)
    dataset = serializers.CharField(max_length=40)
    quorum = serializers.IntegerField(min_value=1, max_value=QUORUM_MAX, required=False)
    verification = VerificationRequest(required=False)
    finality = one_of([each.value for each in Finality], default=Finality.FINAL.value)
    assumed_adversarial_share = serializers.FloatField(
        min_value=ADVERSARIAL_SHARE_MIN, max_value=1.0, default=ADVERSARIAL_SHARE_DEFAULT
    )
    priority = serializers.IntegerField(min_value=-PRIORITY_MAX, max_value=PRIORITY_MAX, default=0)
    unit_target_seconds = serializers.FloatField(
        min_value=0.01, max_value=UNIT_TARGET_SECONDS_MAX, default=None, allow_null=True
    )
    metadata = serializers.DictField(
        child=serializers.CharField(max_length=METADATA_VALUE_CHARS_MAX, allow_blank=True), default=dict
    )

    def validate_metadata(self, value: dict[str, str]) -> dict[str, str]:
        """Return the metadata; a few short keys."""
        is_long = any(len(key) > METADATA_KEY_CHARS_MAX or not key.isprintable() for key in value)
        if len(value) > METADATA_KEYS_MAX or is_long:
            raise serializers.ValidationError(
                f"at most {METADATA_KEYS_MAX} keys of at most {METADATA_KEY_CHARS_MAX} printable characters"
            )
        return value

    def hint_for(self, name: str) -> str:
        """Say where a level belongs."""
        if name == "level":
            return 'say it as "verification": {"level": "standard"}'
        return super().hint_for(name)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Return the order with one `level` and one `quorum`, however they were said."""
        chosen = attrs.pop("verification", {})
        if chosen and "quorum" in attrs:
            raise serializers.ValidationError({"quorum": ["say quorum or verification, not both"]})
        return {
            **attrs,
            "level": VerificationLevel(chosen.get("level", VerificationLevel.QUORUM)),
            "quorum": chosen.get("quorum", attrs.get("quorum", QUORUM_DEFAULT)),
        }


def _check_names(names: Collection[str]) -> None:
    """Refuse names that no graph has: too many, too long, or not printable (JSON escapes can spell such)."""
    if len(names) > NAMED_MAX or any(len(name) > NAME_CHARS_MAX or not name.isprintable() for name in names):
        raise serializers.ValidationError(f"at most {NAMED_MAX} names of at most {NAME_CHARS_MAX} printable characters")
