"""The tables of a report in CSV, JSON or HTML, as JSON: a list of lists of rows, the names of the columns first."""

import csv
import html.parser
import json
import sys


class Tables(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.tables, self.tags, self.cell = [], set(), None

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.cell = ""

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self.tables[-1][-1].append(self.cell)
            self.cell = None

    def handle_data(self, data):
        if self.cell is not None:
            self.cell += data


path = sys.argv[1]
with open(path, newline="", encoding="utf-8") as file:
    if path.endswith(".csv"):
        found = {"tables": [list(csv.reader(file, strict=True))]}
    elif path.endswith(".html"):
        tables = Tables()
        tables.feed(file.read())
        tables.close()
        found = {"tables": tables.tables, "tags": sorted(tables.tags)}
    else:
        content = json.load(file)
        lists = content.values() if isinstance(content, dict) else [content]
        found = {
            "tables": [[list(rows[0])] + [list(row.values()) for row in rows] if rows else [] for rows in lists],
            "titles": list(content) if isinstance(content, dict) else [],
        }
print(json.dumps(found))
