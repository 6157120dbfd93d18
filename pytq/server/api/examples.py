"""Requests to try: the documentation page offers them, and the tests check that they are valid."""

from typing import Any, Final

EXAMPLES: Final[dict[str, dict[str, Any]]] = {
    "submit_tasks": {
        "hello": {
            "summary": "Hello, world",
            "value": {"name": "hello", "command": "echo 'Hello, world!'"},
        },
        "docker": {
            "summary": "In a container, words kept as they are, tried three times",
            "value": {
                "batch": "alignment",
                "container": "ubuntu:24.04",
                "command": ["sh", "-c", "nproc; free -m"],
                "retries": 2,
            },
        },
        "s3": {
            "summary": "Inputs and a shared resource from S3, output back to it",
            "value": {
                "name": "SRR890934",
                "container": "example/aligner:1.0",
                "command": "align /resource/index /input/reads.fastq > /output/reads.bam",
                "inputs": ["s3://bucket/reads.fastq.gz|gunzip"],
                "resources": ["s3://bucket/index.tgz|untar|mv:index"],
                "output": "s3://bucket/results/SRR890934/",
                "timeouts": {"run": 7200},
            },
        },
        "list": {
            "summary": "Two tasks at once: both are queued, or neither",
            "value": [{"command": "echo one"}, {"command": "echo two"}],
        },
    },
    "wait_for_tasks": {
        "two": {"summary": "Two tasks, ten seconds", "value": {"ids": [1, 2], "timeout": 10}}
    },
    "update_task": {"sooner": {"summary": "Run it before the others", "value": {"priority": 100}}},
    "update_worker": {
        "wider": {"summary": "Four at once, two ahead", "value": {"concurrency": 4, "prefetch": 2}}
    },
    "recruit": {
        "two": {
            "summary": "Two small workers on the server's own machine",
            "value": {"provider": "local", "flavor": "small", "count": 2, "batch": "alignment"},
        }
    },
    "signal_batch": {"pause": {"summary": "Pause all that runs", "value": {"signal": "pause"}}},
    "signal_execution": {"pause": {"summary": "Pause its processes", "value": {"signal": "pause"}}},
}
