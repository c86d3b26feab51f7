"""Ask a server with clip-retrieval's own ClipClient; run by an environment that has it.

    PEER/bin/python tests/support/clip_client_queries.py QUERIES.json REPLIES.json

Queries are `{"name": [arguments of ClipClient, arguments of its query], ...}`; replies have the
same names. One process asks all of them, since importing clip-retrieval takes ten seconds.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from clip_retrieval.clip_client import ClipClient, Modality


def main() -> None:
    queries, replies = map(Path, sys.argv[1:])
    answers: dict[str, Any] = {}
    for name, (options, query) in json.loads(queries.read_bytes()).items():
        if "modality" in options:
            options["modality"] = Modality(options["modality"])
        answers[name] = ClipClient(**options).query(**query)
    replies.write_text(json.dumps(answers))


if __name__ == "__main__":
    main()
