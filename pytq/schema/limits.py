"""Every bound of PYTQ, in one place. Sizes are bytes, durations are seconds unless named."""

from typing import Final

# --- what one request may carry
BODY_BYTES: Final = 32 * 1024 * 1024
TASKS_PER_REQUEST: Final = 10_000
PAGE_DEFAULT: Final = 100
PAGE_MAX: Final = 1_000
IDS_PER_REQUEST: Final = 10_000
WAIT_SECONDS: Final = 25.0
HEADER_BYTES: Final = 16 * 1024
IDEMPOTENCY_KEY_CHARS: Final = 200

# --- a task
ID_MAX: Final = 2**53 - 1  # the largest integer every JSON reader keeps exact
NAME_CHARS: Final = 200
TEXT_CHARS: Final = 4_000
COMMAND_BYTES: Final = 64 * 1024  # one argv element of 128 KiB is E2BIG on Linux
ARGS: Final = 10_000
STEPS: Final = 100
MOUNTS: Final = 1_000
LITERAL_BYTES: Final = 256 * 1024
URI_CHARS: Final = 4_096
PATH_CHARS: Final = 4_096
ENV_VARS: Final = 500
ENV_VALUE_BYTES: Final = 32 * 1024
TAGS: Final = 50
REQUIREMENTS: Final = 10_000
PRIORITY: Final = 1_000_000
RETRIES: Final = 100
RETRY_SECONDS: Final = 3_600.0  # the longest pause before another try
OOM_FACTOR: Final = 10.0
AVOID_SECONDS: Final = 60.0  # a worker that failed a task gets it again only after so long
TIMEOUT_SECONDS: Final = 366 * 24 * 3600
CPUS: Final = 4_096
GPUS: Final = 64
MEMORY_BYTES: Final = 2**50
UID: Final = 2**31 - 1

# --- a worker
CONCURRENCY: Final = 2_000
PREFETCH: Final = 1_000
PIPELINE: Final = 256  # leases held ahead for tasks that take milliseconds, never staged
DISKS: Final = 16  # file systems a worker tells of
RESOURCES: Final = 1_000  # and kept resources
TRANSFERS_SHOWN: Final = 10  # and, of each execution, transfers under way

# --- the link
FRAME_BYTES: Final = 32 * 1024 * 1024
REFS_PER_FRAME: Final = 20_000
AGO_SECONDS: Final = 10 * 366 * 24 * 3600.0
HEARTBEAT_SECONDS: Final = 10.0
SUSPECT_SECONDS: Final = 30.0
LEASE_SECONDS: Final = 1_800.0
LEASE_MARGIN_SECONDS: Final = 60.0
RECONNECT_SECONDS: Final = 15.0  # the longest pause between two attempts to connect
LOST_LIMIT: Final = 5  # infrastructure failures of one task before it fails for good

# --- output of tasks
CHUNK_BYTES: Final = 256 * 1024
OUTPUT_HEAD_BYTES: Final = 64 * 1024
OUTPUT_TAIL_BYTES: Final = 1024 * 1024
OUTPUT_READ_BYTES: Final = 1024 * 1024
OUTPUT_DISK_BYTES: Final = 16 * 1024 * 1024  # per stream, on the worker's disk

# --- the server's own memory
EVENTS_KEPT: Final = 200_000
KEYS_KEPT_SECONDS: Final = 7 * 24 * 3_600.0  # Idempotency-Keys
LEASES_PER_TICK: Final = 1_000
WRITES_PER_COMMIT: Final = 500

# --- the event stream
STREAM_SECONDS: Final = 0.25  # changes gather so long
HISTORY_SECONDS: Final = 3_600  # of throughput, kept in memory
HISTORY_STEP: Final = 5  # seconds that one point of it sums up
WATCHED: Final = 500  # tasks one viewer may watch one by one
STREAM_EVENTS: Final = 200  # the latest ones, shown to who comes new

VIEWERS: Final = 200
STREAM_STALL_SECONDS: Final = 60.0  # a viewer that takes nothing for so long is cut off

# --- asking
SEARCH_IDS: Final = 200_000  # task numbers one request looks through for a search
FAILURES_EXAMINED: Final = 20_000
REASONS: Final = 500  # workers named in an explanation
AHEAD: Final = 10_000  # tasks that go before one, counted so far

# --- the page at /ui/
VISITORS: Final = 24  # each is a process
VISIT_BYTES: Final = 1024 * 1024  # of one message, such as something pasted
VISIT_STOP_SECONDS: Final = 5.0  # from asking a visitor's process to end, to killing it

# --- jobs
JOBS_AT_ONCE: Final = 8
RECRUIT_SECONDS: Final = 600.0  # from asking for a machine until its worker is there
RECRUITS: Final = 1_000  # machines asked for at once
JOBS_KEPT: Final = 1_000
JOB_LOG_BYTES: Final = 4 * 1024 * 1024

# --- the doors
REQUESTS_PER_SECOND: Final = 2_000.0  # by one token, in the long run
BURST_SECONDS: Final = 5.0  # of requests, that may come at once
WRONG_TOKENS_PER_MINUTE: Final = 10.0  # from one address
CONNECTIONS_PER_ADDRESS: Final = 1_000
GIVEN_TOKEN_CHARS: Final = 32  # of a token that we have not made: at least
SESSION_SECONDS: Final = 24 * 3600.0  # of a browser
LOGIN_CODE_SECONDS: Final = 300.0
IDLE_SECONDS: Final = 75.0  # of a connection that asks nothing, or never finishes asking
BODY_STALL_SECONDS: Final = 20.0  # between two pieces of a body
BODY_SECONDS: Final = 300.0  # for the whole of it
GOODBYE_SECONDS: Final = 5.0
