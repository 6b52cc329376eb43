"""What a wire format is made of: pairs of inverses over plain records, and no I/O.

A dialect reads and writes with the same tables: `Fields` pairs our names with the wire's, `States`
our statuses with the wire's words, and `Reading` asks what came from outside for values by name
and kind. The rule that binds whoever edits a dialect: nothing from outside is indexed plainly, and
whatever is wrong with it is raised as `Malformed` with the path to it.
"""

from safelight.wire.dialect import (
    CANNOT,
    Context,
    Credential,
    Dialect,
    Exchange,
    Key,
    Match,
    Route,
    Router,
    deed,
    refuse_demands,
    refuse_filters,
)
from safelight.wire.fields import Field, Fields, States, build_task
from safelight.wire.forms import Part, read_form, write_form
from safelight.wire.frames import NAMED_SIZES, Frame, merge_frames, read_frame
from safelight.wire.json import compact_json, read_json
from safelight.wire.messages import (
    Request,
    Response,
    fault_of_status,
    json_request,
    json_response,
    query_string,
    read_bearer,
    read_retry_after,
    retry_after_header,
)
from safelight.wire.reading import Reading, read_ids, require
from safelight.wire.sorts import ANYTHING, FLAG, INTEGER, NUMBER, SEED, TEXT, TEXTS, Sort, pairs
from safelight.wire.sources import is_address, read_base64, read_source

__all__ = [
    "ANYTHING",
    "CANNOT",
    "FLAG",
    "INTEGER",
    "NAMED_SIZES",
    "NUMBER",
    "SEED",
    "TEXT",
    "TEXTS",
    "Context",
    "Credential",
    "Dialect",
    "Exchange",
    "Field",
    "Fields",
    "Frame",
    "Key",
    "Match",
    "Part",
    "Reading",
    "Request",
    "Response",
    "Route",
    "Router",
    "Sort",
    "States",
    "build_task",
    "compact_json",
    "deed",
    "fault_of_status",
    "is_address",
    "json_request",
    "json_response",
    "merge_frames",
    "pairs",
    "query_string",
    "read_base64",
    "read_bearer",
    "read_form",
    "read_frame",
    "read_ids",
    "read_json",
    "read_retry_after",
    "read_source",
    "refuse_demands",
    "refuse_filters",
    "require",
    "retry_after_header",
    "write_form",
]
