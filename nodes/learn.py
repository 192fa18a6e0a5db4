"""Works out what the LoRAs of an index mean, in a process of its own: kizy.nodes.learn INDEX."""

from __future__ import annotations

import sys
from pathlib import Path


def main() -> None:
    """Each batch is kept at once; it may be ended at any time."""
    from ..catalog.index.lora_index import Index

    index = Index(Path(sys.argv[1]))
    learnt = index.compute_meanings()
    print(f"{learnt} texts learnt.", flush=True)


if __name__ == "__main__":
    main()
