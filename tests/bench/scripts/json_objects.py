# Reads and writes JSON again and again, as services do: dicts, lists and strings in great number.
import json
import sys

text = open(sys.argv[1]).read()
size = 0
for _ in range(3):
    records = json.loads(text)
    groups = {}
    for record in records:
        groups.setdefault(record["group"], []).append({**record, "label": record["name"].title()})
    size += len(json.dumps(groups))
print(size)
