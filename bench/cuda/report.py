"""Puts what kernels.cpp and peers.py measured into one record and one table.

    python3 bench/cuda/report.py KERNELS.jsonl PEERS.jsonl FOLDER

FOLDER gets <card>-<date>.json. A row's limit is the larger of its FLOPs over the TF32 rate and its bytes over the
copy rate, both as peers.py measured them in this run on this card; its share is that limit over the median time.
Standard library alone.
"""

import datetime
import json
import pathlib
import re
import statistics
import sys


def lines(path):
    return [json.loads(line) for line in pathlib.Path(path).read_text().splitlines() if line.startswith("{")]


def record_of(kernels, peers, date):
    card = next((row for row in peers if "card" in row), None)
    limits = {row["limit"]: row["value"] for row in peers if "limit" in row}
    by_name = {row["peer"]: row for row in peers if "peer" in row}
    rows = []
    for kernel in kernels:
        median = statistics.median(kernel["seconds"])
        row = {**kernel, "median": median}
        if "tf32FlopsPerSecond" in limits and "bytesPerSecond" in limits:
            compute = kernel["flops"] / limits["tf32FlopsPerSecond"]
            memory = kernel["bytes"] / limits["bytesPerSecond"]
            row["limitSeconds"] = max(compute, memory)
            row["limitedBy"] = "tf32" if compute >= memory else "memory"
            row["share"] = row["limitSeconds"] / median
        peer = by_name.get(kernel["name"])
        if peer is not None:
            row["peer"] = {key: peer[key] for key in ("by", "seconds", "failed") if key in peer}
            if "seconds" in peer:
                row["timesAsFast"] = peer["seconds"] / median
        rows.append(row)
    return {"date": date, "card": card, "limits": limits, "rows": rows}


def table_of(record):
    out = [f"{'kernel':<18} {'shape':<34} {'seconds':>10} {'limit':>10} {'share':>7} {'peer':>10} {'times':>7}"]
    for row in record["rows"]:
        peer = row.get("peer", {})
        out.append(
            f"{row['name']:<18} {row['shape']:<34} {row['median']:>10.4f}"
            + (f" {row['limitSeconds']:>10.4f} {row['share']:>6.0%} " if "share" in row else f" {'-':>10} {'-':>7}")
            + (f" {peer['seconds']:>10.4f} {row['timesAsFast']:>6.1f}x" if "seconds" in peer else f" {'-':>10} {'-':>7}")
        )
    return "\n".join(out)


def main(arguments):
    if len(arguments) != 3:
        sys.exit("report: expected KERNELS.jsonl PEERS.jsonl FOLDER")
    date = datetime.date.today().isoformat()
    record = record_of(lines(arguments[0]), lines(arguments[1]), date)
    name = record["card"]["card"] if record["card"] else "unknown card"
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    folder = pathlib.Path(arguments[2])
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{slug}-{date}.json"
    file.write_text(json.dumps(record, indent=2) + "\n")
    print(table_of(record))
    print(f"\nwritten to {file}")


if __name__ == "__main__":
    main(sys.argv[1:])
