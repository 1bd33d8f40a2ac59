"""Print the sales of a month: `report.py MONTH TOP`."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from shop.report import sales_of

month, top = sys.argv[1], int(sys.argv[2])
print(f"# Sales in {month}\n")
for article, count in sales_of(month)[:top]:
    print(f"- {article}: {count}")
