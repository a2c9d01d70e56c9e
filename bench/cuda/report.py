"""Puts what cuda_bench and peers.py measured into one record and one table.

    python3 bench/cuda/report.py ROWS.jsonl PEERS.jsonl FOLDER [SUFFIX]

FOLDER gets <card>-<date><SUFFIX>.json; it may be called again whenever there are more rows. A row's limit is the larger of its
FLOPs over the card's matrix rate in the row's precision and its bytes over the copy rate, both as peers.py measured
them in this run on this card; its share is that limit over the median time. Of peers of one kind the fastest counts.
Standard library alone.
"""

import datetime
import json
import pathlib
import re
import statistics
import sys


def lines(path):
    file = pathlib.Path(path)
    if not file.exists():
        return []
    return [json.loads(line) for line in file.read_text().splitlines() if line.startswith("{")]


def with_limit(row, limits):
    rate, copies = limits.get(f"{row['precision']}FlopsPerSecond"), limits.get("bytesPerSecond")
    if rate is None or copies is None:
        return {}
    compute, memory = row["flops"] / rate, row["bytes"] / copies
    return {
        "limitSeconds": max(compute, memory),
        "limitedBy": row["precision"] if compute >= memory else "memory",
        "share": max(compute, memory) / row["median"],
    }


def peers_of(row, peers):
    """The fastest peer of each kind with how many times as long it took; a failed one where there is no other."""
    found = {}
    for peer in peers:
        # A peer that names a shape is of that shape and precision alone.
        same = all(peer[key] == row[key] for key in ("shape", "precision") if "shape" in peer and key in peer)
        if peer["peer"] != row["name"] or not same:
            continue
        kind = peer.get("kind", "eager")
        before = found.get(kind)
        if before is None or peer.get("seconds", float("inf")) < before.get("seconds", float("inf")):
            found[kind] = peer
    return {
        kind: {**peer, **({"timesAsLong": peer["seconds"] / row["median"]} if "seconds" in peer else {})}
        for kind, peer in found.items()
    }


def record_of(rows, peers, date):
    limits = {row["limit"]: row["value"] for row in peers if "limit" in row}
    measured = []
    for row in rows:
        if "failed" in row:
            measured.append(row)
            continue
        row = {**row, "median": statistics.median(row["seconds"])}
        row["flopsPerSecond"] = row["flops"] / row["median"]
        if "points" in row:
            row["pointsPerSecond"] = row["points"] / row["median"]
        measured.append(
            {**row, **with_limit(row, limits), "peers": peers_of(row, [peer for peer in peers if "peer" in peer])}
        )
    card = next((row for row in peers if "card" in row), None)
    return {"date": date, "card": card, "limits": limits, "rows": measured, "peers": peers}


def table_of(record):
    out = [f"{'row':<29} {'variant':<18} {'shape':<30} {'seconds':>10} {'limit':>10} {'share':>6}  peers"]
    for row in record["rows"]:
        start = f"{row['name']:<29} {row.get('variant', ''):<18}"
        if "failed" in row:
            out.append(f"{start} {row['failed']}")
            continue
        limit = f"{row['limitSeconds']:>10.4g} {row['share']:>6.1%}" if "share" in row else f"{'-':>10} {'-':>6}"
        told = [
            f"{kind} {peer['timesAsLong']:.1f}x" + (" (extrapolated)" if "extrapolatedFrom" in peer else "")
            if "seconds" in peer
            else f"{kind}: {peer['failed']}"
            for kind, peer in row["peers"].items()
        ]
        out.append(f"{start} {row['shape']:<30} {row['median']:>10.4g} {limit}  {', '.join(told)}")
    return "\n".join(out)


def main(arguments):
    if len(arguments) not in (3, 4):
        sys.exit("report: expected ROWS.jsonl PEERS.jsonl FOLDER [SUFFIX]")
    record = record_of(lines(arguments[0]), lines(arguments[1]), datetime.date.today().isoformat())
    name = record["card"]["card"] if record["card"] else "unknown card"
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    folder = pathlib.Path(arguments[2])
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{slug}-{record['date']}{''.join(arguments[3:])}.json"
    file.write_text(json.dumps(record, indent=2) + "\n")
    print(table_of(record))
    print(f"\nwritten to {file}")


if __name__ == "__main__":
    main(sys.argv[1:])
